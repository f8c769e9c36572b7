"""A score for each candidate: the ranker's, beside retrieval's; or that of the ranker before it."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.slate import Candidates, Degraded, FeatureBatch
from heirloom.pipelines.ladder import ABSENT, Steps
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.why import PolicyScore, Score


@dataclass(frozen=True, slots=True)
class Scored:
    """What candidates are ordered by.

    Attributes:
        scores: [candidates] float32.
        by: the policy whose ranker scored; None for the order of retrieval.
        given: [candidates] float32, what its ranker gave; None where none was asked.
    """

    scores: NDArray[np.float32]
    by: Policy | None = None
    given: NDArray[np.float32] | None = None


def scored(
    batch: FeatureBatch | None, candidates: Candidates, policy: Policy, surface: str, steps: Steps
) -> Scored:
    """Scores by the ranker; where it cannot, by the spare one; else by retrieval's order."""
    if policy.ranker is None:
        reason = "no ranker is loaded: order of retrieval"
        steps.degraded.append(Degraded("score", reason, ABSENT, "order of retrieval"))
        return Scored(candidates.scores)
    if batch is None or not len(candidates):
        return Scored(candidates.scores, policy if batch is not None else None)
    spare, lower = policy.spare, "order of retrieval" if policy.spare is None else "spare ranker"
    for part, one, otherwise in (("", policy, lower), ("spare", spare, "order of retrieval")):
        if one is None or (score := scorer(one, surface)) is None:
            continue
        given = steps.attempt(
            "score", partial(_finite, score, batch, steps), otherwise=otherwise, part=part
        )
        if given is not None:
            return Scored(blended(given, candidates, policy.retrieval_weight), one, given)
    return Scored(candidates.scores)


def _finite(score: Score, batch: FeatureBatch, steps: Steps) -> NDArray[np.float32]:
    """[candidates] float32.

    Raises:
        ShapeError: they are not.
        ArithmeticError: they are not all numbers, and there is a lower rung to answer.
    """
    scores = score(batch)
    if scores.shape != (len(batch.values),):
        raise ShapeError(
            f"the ranker gave scores {list(scores.shape)} for {len(batch.values)} rows"
        )
    if steps.falls and not np.isfinite(scores.sum()) and not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise ArithmeticError(f"the ranker gave {bad} scores of {len(scores)} that are no numbers")
    return scores


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
    added = beside(candidates, weight)
    return scores if added is None else scores + added


def beside(candidates: Candidates, weight: float) -> NDArray[np.float32] | None:
    """[candidates] float32: weight · log of retrieval's score; None without weight."""
    if not weight:
        return None
    logs: NDArray[np.float32] = np.log(np.maximum(candidates.scores, 1e-30)).astype(np.float32)
    return np.float32(weight) * logs
