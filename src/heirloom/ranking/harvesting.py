"""Examination from interventions: what stood at one place here and at another there.

Two policies put the same listing, for the same question, at different places. As which of them
answers was drawn by chance, the clicks at the two places differ by examination alone, whatever
the listing is worth. Nothing is swapped for it: the experiments that a shop runs anyway, and its
refitted models, are the interventions (Agarwal, Zaitsev, Wang, Li, Najork and Joachims,
"Estimating position bias without intrusive interventions", WSDM 2019).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.examination import Examination

FOLDS = 10
PENALTIES = tuple(float(10.0**power) for power in range(-3, 6))
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Pairs:
    """Clicks at a place, of what might as well have stood at another. Parts of a log add up.

    Attributes:
        clicked: [folds, positions, positions] float64; [f, k, l] weighed clicks at k, of listings
            that the policies put at k and at l.
        shown: the same of impressions at k.
        columns: of the grid.
    """

    clicked: NDArray[np.float64]
    shown: NDArray[np.float64]
    columns: int = 1

    def __post_init__(self) -> None:
        shape = self.clicked.shape
        if len(shape) != 3 or shape[1] != shape[2] or self.shown.shape != shape:
            raise ShapeError(
                f"Pairs: clicked has shape {list(shape)} and shown {list(self.shown.shape)}; "
                "wanted both [folds, positions, positions]"
            )

    def __add__(self, other: "Pairs") -> "Pairs":
        if (self.clicked.shape, self.columns) != (other.clicked.shape, other.columns):
            raise ShapeError(
                f"Pairs: {list(self.clicked.shape)} of {self.columns} column(s) and "
                f"{list(other.clicked.shape)} of {other.columns} do not add up"
            )
        return Pairs(self.clicked + other.clicked, self.shown + other.shown, self.columns)

    def linked(self) -> NDArray[np.bool_]:
        """[positions] whether clicks tie a place to the first, over however many others."""
        clicked = self.clicked.sum(axis=0)
        tied = (clicked + clicked.T > 0) & (self.shown.sum(axis=0) > 0)
        reached = np.zeros(len(tied), np.bool_)
        reached[0] = True
        for _ in range(len(tied)):
            reached = reached | tied[reached].any(axis=0)
        return reached


def harvested(
    positions: NDArray[Any],
    clicks: NDArray[Any],
    under: NDArray[Any],
    shares: NDArray[Any],
    *,
    depth: int,
    folds: NDArray[Any] | None = None,
    columns: int = 1,
) -> Pairs:
    """Pairs of a log that knows where each policy would have put what was shown.

    Agarwal et al. weigh a click at k by 1 / w(k), w the share of policies that put
    the listing there. Here each listing is weighed by w(k) w(l) / (w(k) + w(l)) besides, the same
    at both places and so without effect on their ratio: no weight exceeds 1.

    Args:
        positions: [rows] where each was shown.
        clicks: [rows] 1 for a click, else 0.
        under: [rows, policies] where each policy puts it for this very question; -1 for nowhere.
        shares: [policies] chance that a policy answers, drawn without regard to the question.
        depth: how many positions there are to know; what stood beyond is left out.
        folds: [rows] integers, equal within a slate (its hash), by which errors are estimated.
        columns: of the grid.

    Raises:
        ShapeError: if the arrays do not fit each other.
        InputError: if a listing stands where no policy with a share puts it.

    >>> under = np.array([[0, 1], [0, 1]])
    >>> pairs = harvested(
    ...     np.array([0, 1]), np.array([1, 0]), under, np.array([0.5, 0.5]), depth=2)
    >>> pairs.clicked.sum(axis=0).tolist(), pairs.shown.sum(axis=0).tolist()
    ([[0.0, 0.5], [0.0, 0.0]], [[0.0, 0.5], [0.5, 0.0]])
    """
    positions, under = np.asarray(positions), np.asarray(under)
    wanted = (len(positions), len(shares))
    if under.shape != wanted or clicks.shape != positions.shape:
        raise ShapeError(
            f"harvested: under has shape {list(under.shape)} and clicks {list(clicks.shape)}; "
            f"wanted [rows={wanted[0]}, policies={wanted[1]}] and [rows]"
        )
    share = np.asarray(shares, np.float64) / np.sum(shares)
    here = ((under == positions[:, None]) * share).sum(axis=1)
    if len(here) and here.min() <= 0:
        row = int(here.argmin())
        raise InputError(
            f"harvested: row {row} stood at {positions[row]}, where no policy that answers puts it "
            f"({under[row].tolist()}); log the places of the policies that answered"
        )
    fold = _folds(folds, len(positions))
    clicked = np.zeros((FOLDS, depth, depth))
    shown = np.zeros_like(clicked)
    for policy in range(len(share)):
        there = under[:, policy]
        rows = np.flatnonzero(
            (there >= 0) & (there < depth) & (there != positions) & (positions < depth)
        )
        if not len(rows) or not share[policy]:
            continue
        at, other = positions[rows], there[rows]
        weight = share[policy] / (
            here[rows] + ((under[rows] == other[:, None]) * share).sum(axis=1)
        )
        cell = np.ravel_multi_index((fold[rows], at, other), clicked.shape)
        shown += np.bincount(cell, weight, shown.size).reshape(shown.shape)
        clicked += np.bincount(cell, weight * clicks[rows], shown.size).reshape(shown.shape)
    return Pairs(clicked, shown, columns)


def harvested_again(
    keys: NDArray[Any],
    positions: NDArray[Any],
    clicks: NDArray[Any],
    *,
    depth: int,
    columns: int = 1,
) -> Pairs:
    """Pairs of a log that shows the same thing to the same person again, at another place.

    For logs that do not know where other policies would have put a listing. `keys` says what is
    the same question about the same listing: person, surface, words and anchor, listing. The
    counts seen of a key stand for w. It rests on a key's worth being the same each time; where
    those who pass a listing over tire of it, order by chance which place comes first.

    Args:
        keys: [rows] int64.
        positions: [rows].
        clicks: [rows].
        depth: how many positions there are to know; what stood beyond is left out.
        columns: of the grid.

    >>> again = harvested_again(
    ...     np.array([7, 7, 8]), np.array([0, 1, 1]), np.array([1, 0, 1]), depth=2)
    >>> again.shown.sum(axis=0).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    if not keys.shape == positions.shape == clicks.shape or keys.ndim != 1:
        raise ShapeError(
            f"harvested_again: keys {list(keys.shape)}, positions {list(positions.shape)} and "
            f"clicks {list(clicks.shape)} must all be [rows]"
        )
    rows = np.flatnonzero((positions >= 0) & (positions < depth))
    _, key = np.unique(keys[rows], return_inverse=True)
    cell, inverse = np.unique(key * depth + positions[rows], return_inverse=True)
    count = np.bincount(inverse, minlength=len(cell)).astype(np.float64)
    clicked_at = np.bincount(inverse, clicks[rows], len(cell))
    key, place = cell // depth, cell % depth
    width = np.bincount(key)[key] if len(key) else key
    first = np.searchsorted(key, key)
    a = np.repeat(np.arange(len(cell)), width)
    b = first[a] + np.arange(len(a)) - np.repeat(np.cumsum(width) - width, width)
    a, b = a[a != b], b[a != b]
    weight = count[b] / (count[a] + count[b])
    shape = (FOLDS, depth, depth)
    at = np.ravel_multi_index((_folds(key[a], len(a)), place[a], place[b]), shape)
    size = int(np.prod(shape))
    clicked, shown = (
        np.bincount(at, weight * of[a], size).astype(np.float64).reshape(shape)
        for of in (clicked_at, count)
    )
    return Pairs(clicked, shown, columns)


def examination_of_pairs(pairs: Pairs, *, penalty: float | None = None) -> Examination:
    """The chances under which the clicks of all pairs are likeliest (AllPairs).

    Agarwal et al. maximise the likelihood over chances p and, for each pair, what its listings
    are worth, r(k, l) = r(l, k). With a Poisson likelihood, which asks for the same means, r can
    be maximised out: a click of a pair is at k with chance n(k,l) p(k) / (n(k,l) p(k) + n(l,k)
    p(l)), which is concave in log p (Bradley and Terry, Biometrika 1952), so there is one answer.

    A far place has few clicks. `penalty` weighs how little log p may bend, over the logarithm of
    the row, and how little columns may differ in it; without limit, p is a power of the row times
    a factor of the column. Where none is given, the one under which the clicks are likeliest.

    Raises:
        InputError: if no clicks tie a place to the first.
    """
    linked = pairs.linked()
    if not linked.all():
        raise InputError(
            f"examination_of_pairs: no clicks tie place {int(np.argmin(linked))} (of "
            f"{len(linked)}) to the first; wanted logs of policies that put the same listings at "
            "different places, more of them, or a smaller `depth`"
        )
    rough = roughness(len(linked), pairs.columns)
    if penalty is None:
        penalty = _chosen(pairs, rough)
    whole = _fit(pairs.clicked.sum(axis=0), pairs.shown.sum(axis=0), penalty * rough)
    parts = []
    for fold in range(len(pairs.clicked)):
        clicked, shown = _without(pairs, fold)
        parts.append(_fit(clicked, shown, penalty * rough, whole))
    # Jackknife over folds: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    spread = np.var(parts, axis=0) * (len(parts) - 1)
    return Examination(np.exp(whole), pairs.columns, error=np.sqrt(spread))


def roughness(depth: int, columns: int) -> NDArray[np.float64]:
    """[positions, positions] R, such that b R b is how much a log chance b bends.

    Down each column the integral of the squared second derivative over x = log(1 + row), as the
    sum over interior rows of (change of slope)² / mean step; and the squared change, from row to
    row, of the difference of neighbouring columns.

    >>> power = -2 * np.log(np.arange(1.0, 9))
    >>> round(float(power @ roughness(8, 1) @ power), 9)
    0.0
    """
    rows = []
    step = np.diff(np.log(np.arange(1.0, depth + 3)))
    for place in range(depth):
        row, column = divmod(place, columns)
        if place + 2 * columns < depth:
            h, g = step[row], step[row + 1]
            bend = np.zeros(depth)
            bend[[place, place + columns, place + 2 * columns]] = [1 / h, -1 / h - 1 / g, 1 / g]
            rows.append(bend / np.sqrt((h + g) / 2))
        if column + 1 < columns and place + columns + 1 < depth:
            twist = np.zeros(depth)
            twist[[place, place + 1, place + columns, place + columns + 1]] = [1, -1, -1, 1]
            rows.append(twist / np.sqrt(step[row]))
    bends = np.array(rows).reshape(len(rows), depth)
    whole: NDArray[np.float64] = bends.T @ bends
    return whole


def _folds(folds: NDArray[Any] | None, rows: int) -> NDArray[np.int64]:
    if folds is None:
        return np.arange(rows, dtype=np.int64) % FOLDS
    if folds.shape != (rows,):
        raise ShapeError(f"folds have shape {list(folds.shape)}; wanted [rows={rows}]")
    return (folds % FOLDS).astype(np.int64)


def _without(pairs: Pairs, fold: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = np.arange(len(pairs.clicked)) != fold
    return pairs.clicked[kept].sum(axis=0), pairs.shown[kept].sum(axis=0)


def _chosen(pairs: Pairs, rough: NDArray[np.float64]) -> float:
    """The penalty under which the clicks are likeliest, whatever the chances.

    The penalty is a Gaussian prior of b = log p, and the chances are integrated out by Laplace's
    method about their mode: log L(b) - λ b R b / 2 + rank(R) log λ / 2 - log |H + λ R| / 2, which
    is MacKay, "Bayesian interpolation", Neural Computation 1992, equation 15 (and REML: Wood,
    JRSS B 2011). Where places are far and clicks few, cross-validation cannot tell penalties apart
    and its best is chance; the prior that explains no more than it must is told all the same.
    """
    clicked, shown = pairs.clicked.sum(axis=0), pairs.shown.sum(axis=0)
    free = rough[1:, 1:]  # the first chance is 1
    bends = np.linalg.eigvalsh(free)
    rank = int((bends > 1e-9 * bends.max()).sum()) if len(bends) else 0
    best, chosen = -np.inf, PENALTIES[0]
    at: NDArray[np.float64] | None = None
    for penalty in reversed(PENALTIES):
        at = _fit(clicked, shown, penalty * rough, at)
        twice, _, curve = _likelihood(at, clicked, shown)
        spread = np.linalg.slogdet(curve[1:, 1:] / 2 + penalty * free + 1e-9 * np.eye(len(free)))[1]
        evidence = (
            twice - penalty * float(at @ rough @ at) + rank * np.log(penalty) - float(spread)
        ) / 2
        if evidence > best:
            best, chosen = evidence, penalty
    return chosen


def _likelihood(
    b: NDArray[np.float64], clicked: NDArray[np.float64], shown: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Log likelihood of where the pairs' clicks were, its gradient and minus its Hessian.

    Each unordered pair counts twice, as does the penalty in `_fit`.
    """
    with np.errstate(divide="ignore"):
        here = np.where(shown > 0, np.log(np.maximum(shown, 1e-300)), -np.inf) + b[:, None]
    both = (shown > 0) & (shown.T > 0)
    gap = np.where(both, here - np.where(both, here.T, 0.0), 0.0)
    total = np.where(both, clicked + clicked.T, 0.0)
    own = np.where(both, clicked, 0.0)
    chance = 1 / (1 + np.exp(-gap))
    value = float(-2 * (own * np.logaddexp(0.0, -gap)).sum())
    gradient = 2 * (own - total * chance).sum(axis=1)
    curve = 2 * total * chance * (1 - chance)
    return value, gradient, np.diag(curve.sum(axis=1)) - curve


def _fit(
    clicked: NDArray[np.float64],
    shown: NDArray[np.float64],
    penalty: NDArray[np.float64],
    begin: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Log chances [positions], the first 0, by damped Newton steps."""
    b = np.zeros(len(clicked)) if begin is None else begin.copy()

    def objective(at: NDArray[np.float64]) -> float:
        return _likelihood(at, clicked, shown)[0] - float(at @ penalty @ at)

    value = objective(b)
    for _ in range(_STEPS):
        _, gradient, curve = _likelihood(b, clicked, shown)
        slope = (gradient - 2 * penalty @ b)[1:]
        # A place without clicks in a fold has no curvature: a ridge far below one click holds it.
        down = (curve + 2 * penalty)[1:, 1:] + 1e-6 * np.eye(len(b) - 1)
        step = np.concatenate([[0.0], np.linalg.solve(down, slope)])
        size = 1.0
        while size > 1e-6 and (better := objective(b + size * step)) < value:
            size /= 2
        if size <= 1e-6 or better - value <= 1e-10 * max(1.0, abs(value)):
            break
        b, value = b + size * step, better
    return b
