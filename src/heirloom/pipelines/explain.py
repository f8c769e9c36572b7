"""Explain: why each listing of a page stands where it does, for those who ask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Query, Request
from heirloom.core.slate import Candidates, FeatureBatch, Reason, Shown, Slate
from heirloom.features.view import FeatureView
from heirloom.pipelines.candidates import sources
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.scoring import scorer
from heirloom.pipelines.why import contributed, names_of, told


@dataclass(frozen=True, slots=True)
class Proposal:
    """A retriever that proposed a listing: the place from 0 among what it gave, its own score.

    Both are None where it does not propose the listing any more.
    """

    source: str
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a group of features adds to a score, compared with what is usual among candidates."""

    group: str
    about: str
    value: float


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one listing stands where it does.

    Attributes:
        proposals: by whom it was found.
        contributions: of each group, greatest first; empty where nothing was ranked, or another
            bundle answers by now than the one that ranked.
        reasons: in words.
        n: the log offset that contributions and reasons are as of.
    """

    proposals: tuple[Proposal, ...]
    contributions: tuple[Contribution, ...]
    reasons: tuple[Reason, ...]
    n: int


def explain(
    query: Query, slate: Slate, shown: Sequence[Shown], policy: Policy, live: Live
) -> list[Explained]:
    """Explain listings of a slate.

    What the slate still holds is as it was ranked; the rest (later pages) is looked up as of the
    query's time and the log's end now. Retrievers are asked again.

    Args:
        query: what the slate answers.
        slate: with its features or, kept for later pages, without.
        shown: of the slate, those that are to be explained; each still in the catalogue.
        policy: what made the slate.
        live: what is known.
    """
    if not shown:
        return []
    request = live.request(query)
    slots = np.array([live.catalogue.slot_of(each.listing) for each in shown], np.int32)
    found = sources(request, policy.quotas[query.surface], live, least=policy.pool)
    proposals = _proposals(found, slots, shown)
    added, words, n = _ranked(request, slate, slots, shown, policy, live)
    groups = by_group(live.view, added) if added is not None else [()] * len(words)
    return [Explained(proposals[i], groups[i], reasons, n) for i, reasons in enumerate(words)]


def by_group(view: FeatureView, added: NDArray[np.float32]) -> list[tuple[Contribution, ...]]:
    """For each listing, what the groups add, greatest first.

    Args:
        view: whose groups these are.
        added: [listings, groups], as `why.contributed` gives them.
    """
    names = names_of(view, added)
    orders = np.argsort(-added, axis=1, kind="stable").tolist()
    return [
        tuple(Contribution(group=names[g][0], about=names[g][1], value=values[g]) for g in order)
        for order, values in zip(orders, added.tolist(), strict=True)
    ]


def reasons(
    query: Query, slate: Slate, shown: Sequence[Shown], policy: Policy, live: Live
) -> Sequence[tuple[Reason, ...]]:
    """Reasons of listings that the slate gave none of yet: those of later pages. As `explain`."""
    if not shown:
        return []
    slots = np.array([live.catalogue.slot_of(each.listing) for each in shown], np.int32)
    return _ranked(live.request(query), slate, slots, shown, policy, live)[1]


def _ranked(
    request: Request,
    slate: Slate,
    slots: NDArray[np.int32],
    shown: Sequence[Shown],
    policy: Policy,
    live: Live,
) -> tuple[NDArray[np.float32] | None, Sequence[tuple[Reason, ...]], int]:
    """Contributions [shown, groups], reasons, and the log offset that they are as of."""
    why = slate.why
    place = {slot: i for i, slot in enumerate(slate.slots.tolist())}
    rows = np.array([place.get(slot, len(place)) for slot in slots.tolist()], np.intp)
    if slate.features is not None and rows.max() < why.told:
        added = None if why.contributions is None else why.contributions[rows]
        return added, [each.reasons for each in shown], slate.n
    score = scorer(policy, request.query.surface) if policy.bundle == slate.bundle else None
    if slate.features is not None and rows.max() < len(slate.slots):
        values, n = slate.features.values[rows], slate.n
        batch = FeatureBatch(values, slate.features.columns, n)
    else:
        batch, n = live.look_up(request, slots), live.n
    beside = None if why.beside is None or rows.max() >= len(why.beside) else why.beside[rows]
    made = None if score is None else contributed(batch, why, beside, live.view, score)
    named = [each.sources for each in shown]
    return made, told(request, slots, named, batch, live, why, made), n


def _proposals(
    found: Sequence[Candidates], slots: NDArray[np.int32], shown: Sequence[Shown]
) -> list[tuple[Proposal, ...]]:
    """For each listing, its retrievers, with place and score where they propose it now."""
    by_name = {candidates.names[0]: candidates for candidates in found}
    ranks = {
        name: {slot: rank for rank, slot in enumerate(candidates.slots.tolist())}
        for name, candidates in by_name.items()
    }
    result = []
    for slot, each in zip(slots.tolist(), shown, strict=True):
        proposals = []
        for name in each.sources:
            rank = ranks.get(name, {}).get(slot)
            score = None if rank is None else float(by_name[name].scores[rank])
            proposals.append(Proposal(name, rank, score))
        result.append(tuple(proposals))
    return result
