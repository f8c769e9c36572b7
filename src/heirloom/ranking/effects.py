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

PARTS = ("style", "category", "need", "brand", "price", "size")
"""Of what an effect is made, in the order of `effects`' columns."""
NEWTON_STEPS, GRADIENT_STEPS = 3, 12
"""Steps to the mode, and of conjugate gradients in each. More change no order worth the time."""
_CODE = 127.0


class Variances(NamedTuple):
    """How much people differ, in squared logits. Learned by the likelihood of the next slate.

    Attributes:
        style: along the listings' vectors, of length one.
        department, family, category: for each, wherever the next is the same.
        need: for a category, forgotten as exp(-age / `need_ms`).
        brand: for each.
        price: along the log of the price over the category's.
        size: for each size of a family.
        person: how much is opened at all.
        slate: how well a slate suited its moment, which is none of the listings' doing.
        need_ms: mean life of a need.
    """

    style: float = 0.35
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
        vectors: [rows, dim] int8, 127 for 1.0.
        department, family, category, brand: codes.
        size: a code; that of no size too is one.
        price: log of the price over what the category costs.
    """

    vectors: Array
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
    codes = things.vectors.astype(np.float32)
    # Products of int8 codes: exact in float32 in any order of summation.
    covariance = variances.style * (codes @ codes.T).astype(np.float64) / _CODE**2
    _add_covariance(covariance, things, np.asarray(t, np.int64), slate, variances)
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
    whole = np.rint(np.asarray(residual) * 2.0**20)
    # Whole numbers below 2^53: exact in any order.
    leaning = whole @ shown.vectors.astype(np.float64)
    style = candidates.vectors.astype(np.float64) @ leaning
    parts = np.zeros((len(candidates.category), len(PARTS)))
    parts[:, 0] = variances.style * style / (_CODE**2 * 2.0**20)
    _add_effects(parts, shown, np.asarray(t, np.int64), residual, candidates, now, variances)
    return parts


@njit(cache=True)
def _add_covariance(covariance: Array, x: Things, t: Array, slate: Array, v: Variances) -> None:
    for i in range(len(t)):
        for j in range(i + 1):
            k = v.person + v.price * x.price[i] * x.price[j]
            if x.department[i] == x.department[j]:
                k += v.department
            if x.family[i] == x.family[j]:
                k += v.family
                if x.size[i] == x.size[j]:
                    k += v.size
            if x.category[i] == x.category[j]:
                k += v.category + v.need * np.exp(-abs(t[i] - t[j]) / v.need_ms)
            if x.brand[i] == x.brand[j]:
                k += v.brand
            if slate[i] == slate[j]:
                k += v.slate
            covariance[i, j] += k
            covariance[j, i] = covariance[i, j]


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
    product = np.zeros(len(x))
    for j in range(len(x)):
        for i in range(len(x)):
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
    """Add all parts but the style. What is alike leans alike, so each is summed once.

    Every sum is over what was shown, in its order.
    """
    fresh = np.empty(len(t))
    price = 0.0
    for i in range(len(t)):
        fresh[i] = residual[i] * np.exp(-max(now - t[i], 0) / v.need_ms)
        price += residual[i] * x.price[i]
    like, of_size, of_brand = _firsts(c.category), _firsts(c.size), _firsts(c.brand)
    for k in range(len(parts)):
        parts[k, 4] = v.price * price * c.price[k]
        same = of_brand[k]
        if same < k:
            parts[k, 3] = parts[same, 3]
        else:
            for i in range(len(t)):
                if x.brand[i] == c.brand[k]:
                    parts[k, 3] += v.brand * residual[i]
        same = like[k]
        if same < k and c.department[same] == c.department[k] and c.family[same] == c.family[k]:
            parts[k, 1], parts[k, 2] = parts[same, 1], parts[same, 2]
            if of_size[k] == of_size[same]:
                parts[k, 5] = parts[same, 5]
                continue
            for i in range(len(t)):
                alike = x.size[i] == c.size[k] and x.family[i] == c.family[k]
                if alike and x.department[i] == c.department[k]:
                    parts[k, 5] += v.size * residual[i]
            continue
        for i in range(len(t)):
            if x.department[i] == c.department[k]:
                parts[k, 1] += v.department * residual[i]
                if x.family[i] == c.family[k]:
                    parts[k, 1] += v.family * residual[i]
                    if x.size[i] == c.size[k]:
                        parts[k, 5] += v.size * residual[i]
                    if x.category[i] == c.category[k]:
                        parts[k, 1] += v.category * residual[i]
                        parts[k, 2] += v.need * fresh[i]


@njit(cache=True)
def _firsts(codes: Array) -> Array:
    """Of each row the first with the same code."""
    size = 4
    while size < 2 * len(codes):
        size *= 2
    table, first = np.full(size, -1, np.int64), np.empty(len(codes), np.int64)
    for row in range(len(codes)):
        at = (codes[row] * 0x9E3779B1 >> 7) & (size - 1)
        while table[at] >= 0 and codes[table[at]] != codes[row]:
            at = (at + 1) & (size - 1)
        if table[at] < 0:
            table[at] = row
        first[row] = table[at]
    return first
