"""From a request to its candidates: the sources asked, fused; and what to do where none answers."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Filters, Query, Request
from heirloom.core.slate import Candidates, Degraded
from heirloom.pipelines.floor import named
from heirloom.pipelines.ladder import ABSENT, LATE, Steps, Whole
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.scope import Scope
from heirloom.retrieval.content import NO_SLOTS
from heirloom.retrieval.fusion import fuse
from heirloom.retrieval.retriever import Retriever, is_selective, is_sifting
from heirloom.retrieval.vectors.answer import OutOfTime


def retrieve(
    request: Request,
    policy: Policy,
    live: Live,
    out_of_time: OutOfTime | None = None,
    steps: Steps | None = None,
) -> Candidates:
    """Candidates of all sources, fused; live, as the filters ask, and fit for this person."""
    quotas = policy.quotas[request.query.surface]
    pool = policy.pool_of(request.query.surface)
    found = sources(request, quotas, live, out_of_time, least=pool, steps=steps)
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
    steps: Steps | None = None,
) -> list[Candidates]:
    """Candidates of each retriever named, up to its quota, before they are fused.

    In a search every source chooses among the listings that match the words well, and among no
    fewer than the `least` best matched; `floor.named` is one more source. Out of time, sources that
    were not asked are left out once there is anything to show.

    Args:
        request: who asks.
        quotas: by retriever.
        live: what is known.
        out_of_time: asked now and then; True: what was found so far is enough.
        least: see above.
        steps: how a source is asked that may fail or be slow; None: whatever happens.
    """
    steps = steps or Whole()
    scope = Scope(request, live)
    found: list[Candidates] = []
    over = _either(out_of_time, steps.hurry("retrieve"))

    def match() -> bool:
        if len(asked_for := named(request, scope.mask, live)):
            found.append(asked_for)
        scope.narrow(live.matcher(quotas).matching(request.query.text, scope.mask, least))
        return True

    def ask(retriever: Retriever, quota: int) -> Candidates:
        if is_selective(retriever):
            return retriever.select(
                request, scope.where, quota, without=scope.without, out_of_time=over
            )
        if is_sifting(retriever):
            return retriever.sift(request, scope.passes, quota)
        return retriever.retrieve(request, scope.mask, quota)

    if request.query.text:
        steps.attempt("retrieve", match, otherwise="fewer sources", part="match")
    for name, quota in quotas.items():
        if out_of_time is not None and any(map(len, found)) and out_of_time():
            found.append(Candidates.none(name, complete=False))
            continue
        asked = partial(ask, live.retrievers[name], quota)
        given = steps.attempt("retrieve", asked, otherwise="fewer sources", part=name)
        if given is not None:
            found.append(given)
    return found


def popular(live: Live, t: int, category: str, k: int) -> tuple[str, ...]:
    """Ids of at most k listings on sale below a category that many want, whoever asks.

    By the retriever `popular`; the newest where there is none, or it knows of nothing.
    """
    request = live.request(Query(t=t, filters=Filters(category=category)))
    filters, retriever, slots = request.query.filters, live.retrievers.get("popular"), NO_SLOTS
    if retriever is not None and is_sifting(retriever):
        slots = retriever.sift(request, partial(live.catalogue.mask, filters), k).slots
    elif retriever is not None:
        slots = retriever.retrieve(request, live.catalogue.mask(filters), k).slots
    if not len(slots):
        slots = _newest(np.flatnonzero(live.catalogue.mask(filters)).astype(np.int32), live, k)
    return tuple(live.catalogue.ids_of(slots))


def _either(one: OutOfTime | None, other: OutOfTime | None) -> OutOfTime | None:
    """What says so if either does."""
    if one is None or other is None:
        return one or other
    return lambda: one() or other()


def _newest(slots: NDArray[np.int32], live: Live, k: int) -> NDArray[np.int32]:
    listed_at = live.catalogue.column("listed_at")[slots]
    return slots[np.lexsort((slots, -listed_at))][:k]


def or_newest(
    request: Request, candidates: Candidates, policy: Policy, live: Live, steps: Steps
) -> Candidates:
    """The candidates, or where there are none the newest that may be shown, and that it is so.

    Said too: that no listing has a word of a search that names nothing, so that what comes is not
    what was asked for.
    """
    text, scope = request.query.text, Scope(request, live)

    def unknown() -> bool:
        if live.intent(text).asked or not scope.mask.any():
            return False
        matcher = live.matcher(policy.quotas[request.query.surface])
        return not bool(matcher.matching(text, scope.mask, 1).any())

    lost: bool | None = False
    if text:
        lost = steps.attempt("retrieve", unknown, otherwise="fewer sources", part="words")
    if lost:
        reason = f"no listing that may be shown has a word of {text.strip()[:80]!r}"
        steps.degraded.append(Degraded("retrieve", reason, ABSENT))
    if candidates.unfinished:
        reason = f"out of time: {', '.join(candidates.unfinished)} gave what was found so far"
        steps.degraded.append(Degraded("retrieve", reason, LATE, "fewer sources"))
    if len(candidates):
        return candidates
    fit = np.flatnonzero(scope.mask).astype(np.int32)
    if not len(fit):
        return candidates
    newest = _newest(fit, live, policy.pool_of(request.query.surface))
    found = Candidates.of("newest", newest, -np.arange(len(newest), dtype=np.float32))
    reason = f"no retriever proposed any of {len(fit)} listings: the newest of them"
    steps.degraded.append(Degraded("retrieve", reason, ABSENT, "newest"))
    return replace(found, unfinished=candidates.unfinished)


def nothing(request: Request, live: Live) -> str:
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
