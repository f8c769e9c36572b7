"""Effects: what a person's own clicks and passes say of a listing, beyond what holds for everybody.

How a person leans is a Gaussian process over what listings are like, seen through what was opened
and what was passed over:

    f ~ N(0, k),    k(x, x') = Σ_g variance_g · k_g(x, x'),    P(opened | shown) = σ(offset + f(x))

With k_g linear, or 1 where two listings share a brand or a category, these are the random effects
of a generalised linear mixed model, all of a person's at once: a dear coat of a loved brand does
not speak for dear things, nor for coats. Sources: Zhang et al., "GLMix: Generalized Linear Mixed
Models for Large-Scale Response Prediction", KDD 2016; Rasmussen and Williams, "Gaussian Processes
for Machine Learning", 2006, algorithm 3.1 (the mode) and equation 3.21, f(x*) = k(x*)ᵀ (y - π̂).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

PARTS = ("category", "need", "brand", "price", "size")
"""Of what an effect is made, in the order of `effects`' columns."""
NEWTON_STEPS, GRADIENT_STEPS = 3, 12
"""Steps to the mode, and of conjugate gradients in each. More change no order worth the time."""


class Variances(NamedTuple):
    """How much people differ, in squared logits. Learned by the likelihood of the next slate.

    Attributes:
        department, family, category: for each, wherever the next is the same.
        need: for a category, forgotten as exp(-age / `need_ms`).
        brand: for each.
        price: along the log of the price over the category's.
        size: for each size of a family.
        person: how much is opened at all.
        slate: how well a slate suited its moment, which is none of the listings' doing.
        need_ms: mean life of a need.
    """

    department: float = 0.33
    family: float = 0.05
    category: float = 0.04
    need: float = 0.1
    brand: float = 0.125
    price: float = 0.1
    size: float = 0.15
    person: float = 0.3
    slate: float = 0.16
    need_ms: float = 6.0 * 86_400_000


class Means(NamedTuple):
    """How people lean before anything was shown to them, in logits: the prior's mean.

    Attributes:
        need: to what they searched for just now; forgotten as needs are.
        brand_asked: to brands that they searched for.
        brand_stated: to brands that they said they like.
        size: for each size away from theirs, but for `SIZES` at most.
        department: to departments other than theirs.
    """

    need: float = 1.0
    brand_asked: float = 0.6
    brand_stated: float = 0.4
    size: float = -0.35
    department: float = -2.5


SIZES = 3.0


class Things(NamedTuple):
    """What listings are like, as columns [rows].

    Attributes:
        department, family, category, brand: codes.
        size: a code; that of no size too is one.
        price: log of the price over what the category costs.
    """

    department: Array
    family: Array
    category: Array
    brand: Array
    size: Array
    price: Array


def residuals(
    things: Things,
    t: Array,
    slate: Array,
    offset: Array,
    opened: Array,
    variances: Variances,
) -> NDArray[np.float64]:
    """How much more each listing shown was opened than foretold, at the mode: [rows], -1 … 1.

    Args:
        things: what was shown.
        t: [rows] when, ms.
        slate: [rows] a number for each slate.
        offset: [rows] logit of the chance that anybody opens what stands there.
        opened: [rows] bool.
        variances: of the effects.
    """
    covariance = _covariance(things, np.asarray(t, np.int64), slate, variances)
    return _at_mode(covariance, np.asarray(offset, np.float64), opened.astype(np.float64))


def effects(
    shown: Things,
    t: Array,
    residual: Array,
    candidates: Things,
    now: int,
    variances: Variances,
) -> NDArray[np.float64]:
    """How a person leans to each candidate, part by part: [candidates, PARTS], in logits.

    Args:
        shown: what the person was shown.
        t: [shown] when, ms.
        residual: [shown] as `residuals` gives them.
        candidates: to be judged; each is, whatever stands beside it.
        now: time of the request, ms.
        variances: those of `residuals`.
    """
    parts = np.zeros((len(candidates.category), len(PARTS)))
    _add_effects(parts, shown, np.asarray(t, np.int64), residual, candidates, now, variances)
    return parts


_PANEL = 8
"""Rows that are mirrored at once: as many numbers as a line of the cache holds."""


@njit(cache=True)
def _covariance(x: Things, t: Array, slate: Array, v: Variances) -> Array:
    """The covariance of all pairs of things.

    Args:
        x: the things.
        t: [rows] ms. Rows of one time mostly stand together.
        slate: [rows].
        v: of the effects.
    """
    department, family, category, brand, size, price = x
    n = len(t)
    covariance, need = np.empty((n, n)), np.empty(n)
    for i in range(n):
        if i == 0 or t[i] != t[i - 1]:
            _needed(need, t, t[i], v)
        row = covariance[i]
        # Term by term: such loops are many pairs at a time.
        dear = v.price * price[i]
        for j in range(i + 1):
            row[j] = v.person + dear * price[j]
        _add_where(row, department, i, v.department)
        _add_where(row, family, i, v.family)
        for j in range(i + 1):
            row[j] += v.size if (family[j] == family[i]) & (size[j] == size[i]) else 0.0
        for j in range(i + 1):
            row[j] += need[j] if category[j] == category[i] else 0.0
        _add_where(row, brand, i, v.brand)
        _add_where(row, slate, i, v.slate)
        if i % _PANEL == _PANEL - 1 or i == n - 1:
            for j in range(i):
                for k in range(max(i - i % _PANEL, j + 1), i + 1):
                    covariance[j, k] = covariance[k, j]
    return covariance


@njit(cache=True)
def _add_where(row: Array, codes: Array, i: int, variance: float) -> None:
    """Add a variance to a row's pairs, up to its own place, that have the same code."""
    for j in range(i + 1):
        row[j] += variance if codes[j] == codes[i] else 0.0


@njit(cache=True)
def _needed(need: Array, t: Array, now: int, v: Variances) -> None:
    """Write the covariance of what is of one category with each thing's time, but for the rest."""
    for j in range(len(t)):
        if j > 0 and t[j] == t[j - 1]:
            need[j] = need[j - 1]
        else:
            need[j] = v.category + v.need * _decayed(now, t[j], v.need_ms)


@njit(cache=True)
def _decayed(now: int, then: int, mean_life: float) -> float:
    left: float = np.exp(-abs(now - then) / mean_life)
    return left


@njit(cache=True)
def _at_mode(covariance: Array, offset: Array, opened: Array) -> Array:
    """Residuals y - π at the mode: Newton's steps, each by conjugate gradients from the last."""
    n = len(offset)
    f, x = np.zeros(n), np.zeros(n)
    for _ in range(NEWTON_STEPS):
        chance = 1.0 / (1.0 + np.exp(-(f + offset)))
        root = np.sqrt(chance * (1.0 - chance))
        b = root * root * f + (opened - chance)
        # (I + W½ K W½) x = W½ K b
        left = root * _times(covariance, b) - x - root * _times(covariance, root * x)
        step = left.copy()
        length = _dot(left, left)
        for _ in range(GRADIENT_STEPS):
            if length < 1e-12:
                break
            along = step + root * _times(covariance, root * step)
            rate = length / _dot(step, along)
            x += rate * step
            left -= rate * along
            before, length = length, _dot(left, left)
            step = left + (length / before) * step
        f = _times(covariance, b - root * x)
    return opened - 1.0 / (1.0 + np.exp(-(f + offset)))


@njit(cache=True)
def _times(symmetric: Array, x: Array) -> Array:
    """The product, row by row, so that the order of each sum is the same on any machine."""
    n = len(x)
    product = np.zeros(n)
    fours = n & ~3
    for j in range(0, fours, 4):  # each product is read and written once for four rows
        a, b, c, d = x[j], x[j + 1], x[j + 2], x[j + 3]
        for i in range(n):
            sum_of = product[i] + symmetric[j, i] * a
            sum_of += symmetric[j + 1, i] * b
            sum_of += symmetric[j + 2, i] * c
            product[i] = sum_of + symmetric[j + 3, i] * d
    for j in range(fours, n):
        for i in range(n):
            product[i] += symmetric[j, i] * x[j]
    return product


@njit(cache=True)
def _dot(a: Array, b: Array) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True)
def _add_effects(
    parts: Array, x: Things, t: Array, residual: Array, c: Things, now: int, v: Variances
) -> None:
    """Add all parts. What is alike leans alike, so each is summed once.

    Every sum is over what was shown, in its order.
    """
    fresh = np.empty(len(t))
    price = 0.0
    for i in range(len(t)):
        fresh[i] = residual[i] * _decayed(max(now, t[i]), t[i], v.need_ms)
        price += residual[i] * x.price[i]
    brands, of_brand = _firsts(c.brand, c.brand, c.brand)
    sizes, of_size = _firsts(c.size, c.family, c.department)
    for i in range(len(t)):
        k = _first_of(brands, x.brand[i], x.brand[i], x.brand[i], c.brand, c.brand, c.brand)
        if k >= 0:
            parts[k, 2] += v.brand * residual[i]
        k = _first_of(
            sizes, x.size[i], x.family[i], x.department[i], c.size, c.family, c.department
        )
        if k >= 0:
            parts[k, 4] += v.size * residual[i]
    _, like = _firsts(c.category, c.family, c.department)
    kinds = np.flatnonzero(like == np.arange(len(like)))
    leaning, needs = _of_kinds(
        x, residual, fresh, c.department[kinds], c.family[kinds], c.category[kinds], v
    )
    for d in range(len(kinds)):
        parts[kinds[d], 0], parts[kinds[d], 1] = leaning[d], needs[d]
    for k in range(len(parts)):
        parts[k, 0], parts[k, 1] = parts[like[k], 0], parts[like[k], 1]
        parts[k, 2], parts[k, 4] = parts[of_brand[k], 2], parts[of_size[k], 4]
        parts[k, 3] = v.price * price * c.price[k]


@njit(cache=True)
def _of_kinds(
    x: Things,
    residual: Array,
    fresh: Array,
    department: Array,
    family: Array,
    category: Array,
    v: Variances,
) -> tuple[Array, Array]:
    """How a person leans to categories [kinds], and needs them; zeros are added, not branched."""
    leaning, needs = np.zeros(len(category)), np.zeros(len(category))
    for i in range(len(residual)):
        of_department, of_family = v.department * residual[i], v.family * residual[i]
        of_category, of_need = v.category * residual[i], v.need * fresh[i]
        one, two, three = x.department[i], x.family[i], x.category[i]
        for d in range(len(category)):
            same = department[d] == one
            lean = leaning[d] + (of_department if same else 0.0)
            same &= family[d] == two
            lean += of_family if same else 0.0
            same &= category[d] == three
            leaning[d] = lean + (of_category if same else 0.0)
            needs[d] += of_need if same else 0.0
    return leaning, needs


@njit(cache=True)
def _firsts(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """Of each row the first with the same three codes; and the table that finds it by these."""
    size = 4
    while size < 2 * len(a):
        size *= 2
    table, first = np.full(size, -1, np.int64), np.empty(len(a), np.int64)
    for row in range(len(a)):
        at = _place_of(table, a[row], b[row], c[row], a, b, c)
        if table[at] < 0:
            table[at] = row
        first[row] = table[at]
    return table, first


@njit(inline="always")
def _first_of(table: Array, one: int, two: int, three: int, a: Array, b: Array, c: Array) -> int:
    """The first row with these codes, by a table of `_firsts`; -1 for none."""
    first: int = table[_place_of(table, one, two, three, a, b, c)]
    return first


@njit(inline="always")
def _place_of(table: Array, one: int, two: int, three: int, a: Array, b: Array, c: Array) -> int:
    """Where in a table the first row with these codes stands, or would stand."""
    mask = len(table) - 1
    at = ((one * 0x9E3779B1 + two * 0x85EBCA6B + three) >> 7) & mask
    while table[at] >= 0:
        row = table[at]
        if a[row] == one and b[row] == two and c[row] == three:
            break
        at = (at + 1) & mask
    return at
