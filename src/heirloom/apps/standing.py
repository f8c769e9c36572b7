"""Where a listing stands for a request, and why: by whom it was found, what ranked and moved it."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from heirloom.apps.build import System
from heirloom.core.errors import NotFoundError
from heirloom.core.event import person_key
from heirloom.core.listing import Status
from heirloom.core.query import Query
from heirloom.core.slate import Moved, Slate
from heirloom.pipelines.explain import Contribution, Proposal, by_group, explain
from heirloom.pipelines.scope import Scope
from heirloom.pipelines.scoring import scorer
from heirloom.pipelines.serve import recommend
from heirloom.pipelines.why import contributed


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a listing stands where it does, or what keeps it away.

    Attributes:
        place: from 0, in the order of all candidates after the rules of the slate; None where it
            is not among them.
        kept_away: why it is not.
        candidates: how many were ranked.
        score: its score; what it would be where it is no candidate, None where nothing is ranked.
        would_be: for no candidate, the place that its score would have had.
        contributions: greatest first; empty where nothing was ranked.
        worth: of the slate, as in `core.slate.Slate`.
    """

    listing: str
    title: str
    person: str
    surface: str
    policy: str
    bundle: str
    n: int
    place: int | None
    kept_away: str
    candidates: int
    score: float | None
    would_be: int | None
    contributions: tuple[Contribution, ...]
    reasons: tuple[str, ...]
    found: tuple[Proposal, ...]
    moved: tuple[Moved, ...]
    propensity: float
    worth: dict[str, float]
    degraded: tuple[str, ...]


def standing(system: System, listing: str, query: Query) -> Standing:
    """Where a listing stands for a query, among all candidates.

    Raises:
        NotFoundError: the listing, the anchor or the person is unknown.
    """
    live, policy = system.live, system.policy
    _check_known(system, listing, query)
    slot = live.catalogue.slot_of(listing)
    query = msgspec.structs.replace(query, k=policy.pool)
    slate = recommend(query, policy, live, reasons=0)
    place = next((shown.position for shown in slate.shown if shown.listing == listing), None)
    said = Standing(
        listing=listing,
        title=live.catalogue.listing(slot).title,
        person=query.user or "",
        surface=query.surface,
        policy=policy.name,
        bundle=policy.bundle,
        n=live.n,
        place=place,
        kept_away="",
        candidates=len(slate.shown),
        score=None,
        would_be=None,
        contributions=(),
        reasons=(),
        found=(),
        moved=(),
        propensity=1.0,
        worth=slate.worth,
        degraded=tuple(f"{step.step}: {step.reason}" for step in slate.degraded),
    )
    if place is None:
        return _absent(said, system, slot, query, slate)
    shown = slate.shown[place]
    (why,) = explain(query, slate, [shown], policy, live)
    return replace(
        said,
        score=shown.score,
        contributions=why.contributions,
        reasons=tuple(map(str, why.reasons)),
        found=why.proposals,
        moved=shown.moved,
        propensity=shown.propensity,
    )


def _check_known(system: System, listing: str, query: Query) -> None:
    live = system.live
    for what, wanted in (("listing", listing), ("anchor", query.anchor)):
        if wanted is not None and live.catalogue.slot_of(wanted) < 0:
            fate = "is gone long since" if live.catalogue.knows(wanted) else "is not known"
            raise NotFoundError(
                f"explain: {what} {wanted!r} {fate} (offset {live.n}); check its id"
            )
    if query.user is not None and not live.vocabulary.find("person", person_key(query.user, None)):
        raise NotFoundError(
            f"explain: person {query.user!r} has done nothing yet (offset {live.n}); check the "
            "name, or leave --person out for a newcomer"
        )


def _absent(said: Standing, system: System, slot: int, query: Query, slate: Slate) -> Standing:
    """What keeps a listing away, and how it would fare if nothing did."""
    live, policy = system.live, system.policy
    request = live.request(query)
    status = live.catalogue.status(slot)
    if status is not Status.LIVE:
        why = f"it is {status.name.lower()}"
    elif not Scope(request, live).mask[slot]:
        why = "the filters leave it out, or it is the person's own, hidden, blocked, or the anchor"
    else:
        asked = ", ".join(policy.quotas[query.surface])
        pool = policy.pool_of(query.surface)
        why = f"none of {asked} proposed it, or it was not among the {pool} best proposed"
    score = scorer(policy, query.surface)
    batch = live.look_up(request, np.array([slot], np.int32))
    added = None if score is None else contributed(batch, slate.why, None, live.view, score)
    if score is None or added is None:
        return replace(said, kept_away=why)
    mine = float(score(batch)[0])
    better = sum(shown.score > mine for shown in slate.shown)
    return replace(
        said,
        kept_away=why,
        score=mine,
        would_be=None if policy.retrieval_weight else better,
        contributions=by_group(live.view, added)[0],
    )
