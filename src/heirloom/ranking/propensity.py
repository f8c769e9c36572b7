"""Inverse propensity weights: a click at a place seldom looked at counts for those not made.

E[click / chance(position)] is the chance of a click on what is looked at, at every place; so a
loss that is linear in clicks, weighed so, is in expectation the loss without position bias
(Joachims, Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017).
Softmax and squared losses of the gain are linear in it. Ours are weighed by
multiplying gains: a ranker needs not know. A listwise target that is normalised within each slate
forgets the weights of slates with one click: do not normalise there.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.examination import Examination
from heirloom.ranking.ranker import Examples

CLIP = 20.0
"""Largest weight before normalising: a click at a place seen once in twenty times."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What weighing does to the rows that gained something.

    Attributes:
        rows: how many they are.
        effective: (sum w)² / sum w², so many equal weights would be as noisy (Kish, 1965).
        largest: the largest weight over the mean.
        clipped: share of them whose weight was cut.
    """

    rows: int
    effective: float
    largest: float
    clipped: float


def inverse_propensity(
    examination: Examination,
    positions: NDArray[Any],
    *,
    clip: float = CLIP,
) -> NDArray[np.float64]:
    """Weight [rows] of a click at each position: 1 / chance, at most `clip`.

    With trust (`examination.misled`) the weight is P(relevant | click) / chance as in Agarwal et
    al., WWW 2019 (Bayes-IPS), with P(relevant | click) = ε+ / (ε+ + ε-).

    Clipping trades bias for variance (Swaminathan and Joachims, JMLR 2015): it bounds what one
    click at the end of a slate may say.

    Raises:
        InputError: if a position is negative or `clip` below 1.

    >>> halves = Examination(np.array([1.0, 0.5, 0.01]))
    >>> inverse_propensity(halves, np.array([0, 1, 2]), clip=20.0).tolist()
    [1.0, 2.0, 20.0]
    """
    if not clip >= 1:
        raise InputError(f"inverse_propensity: clip is {clip}; wanted at least 1")
    chance = examination.of(positions)
    weights = np.minimum(1.0 / chance, clip)
    if examination.misled is not None:
        misled = examination.misled[examination.place(positions)]
        weights = weights * chance / (chance + misled)
    return weights


def self_normalised(weights: NDArray[Any], clicked: NDArray[Any]) -> NDArray[np.float64]:
    """Weights [rows] with mean 1 over the rows that were clicked.

    The order learned does not change, but the loss keeps its scale, and with it what a ridge or
    a learning rate means; and chance in how heavy the clicks drawn are falls out (Swaminathan
    and Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015).

    >>> self_normalised(np.array([1.0, 3.0, 9.0]), np.array([1, 1, 0])).tolist()
    [0.5, 1.5, 4.5]
    """
    if np.shape(weights) != np.shape(clicked):
        raise ShapeError(
            f"self_normalised: weights {list(np.shape(weights))} and clicked "
            f"{list(np.shape(clicked))} must both be [rows]"
        )
    of = np.asarray(weights, np.float64)
    on = of[np.asarray(clicked) > 0]
    return of / on.mean() if len(on) else of


def debiased(
    examples: Examples, examination: Examination, *, clip: float = CLIP
) -> tuple[Examples, Weighed]:
    """Examples whose gains are weighed by inverse propensity, self-normalised.

    Weigh what is trained on; to stop early, weigh the validation part with the same
    examination. Positions become 0: a ranker that takes them for a feature would explain away
    the place a second time.

    >>> one = np.zeros(2, np.int16)
    >>> shown = Examples(np.zeros((2, 1), np.float32), ("a",), np.zeros(2, np.int64),
    ...     np.array([1, 1], np.float32), np.array([0, 1], np.int16), np.zeros(2, np.int64))
    >>> debiased(shown, Examination(np.array([1.0, 1 / 3])))[0].gains.tolist()
    [0.5, 1.5]
    """
    raw = inverse_propensity(examination, examples.positions, clip=clip)
    gained = examples.gains > 0
    weights = self_normalised(raw, gained)
    result = replace(
        examples,
        gains=(examples.gains * weights).astype(np.float32),
        positions=np.zeros_like(examples.positions),
    )
    cut = 1.0 / examination.of(examples.positions[gained]) > clip
    return result, _weighed(weights[gained], cut)


def affine_corrected(
    clicks: NDArray[Any], positions: NDArray[Any], examination: Examination
) -> NDArray[np.float64]:
    """Relevance [rows] that is right on average, (click - b) / (a - b); it may be negative.

    Vardasbi, Oosterhuis and de Rijke, "When inverse propensity scoring does not work: affine
    corrections for unbiased learning to rank", CIKM 2020. For losses over single
    rows; listwise ones want weights that are not negative.

    Raises:
        InputError: if a click on what is not relevant is as likely as on what is.

    >>> trusted = Examination(np.array([1.0, 0.5]), misled=np.array([0.2, 0.0]))
    >>> affine_corrected(np.array([1, 0, 1]), np.array([0, 0, 1]), trusted).tolist()
    [1.0, -0.25, 2.0]
    """
    chance = examination.of(positions)
    misled = np.zeros(len(chance))
    if examination.misled is not None:
        misled = examination.misled[examination.place(positions)]
    if len(chance) and (chance - misled).min() <= 0:
        raise InputError(
            f"affine_corrected: at position {np.asarray(positions)[(chance - misled).argmin()]} a "
            "click on what is not relevant is as likely as on what is; leave that place out"
        )
    result: NDArray[np.float64] = (np.asarray(clicks) - misled) / (chance - misled)
    return result


def _weighed(weights: NDArray[np.float64], cut: NDArray[np.bool_]) -> Weighed:
    if not len(weights):
        return Weighed(0, 0.0, 0.0, 0.0)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return Weighed(
        len(weights), effective, float(weights.max() / weights.mean()), float(cut.mean())
    )
