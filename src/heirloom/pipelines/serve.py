"""A request, from top to bottom: retrieve, filter, look up, score, compose, check, answer.

`recommend` is the same function for real time, batch and simulation. It is pure but for the
state it reads; the SlateRecord is written by the caller, after the response.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import Surface, derived_id
from heirloom.core.query import Query, Request
from heirloom.core.slate import (
    Candidates,
    Degraded,
    FeatureBatch,
    Shown,
    Slate,
    SlateRecord,
    Why,
)
from heirloom.features.published import Published, difference
from heirloom.pipelines.floor import met_by, named
from heirloom.pipelines.live import Live
from heirloom.pipelines.scope import Scope
from heirloom.pipelines.why import PolicyScore, Score, told, why_of
from heirloom.ranking.actions import weights_of
from heirloom.ranking.ranker import Ranker
from heirloom.retrieval.fusion import fuse
from heirloom.retrieval.retriever import is_selective, is_sifting
from heirloom.retrieval.vectors.answer import OutOfTime
from heirloom.slates.compose import compose
from heirloom.slates.luck import key_of
from heirloom.slates.rules import Rules
from heirloom.slates.steps import Composed, Pool, composed

RECORDED = 48
"""A slate is ranked some pages deep; the record keeps what is likely to be seen."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides a slate.

    Attributes:
        name: as it stands in responses and records.
        quotas: for each surface, how many candidates each retriever may give.
        ranker: orders the candidates; None keeps the order of retrieval, and says so.
        bundle: id of the bundle the ranker came from.
        action_weights: for each surface, the weight of each of the ranker's actions in the order,
            by name; an action not named weighs nothing. A ranker of one action needs none.
        pool: how many fused candidates are ranked.
        pools: the same of a surface, where it is another.
        seller_cap: at most so many listings of one seller on a page.
        retrieval_weight: weight of the log of retrieval's fused score beside the ranker's, as if
            both were chances; 0 leaves the order to the ranker alone.
        fusion: weight of each retriever in the fused score, 1 where it is not named. By a small one
            a retriever fills the pool when others find too little, and orders next to nothing.
        rules: what slates are held to beyond the order of scores and the seller's cap.
        surfaces: where the rules hold.
    """

    name: str
    quotas: Mapping[str, Mapping[str, int]]
    ranker: Ranker | None = None
    bundle: str = ""
    action_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pool: int = 300
    pools: Mapping[str, int] = field(default_factory=dict)
    seller_cap: int = 3
    retrieval_weight: float = 0.0
    fusion: Mapping[str, float] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    surfaces: tuple[str, ...] = tuple(Surface)

    def pool_of(self, surface: str) -> int:
        """How many fused candidates are ranked on a surface."""
        return self.pools.get(surface, self.pool)

    def check(self, live: Live, published: Published | None = None) -> None:
        """Refuse a misconfiguration before it serves anybody.

        Args:
            live: what it is to be used with.
            published: what was published, to say how a bundle's features differ from the view's.

        Raises:
            ConfigError: listing all that is wrong.
        """
        problems = []
        for surface in Surface:
            if not self.quotas.get(surface):
                problems.append(f"surface {surface} has no retriever; name at least one")
            for name in self.quotas.get(surface, {}):
                if name not in live.retrievers:
                    known = ", ".join(sorted(live.retrievers))
                    problems.append(f"surface {surface}: no retriever {name!r}; known: {known}")
        named = {name for quota in self.quotas.values() for name in quota}
        for name in sorted(set(self.fusion) - named):
            known = ", ".join(sorted(named))
            problems.append(f"fusion: no surface names {name!r}; known: {known}")
        problems += self._slate_problems(live)
        if self.ranker is not None:
            if self.ranker.columns != live.view.columns:
                differs = difference(self.ranker.columns, live.view, published)
                problems.append(
                    f"the ranker was trained on {_sample(self.ranker.columns)}, but view "
                    f"{live.view.name!r} gives {_sample(live.view.columns)}"
                    f"{''.join(f'; {what}' for what in differs)}; "
                    "load the bundle that was trained with this view, or train again"
                )
            for surface in Surface:
                try:
                    self.weights(surface)
                except ConfigError as error:
                    problems += [f"{error.where}: {problem}" for problem in error.problems]
        if problems:
            raise ConfigError(f"policy {self.name!r}", problems)

    def weights(self, surface: str) -> NDArray[np.float32]:
        """[actions] float32, the weight of each of the ranker's actions on a surface.

        Raises:
            ConfigError: if they are not those of the ranker.
        """
        actions = self.ranker.actions if self.ranker is not None else ()
        given = self.action_weights.get(surface, {})
        return weights_of(actions, given, f"weights.{surface}")

    def _slate_problems(self, live: Live) -> list[str]:
        problems = [f"slate: {problem}" for problem in self.rules.problems()]
        unknown = sorted(set(self.surfaces) - set(Surface))
        problems += [f"slate: no surface {x!r}; known: {', '.join(Surface)}" for x in unknown]
        if self.rules.shares and live.exposure is None:
            problems.append("slate: shares are held by a Live that counts exposure; give it one")
        if self.rules.seen_cap and live.frequency is None:
            problems.append("slate: seen_cap wants a Live that counts frequency; give it one")
        return problems


def recommend(
    query: Query,
    policy: Policy,
    live: Live,
    *,
    out_of_time: OutOfTime | None = None,
    reasons: int | None = None,
) -> Slate:
    """The slate for a query, as of the query's time and the state's offset.

    Args:
        query: who asks.
        policy: what decides.
        live: what is known.
        out_of_time: asked now and then while candidates are sought; True: go on with the best
            found so far, and say so in `degraded`.
        reasons: the first so many listings shown get theirs; None: all.
    """
    watch = _Watch()
    request = live.request(query)
    candidates = retrieve(request, policy, live, out_of_time)
    candidates, fallen = _fallen(request, candidates, policy, live)
    watch.lap("retrieve")
    batch = live.look_up(request, candidates.slots)
    watch.lap("features")
    scores, degraded = _score(batch, candidates, policy, query.surface)
    if candidates.unfinished:
        reason = f"out of time: {', '.join(candidates.unfinished)} gave what was found so far"
        degraded = (Degraded("retrieve", reason), *degraded)
    degraded = (*fallen, *degraded)
    watch.lap("score")
    slate_id = derived_id(msgspec.msgpack.encode(query), live.n, policy.name, policy.bundle)
    made = _composed(request, candidates, scores, policy, live, slate_id)
    rows = made.rows
    chosen, shown_batch = candidates.take(rows), _take(batch, rows)
    if not len(candidates):
        degraded = (*degraded, Degraded("compose", _nothing(request, live)))
    watch.lap("compose")
    beside = _beside(candidates, policy.retrieval_weight)
    why = why_of(batch, rows, beside, live.view, scorer(policy, query.surface), reasons)
    shown = _shown(request, chosen, scores[rows], shown_batch, live, made, why)
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
        remaining=len(candidates) - len(rows),
        degraded=degraded,
        bundle=policy.bundle,
        timings_us=watch.laps,
        worth=made.worth,
        why=why,
    )


def retrieve(
    request: Request, policy: Policy, live: Live, out_of_time: OutOfTime | None = None
) -> Candidates:
    """Candidates of all sources, fused; live, as the filters ask, and fit for this person."""
    quotas = policy.quotas[request.query.surface]
    pool = policy.pool_of(request.query.surface)
    found = sources(request, quotas, live, out_of_time, least=pool)
    candidates = fuse(found, pool, weights=policy.fusion)
    standing = live.standing(candidates.slots)
    return candidates if standing.all() else candidates.take(standing)


def sources(
    request: Request,
    quotas: Mapping[str, int],
    live: Live,
    out_of_time: OutOfTime | None = None,
    *,
    least: int = 100,
) -> list[Candidates]:
    """Candidates of each retriever named, up to its quota, before they are fused.

    In a search every source chooses among the listings that match the words well, and among no
    fewer than the `least` best matched; `floor.named` is one more source. Out of time, sources that
    were not asked are left out once there is anything to show.
    """
    scope = Scope(request, live)
    found: list[Candidates] = []
    if request.query.text:
        if len(asked_for := named(request, scope.mask, live)):
            found.append(asked_for)
        having = live.matcher(quotas).matching(request.query.text, scope.mask, least)
        scope.narrow(having)
    for name, quota in quotas.items():
        retriever = live.retrievers[name]
        if out_of_time is not None and any(map(len, found)) and out_of_time():
            found.append(Candidates.none(name, complete=False))
        elif is_selective(retriever):
            found.append(
                retriever.select(
                    request, scope.where, quota, without=scope.without, out_of_time=out_of_time
                )
            )
        elif is_sifting(retriever):
            found.append(retriever.sift(request, scope.passes, quota))
        else:
            found.append(retriever.retrieve(request, scope.mask, quota))
    return found


def record(slate: Slate, query: Query) -> SlateRecord:
    """What is kept of a slate, for parity, evaluation and audit: its first RECORDED listings."""
    features, shown = slate.features, slate.shown[:RECORDED]
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
        listings=tuple(each.listing for each in shown),
        positions=tuple(each.position for each in shown),
        propensities=tuple(each.propensity for each in shown),
        columns=features.columns if features else (),
        features=features.values[:RECORDED].astype("<f4").tobytes() if features else b"",
        degraded=tuple(f"{step.step}: {step.reason}" for step in slate.degraded),
    )


def _score(
    batch: FeatureBatch, candidates: Candidates, policy: Policy, surface: str
) -> tuple[NDArray[np.float32], tuple[Degraded, ...]]:
    score = scorer(policy, surface)
    if score is None:
        return candidates.scores, (Degraded("score", "no ranker is loaded: order of retrieval"),)
    if not len(candidates):
        return candidates.scores, ()
    return blended(score(batch), candidates, policy.retrieval_weight), ()


def scorer(policy: Policy, surface: str) -> Score | None:
    """What orders a surface's candidates by their features; None without a ranker."""
    ranker = policy.ranker
    if ranker is None:
        return None
    return PolicyScore(ranker, policy.weights(surface))


def blended(
    scores: NDArray[np.float32], candidates: Candidates, weight: float
) -> NDArray[np.float32]:
    """[candidates] float32: score + weight · log of retrieval's score, a product of experts.

    Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation
    14 (2002), equation 1, with the weight as exponent. Retrieval's own order stands where the
    ranker has little to tell listings by, new ones above all.

    >>> found = Candidates.of("a", np.array([7, 8], np.int32), np.array([1, 0.5], np.float32))
    >>> blended(np.zeros(2, np.float32), found, 1.0).round(3).tolist()
    [0.0, -0.6930000185966492]
    """
    beside = _beside(candidates, weight)
    return scores if beside is None else scores + beside


def _beside(candidates: Candidates, weight: float) -> NDArray[np.float32] | None:
    """[candidates] float32: weight · log of retrieval's score; None without weight."""
    if not weight:
        return None
    logs: NDArray[np.float32] = np.log(np.maximum(candidates.scores, 1e-30)).astype(np.float32)
    return np.float32(weight) * logs


def _composed(
    request: Request,
    candidates: Candidates,
    scores: NDArray[np.float32],
    policy: Policy,
    live: Live,
    slate_id: str,
) -> Composed:
    """The slate's rows; by the order of scores and the seller's cap where no other rule acts."""
    sellers, k = live.catalogue.column("seller")[candidates.slots], request.query.k
    here = request.query.surface in policy.surfaces
    met = met_by(request, candidates.slots, live, policy.rules.floor if here else ())
    if here and (policy.rules or (met != met[:1]).any()):
        pool = _pool(request, candidates.slots, scores, sellers, policy.rules, live, met)
        made = composed(pool, policy.rules, k=k, seller_cap=policy.seller_cap, key=key_of(slate_id))
    else:
        rows = compose(scores, sellers, k=k, seller_cap=policy.seller_cap)
        made = Composed(rows, np.ones(len(rows)), ((),) * len(rows), {})
    # Availability once more: a sale may have been announced since retrieval.
    kept = np.flatnonzero(live.standing(candidates.slots[made.rows]))
    if len(kept) == len(made.rows):
        return made
    moved = tuple(made.moved[i] for i in kept.tolist())
    return Composed(made.rows[kept], made.propensities[kept], moved, made.worth)


def _pool(
    request: Request,
    slots: NDArray[np.int32],
    scores: NDArray[np.float32],
    sellers: NDArray[np.int32],
    rules: Rules,
    live: Live,
    met: NDArray[np.int64],
) -> Pool:
    """What the rules read of candidates."""
    catalogue, exposure, frequency = live.catalogue, live.exposure, live.frequency
    codes = np.zeros((len(slots), live.content.encoder.dim), np.int8)
    known = slots < len(live.content.codes)
    codes[known] = live.content.codes[slots[known]]
    nobody = np.zeros((len(slots), 0), np.bool_)
    return Pool(
        scores=scores,
        names=slots,
        sellers=sellers,
        categories=catalogue.stem(rules.category_steps)[catalogue.column("category")[slots]],
        prices=catalogue.column("price_minor")[slots],
        age_ms=request.query.t - catalogue.column("listed_at")[slots],
        codes=codes,
        seen=np.zeros(len(slots), np.int32)
        if frequency is None
        else frequency.shown(request.person, slots),
        members=nobody if exposure is None else exposure.members(slots, request.query.t),
        lifts=np.zeros(0) if exposure is None else exposure.lifts,
        met=met,
    )


def _fallen(
    request: Request, candidates: Candidates, policy: Policy, live: Live
) -> tuple[Candidates, tuple[Degraded, ...]]:
    """The candidates, or where there are none the newest that may be shown; and what to say of it.

    Said too: that no listing has a word of a search that names nothing, so that what comes is not
    what was asked for.
    """
    text, fallen = request.query.text, tuple[Degraded, ...]()
    mask = None
    if text and not live.intent(text).asked:
        mask = Scope(request, live).mask
        matcher = live.matcher(policy.quotas[request.query.surface])
        if mask.any() and not matcher.matching(text, mask, 1).any():
            reason = f"no listing that may be shown has a word of {text.strip()[:80]!r}"
            fallen = (Degraded("retrieve", reason),)
    if not len(candidates):
        fit = np.flatnonzero(Scope(request, live).mask if mask is None else mask).astype(np.int32)
        if len(fit):
            listed_at = live.catalogue.column("listed_at")[fit]
            newest = fit[np.lexsort((fit, -listed_at))][: policy.pool_of(request.query.surface)]
            found = Candidates.of("newest", newest, -np.arange(len(newest), dtype=np.float32))
            candidates = replace(found, unfinished=candidates.unfinished)
            reason = f"no retriever proposed any of {len(fit)} listings: the newest of them"
            fallen = (*fallen, Degraded("retrieve", reason))
    return candidates, fallen


def _nothing(request: Request, live: Live) -> str:
    """Why there is no candidate, as far up as the reason lies."""
    offered = int(live.catalogue.live.sum())
    if not offered:
        return "nothing to show: no listing is live"
    passing = int(live.catalogue.mask(request.query.filters).sum())
    if not passing:
        return f"nothing to show: the filters leave none of {offered} live listings"
    return (
        f"nothing to show: of {passing} live listings that the filters leave, all are the "
        "person's own, hidden, blocked, or shown before"
    )


def _shown(
    request: Request,
    chosen: Candidates,
    scores: NDArray[np.float32],
    batch: FeatureBatch,
    live: Live,
    made: Composed,
    why: Why,
) -> tuple[Shown, ...]:
    named = chosen.named()
    words = told(request, chosen.slots[: why.told], named, batch, live, why, why.contributions)
    words += [()] * (len(chosen) - len(words))
    columns = zip(
        chosen.slots.tolist(),
        scores.tolist(),
        named,
        words,
        made.propensities.tolist(),
        made.moved,
        strict=True,
    )
    listing = live.catalogue.listing
    return tuple(
        Shown(listing(slot).listing_id, position, score, sources, reasons, propensity, moved)
        for position, (slot, score, sources, reasons, propensity, moved) in enumerate(columns)
    )


def _take(batch: FeatureBatch, rows: NDArray[np.intp]) -> FeatureBatch:
    return FeatureBatch(batch.values[rows], batch.columns, batch.n)


def _sample(columns: tuple[str, ...]) -> str:
    return f"{len(columns)} columns ({', '.join(columns[:2])}, …)"


class _Watch:
    """Time of each stage in microseconds. It measures; no decision reads it."""

    def __init__(self) -> None:
        self.laps: dict[str, int] = {}
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.laps[stage] = (now - self._last) // 1000
        self._last = now
