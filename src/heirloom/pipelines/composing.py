"""From scores to places: the slate's rules, or the order alone; and availability once more."""

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.pipelines.floor import met_by
from heirloom.pipelines.ladder import Steps
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.slates.compose import compose
from heirloom.slates.luck import key_of
from heirloom.slates.rules import Rules
from heirloom.slates.steps import Composed, Pool, composed


def placed(
    request: Request,
    candidates: Candidates,
    scores: NDArray[np.float32],
    policy: Policy,
    live: Live,
    slate_id: str,
    steps: Steps,
) -> Composed:
    """The slate's rows; by the order of scores and the seller's cap where no other rule acts."""
    sellers = live.catalogue.column("seller")[candidates.slots]
    made = steps.attempt(
        "compose",
        lambda: _ruled(request, candidates, scores, sellers, policy, live, slate_id),
        otherwise="no rules",
    )
    if made is None:
        made = _plain(scores, sellers, request.query.k, policy.seller_cap)
    # Availability once more: a sale may have been announced since retrieval.
    kept = np.flatnonzero(live.standing(candidates.slots[made.rows]))
    if len(kept) == len(made.rows):
        return made
    moved = tuple(made.moved[i] for i in kept.tolist())
    return Composed(made.rows[kept], made.propensities[kept], moved, made.worth)


def _ruled(
    request: Request,
    candidates: Candidates,
    scores: NDArray[np.float32],
    sellers: NDArray[np.int32],
    policy: Policy,
    live: Live,
    slate_id: str,
) -> Composed:
    k, here = request.query.k, request.query.surface in policy.surfaces
    met = met_by(request, candidates.slots, live, policy.rules.floor if here else ())
    if here and (policy.rules or (met != met[:1]).any()):
        pool = _pool(request, candidates.slots, scores, sellers, policy.rules, live, met)
        return composed(pool, policy.rules, k=k, seller_cap=policy.seller_cap, key=key_of(slate_id))
    return _plain(scores, sellers, k, policy.seller_cap)


def _plain(
    scores: NDArray[np.float32], sellers: NDArray[np.int32], k: int, seller_cap: int
) -> Composed:
    rows = compose(scores, sellers, k=k, seller_cap=seller_cap)
    return Composed(rows, np.ones(len(rows)), ((),) * len(rows), {})


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
