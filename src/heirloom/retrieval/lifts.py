"""Lifts: how much more one person, or those who declare the same, go for a kind than all do.

P(value | who) / P(value), each share shrunk to the one above it, as Popular says. All are loops
over columns of codes; sums are decayed (`decayed.py`).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.retrieval.decayed import read_at

Lifts = tuple[NDArray[np.float64], NDArray[np.float64]]
"""By category [codes] and by size [codes]."""


class Declared(NamedTuple):
    """What a request declares: a field, its value's code, and how much it weighs.

    Attributes:
        by_category: [category codes] P(value | category).
        share: P(value); 0 for one never seen.
    """

    field: int
    code: int
    weight: float
    by_category: NDArray[np.float64]
    share: float


@njit(cache=True)
def declared_shares(
    size: int, of_value: NDArray[Any], of_any: NDArray[Any], constants: tuple[float, float, float]
) -> NDArray[Any]:
    """[size] P(value | category), by decayed sums.

    Args:
        size: how many codes of categories there are.
        of_value: sums as they are kept, of those who declared the value.
        of_any: of those who declared any.
        constants: the decay's scale, the prior in events, and P(value).
    """
    scale, prior, share = constants
    shares = np.empty(size)
    for row in range(size):
        held = read_at(of_value, row, scale) + prior * share
        shares[row] = held / (read_at(of_any, row, scale) + prior)
    return shares


@njit(cache=True)
def declared_lift(
    rows: NDArray[Any],
    categories: NDArray[Any],
    of_value: NDArray[Any],
    of_any: NDArray[Any],
    by_category: NDArray[Any],
    constants: tuple[float, float, float],
) -> NDArray[Any]:
    """[rows] (n + prior · P(value | category)) / (N + prior) / P(value), by decayed sums."""
    scale, prior, share = constants
    lift = np.empty(len(rows))
    for i in range(len(rows)):
        row = rows[i]
        held = read_at(of_value, row, scale) + prior * by_category[categories[row]]
        lift[i] = held / (read_at(of_any, row, scale) + prior) / share
    return lift


@njit(cache=True)
def own_weights(
    slots: NDArray[Any],
    weights: NDArray[Any],
    columns: tuple[NDArray[Any], NDArray[Any]],
    department: NDArray[Any],
    codes: tuple[int, int],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A person's events by category, by department and by size: sums of their weights.

    Args:
        slots: [events] what they were about.
        weights: [events] float64.
        columns: category and size of each slot.
        department: of each category; 0 past its end.
        codes: how many of categories and of sizes there are.
    """
    departments = 0
    for c in range(min(len(department), codes[0])):
        departments = max(departments, department[c])
    by_category, by_size = np.zeros(codes[0]), np.zeros(codes[1])
    by_department = np.zeros(departments + 1)
    for i in range(len(slots)):
        category, size = columns[0][slots[i]], columns[1][slots[i]]
        by_category[category] += weights[i]
        by_department[department[category] if category < len(department) else 0] += weights[i]
        if size > 0:
            by_size[size] += weights[i]
    return by_category, by_department, by_size


@njit(cache=True, error_model="numpy")
def lifts_of(
    own: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    sums: tuple[float, float, float],
    usual: tuple[NDArray[Any], NDArray[Any]],
    department: NDArray[Any],
    prior: float,
) -> Lifts:
    """(n + prior · P · lift above) / (N + prior) / P, for each category and each size [codes].

    Args:
        own: as `own_weights` gives them.
        sums: of each of these.
        usual: P of each category and of each size.
        department: of each category; 0 past its end.
        prior: in events.
    """
    categories, sizes = usual
    by_category, by_size = np.empty(len(categories)), np.empty(len(sizes))
    above = np.zeros(len(own[1]))
    for c in range(len(categories)):
        above[department[c] if c < len(department) else 0] += categories[c]
    for d in range(len(above)):
        above[d] = (own[1][d] + prior * above[d]) / (sums[1] + prior) / above[d]
    for c in range(len(categories)):
        expected = prior * categories[c] * above[department[c] if c < len(department) else 0]
        by_category[c] = (own[0][c] + expected) / (sums[0] + prior) / categories[c]
    for s in range(len(sizes)):
        by_size[s] = (own[2][s] + prior * sizes[s]) / (sums[2] + prior) / sizes[s]
    by_size[0] = 1.0
    return by_category, by_size


@njit(cache=True)
def lifted(
    value: NDArray[Any],
    rows: NDArray[Any],
    categories: NDArray[Any],
    sizes: NDArray[Any],
    by_category: NDArray[Any],
    by_size: NDArray[Any],
) -> NDArray[Any]:
    """[rows] each value times the lifts of its category and size."""
    product = np.empty(len(value))
    for i in range(len(value)):
        row = rows[i]
        product[i] = value[i] * (by_category[categories[row]] * by_size[sizes[row]])
    return product
