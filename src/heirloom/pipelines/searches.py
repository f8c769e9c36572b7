"""Searches: what each person asked for lately, and how far a listing is what they asked for.

Who searches says what is wanted in plain words, and goes on wanting it on every other surface.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.core.query import Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.intent import EXACT
from heirloom.retrieval.top import fitted

Array = NDArray[Any]

REMEMBERED = 24
"""Searches of a person that are remembered."""
NEEDED = 4
"""Of so many, the latest, is asked which category was meant."""
HALF_LIFE_MS = {"category": 4 * DAY_MS, "brand": 90 * DAY_MS}
"""What is needed is bought some day; a brand that is liked stays liked."""
HOUR_MS = 3_600_000
_ASKING = 1 << KIND_CODE[Kind.SEARCH] | 1 << KIND_CODE[Kind.IMPRESSION]
_ASKS = np.array([_ASKING >> code & 1 for code in KIND_CODE.values()], np.bool_)  # by code of kind
_UNIT = 1 << 10


class Meant(Protocol):
    """What queries' words mean; `retrieval.meanings.Meanings`."""

    def categories(self, text: str) -> Iterable[tuple[int, float]]:
        """Codes of categories, and how sure each is."""

    def brands(self, text: str) -> Iterable[int]:
        """Codes of the brands that they name."""


class Searches:
    """The latest searches of each person, folded from the log. One writer; reads only read.

    A search that is asked again, or whose further pages are shown, is one search.
    """

    def __init__(self) -> None:
        self._row = np.zeros(0, np.int32)  # [people], row + 1
        self._done = np.zeros(0, np.int32)  # [rows]
        self._asked = np.zeros((0, REMEMBERED), np.int32)
        self._t = np.zeros((0, REMEMBERED), np.int64)
        self._rows = 0

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log."""
        events = facts.events
        if not facts.kinds & _ASKING:
            return
        asks = (events["query"] > 0) & (events["person"] > 0) & _ASKS[events["kind"]]
        if not asks.any():
            return
        persons, queries, times = (events[name][asks] for name in ("person", "query", "t"))
        self._row = fitted(self._row, int(persons.max()) + 1)
        rows = self._rows + int((self._row[np.unique(persons)] == 0).sum())
        self._done = fitted(self._done, rows)
        self._asked, self._t = fitted(self._asked, rows), fitted(self._t, rows)
        self._rows = _fold(
            self._row, self._done, self._asked, self._t, self._rows, persons, queries, times
        )

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        rows = np.array([self._rows], np.int64)
        return {
            "row": self._row, "done": self._done, "asked": self._asked, "t": self._t, "rows": rows
        }  # fmt: skip

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Searches", arrays, self.arrays())
        self._row, self._done, self._rows = own["row"], own["done"], int(own["rows"][0])
        self._asked, self._t = own["asked"], own["t"]

    def recent(self, person: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The person's latest searches, newest first: codes of the words, times in ms."""
        row = int(self._row[person]) - 1 if 0 < person < len(self._row) else -1
        if row < 0:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        done = int(self._done[row])
        newest_first = np.arange(done - 1, max(done - REMEMBERED, 0) - 1, -1) % REMEMBERED
        return self._asked[row, newest_first], self._t[row, newest_first]


class Wanted(NamedTuple):
    """What a person's searches ask for.

    Attributes:
        category: [category codes] float64, how sure the latest search that means it did, halved
            every `HALF_LIFE_MS`.
        ago: [category codes] hours since the latest that rather means it than another; NaN: none.
        brand: [brand codes] float64, searches that name it, each halved every `HALF_LIFE_MS`.
    """

    category: NDArray[np.float64]
    ago: NDArray[np.float64]
    brand: NDArray[np.float64]


def wanted(
    request: Request, vocabulary: Vocabulary, searches: Searches, meanings: Meant
) -> Wanted | None:
    """What the request's words and the person's remembered searches ask for; None for nothing.

    Args:
        request: who asks, and when; its own words are the newest search.
        vocabulary: of the codes.
        searches: that were remembered.
        meanings: of their words.
    """
    codes, times = searches.recent(request.person)
    texts = [vocabulary.text("query", code) for code in codes.tolist()]
    age = np.maximum(request.query.t - times, 0)
    if request.query.text:
        texts, age = [request.query.text, *texts], np.concatenate([[0], age])
    if not texts:
        return None
    # Whole numbers, divided once: the same on any machine.
    needed, liked = (
        np.rint(np.exp2(-age / HALF_LIFE_MS[field]) * _UNIT).tolist()
        for field in ("category", "brand")
    )
    category, brand = (np.zeros(max(vocabulary.size(field), 1)) for field in ("category", "brand"))
    ago = np.full(len(category), np.nan)
    for i in range(len(texts))[:NEEDED][::-1]:  # the newest comes last
        for code, share in meanings.categories(texts[i]):
            category[code] = max(category[code], round(needed[i] * share))
            if share >= EXACT:
                ago[code] = age[i] / HOUR_MS
    for text, weight in zip(texts, liked, strict=True):
        for code in meanings.brands(text):
            brand[code] += weight
    return Wanted(category / _UNIT, ago, brand / _UNIT)


def brands_asked(wanted: Wanted | None, vocabulary: Vocabulary) -> dict[str, float]:
    """`Wanted.brand` of the brands that were asked for, by name."""
    if wanted is None:
        return {}
    codes = np.flatnonzero(wanted.brand).tolist()
    return {vocabulary.text("brand", code): float(wanted.brand[code]) for code in codes}


def searched_match(
    wanted: Wanted | None, slots: NDArray[np.int32], catalogue: Catalogue
) -> dict[str, NDArray[np.float32]]:
    """How far the person searched for what candidates [candidates] are: `Wanted` of each.

    `searched_category`, `searched_brand`: NaN for who never searched. `searched_ago`: in hours.
    """
    names = ("searched_category", "searched_brand", "searched_ago")
    if wanted is None:
        return dict.fromkeys(names, np.full(len(slots), np.nan, np.float32))
    columns = _of_each(slots, catalogue.column("category"), catalogue.column("brand"), wanted)
    return dict(zip(names, columns, strict=True))


@njit(cache=True)
def _of_each(
    slots: Array, category: Array, brand: Array, wanted: Wanted
) -> tuple[Array, Array, Array]:
    """As `searched_match`, of codes [slots]."""
    of_category, of_brand = np.empty(len(slots), np.float32), np.empty(len(slots), np.float32)
    ago = np.empty(len(slots), np.float32)
    sure, hours, liked = wanted
    for i in range(len(slots)):
        code = category[slots[i]]
        of_category[i], ago[i] = sure[code], hours[code]
        of_brand[i] = liked[brand[slots[i]]]
    return of_category, of_brand, ago


@njit(cache=True)
def _fold(
    row: Array,
    done: Array,
    asked: Array,
    t: Array,
    rows: int,
    persons: Array,
    queries: Array,
    times: Array,
) -> int:
    """Fold searches; gives how many rows are in use now. There is room."""
    for e in range(len(persons)):
        if row[persons[e]] == 0:
            rows += 1
            row[persons[e]] = rows
        r = row[persons[e]] - 1
        latest = (done[r] - 1) % asked.shape[1]
        if done[r] == 0 or asked[r, latest] != queries[e]:
            latest = done[r] % asked.shape[1]
            asked[r, latest] = queries[e]
            done[r] += 1
        t[r, latest] = times[e]
    return rows
