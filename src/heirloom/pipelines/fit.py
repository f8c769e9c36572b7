"""Fit: how far a listing's size lies from the size that the person usually takes."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Kind, Scalar, declared_text
from heirloom.core.query import Request
from heirloom.core.sizes import CLOTHING, SHOES, Wear, department_of, size_number, worn
from heirloom.core.vocabulary import Vocabulary

Array = NDArray[Any]
Column = NDArray[np.float32]

STATED_EVIDENCE = 100
"""`size_evidence` of what was stated: more than all actions that are remembered."""
LEAST_LISTINGS = 2
"""Recent listings from which a usual size is told."""
_WORTH = {
    KIND_CODE[kind]: worth
    for kind, worth in (
        (Kind.SAVE, 2), (Kind.MESSAGE, 3), (Kind.OFFER, 4), (Kind.PURCHASE, 4)
    )
}  # fmt: skip
"""What an action says of a size, where a click says 1."""
_UNREAD = np.inf


class SizeTable:
    """Numbers of sizes on scales of the body, each read when it is first asked for.

    It grows with the vocabulary; a code's text never changes, so a number neither does.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.wears: list[Wear | None] = [None]
        self._wear_of = np.zeros(1, np.int32)  # [category codes]
        self._numbers = np.full((1, 1), np.nan)  # [wears, size codes]

    def points(
        self, category: NDArray[np.int32], size: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """What listings of these codes are, as places in `wears`, and their sizes' numbers.

        Both [listings]; place 0 is what has no size of the body, NaN a size that is not read.
        """
        self._catch_up()
        wear, numbers, unread = _points(category, size, self._wear_of, self._numbers)
        if unread:
            self._read(wear, size, np.isinf(numbers))
            wear, numbers, _ = _points(category, size, self._wear_of, self._numbers)
        return wear, numbers

    def _read(
        self, wear: NDArray[np.int32], size: NDArray[np.int32], unread: NDArray[np.bool_]
    ) -> None:
        for at, code in {*zip(wear[unread].tolist(), size[unread].tolist(), strict=True)}:
            said = self.wears[at]
            text = self._vocabulary.text("size", code)
            number = size_number(text, said) if said else None
            self._numbers[at, code] = np.nan if number is None else number

    def _catch_up(self) -> None:
        known, categories = self._wear_of, self._vocabulary.texts("category")
        if len(categories) > len(known):
            new = [worn(text) for text in categories[len(known) :]]
            self.wears = [*dict.fromkeys((*self.wears, *new))]
            places = np.array([self.wears.index(wear) for wear in new], np.int32)
            self._wear_of = np.concatenate([known, places])
        rows, columns = self._numbers.shape
        sizes = self._vocabulary.size("size")
        if len(self.wears) > rows or sizes > columns:
            grown = np.full((len(self.wears), max(sizes, columns, 2 * columns)), _UNREAD)
            grown[:rows, :columns] = self._numbers
            self._numbers = grown


def size_gaps(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    table: SizeTable,
    stated: Mapping[str, Scalar | list[str]],
) -> dict[str, Column]:
    """How far candidates [candidates] lie from the person's usual size, and what that rests on.

    `size_gap`: sizes between the two, in letters of clothing, EU numbers of shoes, years of
    children; NaN where either is not known. Usual is what was stated for such things, the nearest
    of several, else the median of the sizes of recent listings on the scale, weighted by action.
    `size_evidence`: 0 for no gap, else how many recent listings, or STATED_EVIDENCE.

    Of what the person `stated`, by name, `sizes` is read, each name ending in `size`, and
    `department`, whose sizes are meant.
    """
    category, size = catalogue.column("category"), catalogue.column("size")
    usual = _usual(request, table, category[request.recent], size[request.recent])
    texts = _texts(stated)
    if not (texts or usual):
        nothing = np.full(len(slots), np.nan, np.float32)
        return {"size_gap": nothing, "size_evidence": np.zeros(len(slots), np.float32)}
    wear, numbers = table.points(category.take(slots), size.take(slots))
    department = department_of(declared_text(stated.get("department")))
    taken = [
        _taken(table.wears[at], texts, department, usual) if here else ((), 0)
        for at, here in enumerate(np.bincount(wear, minlength=len(table.wears)).tolist())
    ]
    known = np.full((len(taken), max(1, *(len(points) for points, _ in taken))), np.nan)
    for at, (points, _) in enumerate(taken):
        known[at, : len(points)] = points
    behind = np.array([evidence for _, evidence in taken], np.float32)
    gap, rests_on = _nearest(wear, numbers, known, behind)
    return {"size_gap": gap, "size_evidence": rests_on}


def weighted_median(weights: Mapping[float, int]) -> float:
    """The number with half of the weight on either side; between two such, their middle.

    >>> weighted_median({38.0: 1, 40.0: 3, 44.0: 1}), weighted_median({1.0: 2, 2.0: 2})
    (40.0, 1.5)
    """
    half, below = sum(weights.values()) / 2, 0
    numbers = sorted(weights)
    for number, after in zip(numbers, [*numbers[1:], numbers[-1]], strict=True):
        below += weights[number]
        if below >= half:
            return (number + after) / 2 if below == half else number
    return numbers[-1]


def _usual(
    request: Request,
    table: SizeTable,
    category: NDArray[np.int32],
    size: NDArray[np.int32],
) -> dict[str, tuple[tuple[float], int]]:
    """By scale, the median of recent sizes and how many listings it is of."""
    wear, numbers = table.points(category, size)
    weights: dict[str, dict[float, int]] = defaultdict(lambda: defaultdict(int))
    listings: dict[str, set[int]] = defaultdict(set)
    for at, number, slot, kind in zip(
        wear.tolist(),
        numbers.tolist(),
        request.recent.tolist(),
        request.recent_kinds.tolist(),
        strict=True,
    ):
        said = table.wears[at]
        if said is not None and not math.isnan(number):
            weights[said.scale][number] += _WORTH.get(kind, 1)
            listings[said.scale].add(slot)
    return {
        scale: ((weighted_median(weights[scale]),), len(of))
        for scale, of in listings.items()
        if len(of) >= LEAST_LISTINGS
    }


def _texts(stated: Mapping[str, Scalar | list[str]]) -> dict[str, list[str]]:
    """The sizes that a person stated, by scale; by '' those stated without their kind."""
    texts: dict[str, list[str]] = {}
    for name, value in stated.items():
        if name != "sizes" and not name.endswith("size"):
            continue
        of = CLOTHING if name.startswith("clothing") else SHOES if name.startswith("shoe") else ""
        said = value if isinstance(value, list) else [declared_text(value)]
        texts.setdefault(of, []).extend(said)
    return texts


def _taken(
    wear: Wear | None,
    texts: Mapping[str, list[str]],
    department: str,
    usual: Mapping[str, tuple[tuple[float, ...], int]],
) -> tuple[tuple[float, ...], int]:
    """The sizes that the person takes of such things, and what that rests on."""
    if wear is None:
        return (), 0
    if department in ("women", "men") and wear.scale in (CLOTHING, SHOES):
        # Who states a department means its sizes, also where looking at another's.
        wear = wear._replace(department=department)
    # A size stated without its kind may be one of another kind; one stated with it is not.
    for said in (texts.get(wear.scale, ()), texts.get("", ())):
        if points := {p for text in said if (p := size_number(text, wear)) is not None}:
            return tuple(sorted(points)), STATED_EVIDENCE
    return usual.get(wear.scale, ((), 0))


@njit(cache=True)
def _points(
    category: Array, size: Array, wear_of: Array, table: Array
) -> tuple[Array, Array, bool]:
    """As `SizeTable.points`, and whether a number is not read yet."""
    wear, numbers = np.empty(len(category), np.int32), np.empty(len(category))
    unread = False
    for i in range(len(category)):
        wear[i] = wear_of[category[i]]
        numbers[i] = table[wear[i], size[i]]
        unread |= np.isinf(numbers[i])
    return wear, numbers, unread


@njit(cache=True)
def _nearest(wear: Array, numbers: Array, known: Array, behind: Array) -> tuple[Array, Array]:
    """How far each number is from the nearest known of its wear, NaN for none, and behind what.

    Args:
        wear: [listings].
        numbers: [listings].
        known: [wears, most] numbers; NaN where there are fewer.
        behind: [wears] float32.
    """
    gap, rests_on = np.empty(len(wear), np.float32), np.zeros(len(wear), np.float32)
    for i in range(len(wear)):
        nearest = np.nan
        for number in known[wear[i]]:
            far = abs(number - numbers[i])
            if not far >= nearest and not np.isnan(far):
                nearest = far
        gap[i] = nearest
        if not np.isnan(nearest):
            rests_on[i] = behind[wear[i]]
    return gap, rests_on
