"""Reasons: why a listing is on the slate, in plain words, from what really brought it there.

A reason of the ranking names a group of features that is surely among the strongest for the listing
(`ranking.contributions.telling`), and the fact in it that a person knows: the brand, the size. What
a retriever alone knows (the seller is followed) is told unless the ranking speaks against it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch, Reason
from heirloom.slates.words import BY_SOURCE, FOUND_ONLY, IN_WORDS, Holds, Row, Words

MAX_REASONS = 3
_KNOWN, _OVER, _AT_LEAST = int(Holds.KNOWN), int(Holds.OVER), int(Holds.AT_LEAST)
_AT_MOST, _WITHIN = int(Holds.AT_MOST), int(Holds.WITHIN)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the ranking says of the listings shown.

    Attributes:
        groups: names of the groups of features.
        about: what each is, in words.
        contributions: [shown, groups] float32.
        telling: [shown, groups] bool: which may be named.
        usual: [features] float32, what is usual among the candidates.
    """

    groups: Sequence[str]
    about: Sequence[str]
    contributions: NDArray[np.float32]
    telling: NDArray[np.bool_]
    usual: NDArray[np.float32]


def reasons(
    request: Request,
    slots: NDArray[np.int32],
    sources: Sequence[tuple[str, ...]],
    batch: FeatureBatch,
    catalogue: Catalogue,
    ranked: Ranked | None,
) -> list[tuple[Reason, ...]]:
    """At most three reasons for each listing, the most telling first; maybe none.

    Args:
        request: who asked.
        slots: [shown] in the order shown.
        sources: [shown] names of the retrievers that proposed each.
        batch: [shown, features], what they were ranked by.
        catalogue: for the words of brand, category and the like.
        ranked: what the ranking says; None where retrieval alone made the order.
    """
    slot_of = slots.tolist()
    values, checks = _by_row(batch), _checks(batch.columns)
    place = checks.place
    if ranked is None:
        rows = (Row(request, catalogue, slot, values(i), place) for i, slot in enumerate(slot_of))
        return [_found(row, named)[:MAX_REASONS] for row, named in zip(rows, sources, strict=False)]
    held = _held(batch.values, ranked.usual, *checks.arrays).tolist()
    order = _in_order(ranked.telling, ranked.contributions).tolist()
    result: list[tuple[Reason, ...]] = []
    for i, (slot, ahead) in enumerate(zip(slot_of, order, strict=True)):
        known = _knowing(sources[i])
        if not known and (not ahead or ahead[0] < 0):
            result.append(())
            continue
        row = Row(request, catalogue, slot, values(i), place)
        said = _known(row, known, ahead, ranked, i) if known else []
        spoken = [_GROUP_OF[reason.source] for reason in said]
        for at in ahead:
            if at < 0 or len(said) == MAX_REASONS:
                break
            group = ranked.groups[at]
            if group not in spoken and (words := _told(row, group, held[i], ranked.about[at])):
                said.append(Reason(words, group))
        result.append(tuple(said[:MAX_REASONS]))
    return result


class _Checks(NamedTuple):
    """The checks of all phrases, for the columns of a view.

    Attributes:
        place: where each feature stands, by its name in the view.
        arrays: of each phrase where its checks begin, [phrases + 1]; of each check its column,
            -1 for one that the view lacks, when it holds, and its number.
    """

    place: dict[str, int]
    arrays: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


_GROUP_OF = {source: group for source, group, _ in BY_SOURCE}
_PHRASES = [phrase for phrases in IN_WORDS.values() for phrase in phrases]
_NUMBERS = iter(range(len(_PHRASES)))
_TOLD_OF = {
    group: [(1 << next(_NUMBERS), phrase.words) for phrase in phrases]
    for group, phrases in IN_WORDS.items()
}
"""By group, each phrase's bit in what `_held` gives, and its words."""


@lru_cache(8)
def _checks(columns: tuple[str, ...]) -> _Checks:
    place = {column.split(".", 1)[-1]: i for i, column in enumerate(columns)}
    every = [check for phrase in _PHRASES for check in phrase.checks]
    starts = np.cumsum([0, *(len(phrase.checks) for phrase in _PHRASES)], dtype=np.int64)
    return _Checks(
        place,
        (
            starts,
            np.array([place.get(check.feature, -1) for check in every], np.int64),
            np.array([check.holds for check in every], np.int64),
            np.array([check.number for check in every], np.float64),
        ),
    )


@njit(cache=True)
def _held(
    values: NDArray[Any],
    usual: NDArray[Any],
    starts: NDArray[Any],
    columns: NDArray[Any],
    holds: NDArray[Any],
    numbers: NDArray[Any],
) -> NDArray[Any]:
    """[shown] int64: a bit for each phrase of which some check holds, or that has none."""
    held = np.zeros(len(values), np.int64)
    for i in range(len(values)):
        for phrase in range(len(starts) - 1):
            true = starts[phrase] == starts[phrase + 1]
            for at in range(starts[phrase], starts[phrase + 1]):
                if not true and columns[at] >= 0:
                    value, common = values[i, columns[at]], usual[columns[at]]
                    true = _holds(value, common, holds[at], numbers[at])
            held[i] |= np.int64(true) << phrase
    return held


@njit(cache=True)
def _holds(value: float, usual: float, holds: int, number: float) -> bool:
    """Whether a check holds of a value; of NaN none does."""
    if holds == _KNOWN:
        return not np.isnan(value)
    if holds == _OVER:
        return value > number
    if holds == _AT_LEAST:
        return value >= number
    if holds == _AT_MOST:
        return value <= number
    if holds == _WITHIN:
        return abs(value) <= number
    return value > (0.0 if np.isnan(usual) else usual)


@njit(cache=True)
def _in_order(telling: NDArray[Any], contributions: NDArray[Any]) -> NDArray[Any]:
    """A row for each listing shown, int64: the groups that may be named, -1 behind them.

    The most telling comes first, of equals the first group.
    """
    shown, groups = telling.shape
    most = 0
    for i in range(shown):
        most = max(most, telling[i].sum())
    order = np.full((shown, most), -1, np.int64)
    for i in range(shown):
        kept = 0
        for group in range(groups):
            if not telling[i, group]:
                continue
            place = kept
            while place > 0 and contributions[i, group] > contributions[i, order[i, place - 1]]:
                order[i, place] = order[i, place - 1]
                place -= 1
            order[i, place] = group
            kept += 1
    return order


def _by_row(batch: FeatureBatch) -> Callable[[int], Sequence[float]]:
    """The values of each row. They are read where they lie: few of them are asked for."""
    flat, width = np.ascontiguousarray(batch.values).reshape(-1).data, len(batch.columns)
    return lambda row: flat[row * width : (row + 1) * width]


def _found(row: Row, sources: Sequence[str]) -> tuple[Reason, ...]:
    """What the retrievers say where nothing was ranked."""
    told = {**{source: words for source, _, words in BY_SOURCE}, **FOUND_ONLY}
    found = ((source, told[source](row)) for source in told if source in sources)
    return tuple(Reason(words, source=source) for source, words in found if words)


@lru_cache(1_024)
def _knowing(sources: tuple[str, ...]) -> tuple[tuple[str, str, Words], ...]:
    """Of the retrievers that proposed a listing, those that know something by themselves."""
    return tuple(each for each in BY_SOURCE if each[0] in sources)


def _known(
    row: Row, known: Sequence[tuple[str, str, Words]], ahead: Sequence[int], ranked: Ranked, i: int
) -> list[Reason]:
    """What retrievers alone know of listing `i` and the ranking does not speak against."""
    said, named = [], [ranked.groups[at] for at in ahead if at >= 0]
    for source, group, words in known:
        against = group in ranked.groups and ranked.contributions[i, ranked.groups.index(group)] < 0
        if not against and (told := words(row)):
            said.append(Reason(told, group if group in named else "", source))
    return said


def _told(row: Row, group: str, held: int, about: str) -> str | None:
    """What is said of a group; one without words of its own is told by its name."""
    if (phrases := _TOLD_OF.get(group)) is None:
        return f"for {about}"
    for bit, words in phrases:
        if held & bit and (told := words(row)):
            return told
    return None
