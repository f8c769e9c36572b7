"""Reasons: why a listing is on the slate, in plain words, from what really brought it there.

A reason of the ranking names a group of features that is surely among the strongest for the listing
(`ranking.contributions.telling`), and the fact in it that a person knows: the brand, the size. What
a retriever alone knows (the seller is followed) is told unless the ranking speaks against it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch, Reason
from heirloom.slates.words import BY_SOURCE, FOUND_ONLY, IN_WORDS, Row, Words

MAX_REASONS = 3


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
    place = _places(batch.columns)
    values = _by_row(batch)
    if ranked is None:
        rows = (Row(request, catalogue, slot, values(i), (), place) for i, slot in _numbered(slots))
        return [_found(row, named)[:MAX_REASONS] for row, named in zip(rows, sources, strict=False)]
    usual = np.where(np.isnan(ranked.usual), 0, ranked.usual).tolist()
    result: list[tuple[Reason, ...]] = []
    about = dict(zip(ranked.groups, ranked.about, strict=True))
    columns = {group: i for i, group in enumerate(ranked.groups)}
    named = _named(ranked)
    for i, slot in _numbered(slots):
        known = _knowing(sources[i])
        if not known and not named[i]:
            result.append(())
            continue
        row = Row(request, catalogue, slot, values(i), usual, place)
        if known:
            known = tuple(
                each
                for each in known
                if each[1] not in columns or ranked.contributions[i, columns[each[1]]] >= 0
            )
        result.append(_ranked(row, known, named[i], about)[:MAX_REASONS])
    return result


@lru_cache(8)
def _places(columns: tuple[str, ...]) -> dict[str, int]:
    """Where each feature stands, by its name in the view."""
    return {column.split(".", 1)[-1]: i for i, column in enumerate(columns)}


def _by_row(batch: FeatureBatch) -> Callable[[int], Sequence[float]]:
    """The values of each row. They are read where they lie: few of them are asked for."""
    flat, width = np.ascontiguousarray(batch.values).reshape(-1).data, len(batch.columns)
    return lambda row: flat[row * width : (row + 1) * width]


def _numbered(slots: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    return enumerate(slots.tolist())


def _found(row: Row, sources: Sequence[str]) -> tuple[Reason, ...]:
    """What the retrievers say where nothing was ranked."""
    told = {**{source: words for source, _, words in BY_SOURCE}, **FOUND_ONLY}
    found = ((source, told[source](row)) for source in told if source in sources)
    return tuple(Reason(words, source=source) for source, words in found if words)


@lru_cache(1_024)
def _knowing(sources: tuple[str, ...]) -> tuple[tuple[str, str, Words], ...]:
    """Of the retrievers that proposed a listing, those that know something by themselves."""
    return tuple(each for each in BY_SOURCE if each[0] in sources)


def _named(ranked: Ranked) -> list[list[str]]:
    """[shown] the groups that may be named of each, the most telling first."""
    rows, of = np.nonzero(ranked.telling)
    order = np.argsort(-ranked.contributions[rows, of], kind="stable")  # of equals the first group
    named: list[list[str]] = [[] for _ in range(len(ranked.telling))]
    for row, group in zip(rows[order].tolist(), of[order].tolist(), strict=True):
        named[row].append(ranked.groups[group])
    return named


def _ranked(
    row: Row,
    known: Sequence[tuple[str, str, Words]],
    named: Sequence[str],
    about: Mapping[str, str],
) -> tuple[Reason, ...]:
    """What retrievers alone know and the ranking does not speak against; then the strongest."""
    said, spoken = [], set()
    for source, group, words in known:
        if told := words(row):
            said.append(Reason(told, group if group in named else "", source))
            spoken.add(group)
    for group in named:
        tell = IN_WORDS.get(group)
        told = tell(row) if tell else f"for {about[group]}"
        if told and group not in spoken:
            said.append(Reason(told, group))
    return tuple(said)
