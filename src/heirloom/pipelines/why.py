"""Why: what each group of features does for the listings of a slate, and what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch, Reason, Why
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.ranking.actions import combined
from heirloom.ranking.contributions import contributions, lost, median, telling, usual
from heirloom.ranking.ranker import LeavesOut, Ranker
from heirloom.slates.reasons import Ranked, reasons

RETRIEVAL = "retrieval"
"""Name of what retrieval's own score adds, beside the groups of features."""
Score = Callable[[FeatureBatch], NDArray[np.float32]]
"""FeatureBatch of any candidates -> [candidates] float32, the policy's score by features alone."""


@dataclass(frozen=True, slots=True)
class PolicyScore:
    """A ranker's actions combined by a surface's weights.

    Attributes:
        ranker: of the policy.
        weights: [actions] float32.
    """

    ranker: Ranker
    weights: NDArray[np.float32]

    def __call__(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates] float32."""
        return combined(self.ranker.score(batch), self.weights)


def why_of(
    batch: FeatureBatch,
    rows: NDArray[np.intp],
    beside: NDArray[np.float32] | None,
    view: FeatureView,
    score: Score | None,
    first: int | None,
    scores: NDArray[np.float32] | None = None,
) -> Why:
    """What the explanations of a slate rest on.

    Args:
        batch: [candidates, features].
        rows: [shown] of the candidates.
        beside: [candidates] what retrieval's own score adds to each score; None for nothing.
        view: whose columns these are.
        score: of candidates by features; None without a ranker.
        first: of so many of the shown, contributions are wanted; None: of all.
        scores: [candidates] by `score`, where it gave them already.
    """
    told = len(rows[:first])
    if score is None or not len(batch.values):
        return Why(len(batch.values), told=told)
    why = Why(
        candidates=len(batch.values),
        usual=usual(batch.values, view.codes),
        beside=None if beside is None else beside[rows],
        beside_usual=0.0 if beside is None else median(beside),
        told=told,
    )
    top = FeatureBatch(batch.values[rows[:told]], batch.columns, batch.n)
    near = None if beside is None else beside[rows[:told]]
    given = None if scores is None else scores[rows[:told]]
    added = contributed(top, why, near, view, score, given)
    return Why(why.candidates, why.usual, why.beside, why.beside_usual, told, added)


def contributed(
    batch: FeatureBatch,
    why: Why,
    beside: NDArray[np.float32] | None,
    view: FeatureView,
    score: Score,
    scores: NDArray[np.float32] | None = None,
) -> NDArray[np.float32] | None:
    """[listings, groups] float32: what each of `names_of` adds to the listings' scores.

    Args:
        batch: [listings, features].
        why: says what is usual; None comes out where it does not.
        beside: [listings] what retrieval's own score adds to each score; None for nothing.
        view: whose columns and groups these are.
        score: one call of it is made, of a row for each listing and group, where its ranker
            cannot tell for less.
        scores: [listings] by `score`, where it gave them already.
    """
    if why.usual is None:
        return None

    def scored(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return score(FeatureBatch(values, batch.columns, batch.n))

    groups = len(view.groups)
    ranker: object = score.ranker if isinstance(score, PolicyScore) else None
    if isinstance(score, PolicyScore) and _leaves_out(ranker):
        parts = ranker.without(batch, why.usual, view.group_of, groups)
        less = combined(parts.reshape(-1, parts.shape[2]), score.weights)
        own = score(batch) if scores is None else scores
        added = lost(own[:, None], less.reshape(parts.shape[:2]))
    else:
        added = contributions(scored, batch.values, why.usual, view.group_of, groups)
    if beside is None:
        return added
    whole = np.empty((len(added), groups + 1), np.float32)
    whole[:, :groups], whole[:, groups] = added, beside - why.beside_usual
    return whole


def _leaves_out(ranker: object) -> TypeGuard[LeavesOut]:
    kind: Any = type(ranker)
    return _has_without(kind)


@cache
def _has_without(kind: Any) -> bool:
    """A class is asked once: to look for a protocol's methods takes longer than to call one."""
    return issubclass(kind, LeavesOut)


def names_of(view: FeatureView, added: NDArray[np.float32]) -> list[tuple[str, str]]:
    """[groups] (name, in words) of the columns that `contributed` gave."""
    names = [(group.name, group.about) for group in view.groups]
    return [*names, (RETRIEVAL, "how it was found")][: added.shape[1]]


def told(
    request: Request,
    slots: NDArray[np.int32],
    sources: Sequence[tuple[str, ...]],
    batch: FeatureBatch,
    live: Live,
    why: Why,
    added: NDArray[np.float32] | None,
) -> list[tuple[Reason, ...]]:
    """Reasons of each listing.

    Args:
        request: who asked.
        slots: [shown].
        sources: [shown] names of the retrievers that proposed each.
        batch: [shown, features].
        live: for words and groups.
        why: says what is usual.
        added: as `contributed` gives it.
    """
    ranked = None
    if why.usual is not None and added is not None:
        names = names_of(live.view, added)
        ranked = Ranked(
            groups=[name for name, _ in names],
            about=[about for _, about in names],
            contributions=added,
            telling=telling(added),
            usual=why.usual,
        )
    return reasons(request, slots, sources, batch, live.catalogue, ranked)
