"""A request, from top to bottom: retrieve, filter, look up, score, compose, check, answer.

`recommend` is the same function for real time, batch and simulation. It is pure but for the
state it reads; the SlateRecord is written by the caller, after the response.
"""

import hashlib
import time
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import derived_id
from heirloom.core.query import Query, Request
from heirloom.core.slate import (
    Candidates,
    Degraded,
    FeatureBatch,
    Reason,
    ShownList,
    Slate,
    SlateRecord,
    Why,
)
from heirloom.pipelines.candidates import nothing, or_newest, retrieve
from heirloom.pipelines.composing import placed
from heirloom.pipelines.ladder import ABSENT, Steps, Whole
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.scoring import Scored, beside, scored, scorer
from heirloom.pipelines.why import told, why_of
from heirloom.retrieval.vectors.answer import OutOfTime
from heirloom.slates.steps import Composed

RECORDED = 48
"""A slate is ranked some pages deep; the record keeps what is likely to be seen."""


def recommend(
    query: Query,
    policy: Policy,
    live: Live,
    *,
    out_of_time: OutOfTime | None = None,
    reasons: int | None = None,
    steps: Steps | None = None,
) -> Slate:
    """The slate for a query, as of the query's time and the state's offset.

    Args:
        query: who asks.
        policy: what decides.
        live: what is known.
        out_of_time: asked now and then while candidates are sought; True: go on with the best
            found so far, and say so in `degraded`.
        reasons: the first so many listings shown get theirs; None: all.
        steps: how each step is taken; None: to its end, and what goes wrong is raised.
    """
    watch, steps = _Watch(), steps or Whole()
    request = live.request(query)
    candidates = retrieve(request, policy, live, out_of_time, steps)
    candidates = or_newest(request, candidates, policy, live, steps)
    watch.lap("retrieve")
    look_up = partial(live.look_up, request, candidates.slots)
    batch = steps.attempt("features", look_up, otherwise="order of retrieval")
    watch.lap("features")
    by = scored(batch, candidates, policy, query.surface, steps)
    watch.lap("score")
    slate_id = derived_id(msgspec.msgpack.encode(query), live.n, policy.name, policy.bundle)
    made = placed(request, candidates, by.scores, policy, live, slate_id, steps)
    chosen, shown_batch = candidates.take(made.rows), _take(batch, made.rows)
    if not len(candidates):
        reason = nothing(request, live)
        steps.degraded.append(Degraded("compose", reason, ABSENT, "empty"))
    watch.lap("compose")
    say = partial(_why, request, candidates, batch, by, made, policy, live, reasons)
    why, words = steps.attempt("reasons", say, otherwise="bare") or (Why(), ())
    shown = ShownList(
        listings=live.catalogue.ids_of(chosen.slots),
        scores=by.scores[made.rows].tolist(),
        sources=chosen.named(),
        reasons=list(words),
        propensities=made.propensities.tolist(),
        moved=list(made.moved),
    )
    watch.lap("reasons")
    return Slate(
        slate_id=slate_id,
        policy=policy.name,
        shown=shown,
        slots=chosen.slots,
        features=shown_batch,
        candidates_hash=hashlib.blake2b(candidates.slots.tobytes(), digest_size=8).hexdigest(),
        t=query.t,
        n=live.n,
        remaining=len(candidates) - len(made.rows),
        degraded=tuple(steps.degraded),
        bundle=policy.bundle if by.by is None else by.by.bundle,
        timings_us=watch.laps,
        worth=made.worth,
        why=why,
    )


def record(slate: Slate, query: Query) -> SlateRecord:
    """What is kept of a slate, for parity, evaluation and audit: its first RECORDED listings."""
    features, shown = slate.features, slate.shown
    return SlateRecord(
        slate_id=slate.slate_id,
        t=slate.t,
        n=slate.n,
        policy=slate.policy,
        bundle=slate.bundle,
        surface=query.surface,
        user=query.user,
        session=query.session,
        text=query.text,
        anchor=query.anchor,
        request=msgspec.msgpack.encode(query),
        candidates_hash=slate.candidates_hash,
        listings=tuple(shown.listings[:RECORDED]),
        positions=tuple(range(len(shown))[:RECORDED]),
        propensities=tuple(shown.propensities[:RECORDED]),
        columns=features.columns if features else (),
        features=features.values[:RECORDED].astype("<f4").tobytes() if features else b"",
        degraded=tuple(f"{step.step}: {step.reason}" for step in slate.degraded),
    )


def _why(
    request: Request,
    candidates: Candidates,
    batch: FeatureBatch | None,
    by: Scored,
    made: Composed,
    policy: Policy,
    live: Live,
    first: int | None,
) -> tuple[Why, list[tuple[Reason, ...]]]:
    """What the slate's explanations rest on, and the words for the first listings shown."""
    if batch is None:  # nothing is known of them, and so it is said
        missing = np.full((len(candidates), len(live.view.columns)), np.nan, np.float32)
        batch = FeatureBatch(missing, live.view.columns, live.n)
    score = None if by.by is None else scorer(by.by, request.query.surface)
    weight = policy.retrieval_weight
    near = beside(candidates, weight)
    why = why_of(batch, made.rows, near, live.view, score, first, by.given)
    rows = made.rows[: why.told]
    top = candidates.take(rows)
    named = top.named()
    shown_batch = FeatureBatch(batch.values[rows], batch.columns, batch.n)
    return why, told(request, top.slots, named, shown_batch, live, why, why.contributions)


def _take(batch: FeatureBatch | None, rows: NDArray[np.intp]) -> FeatureBatch | None:
    return None if batch is None else FeatureBatch(batch.values[rows], batch.columns, batch.n)


class _Watch:
    """Time of each stage in microseconds. It measures; no decision reads it."""

    def __init__(self) -> None:
        self.laps: dict[str, int] = {}
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.laps[stage] = (now - self._last) // 1000
        self._last = now
