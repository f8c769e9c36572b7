"""Searches: what each person asked for lately, and how far a listing is what they asked for.

Who searches says what is wanted in plain words, and goes on wanting it on every other surface.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.retrieval.lexicon import Lexicon
from heirloom.retrieval.top import fitted

Array = NDArray[Any]

REMEMBERED = 8
"""Searches of a person that are remembered."""
HALF_LIFE_MS = 7 * DAY_MS
HOUR_MS = 3_600_000
_ASKS = [KIND_CODE[Kind.SEARCH], KIND_CODE[Kind.IMPRESSION]]
_ASKING = sum(1 << kind for kind in _ASKS)
_UNIT = 1 << 10


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
        asks = (events["query"] > 0) & (events["person"] > 0) & np.isin(events["kind"], _ASKS)
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

    def recent(self, person: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The person's latest searches, newest first: codes of the words, times in ms."""
        row = int(self._row[person]) - 1 if 0 < person < len(self._row) else -1
        if row < 0:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        done = int(self._done[row])
        newest_first = np.arange(done - 1, max(done - REMEMBERED, 0) - 1, -1) % REMEMBERED
        return self._asked[row, newest_first], self._t[row, newest_first]


def searched_match(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    lexicon: Lexicon,
    searches: Searches,
) -> dict[str, NDArray[np.float32]]:
    """How often and when the person searched for what candidates [candidates] are.

    `searched_category`, `searched_brand`: searches whose words name the listing's, each halved
    every seven days; NaN for who never searched. Weights are whole numbers, divided once: the
    same on any machine. `searched_ago`: hours since the latest that names the category; NaN for
    none.
    """
    names = ("searched_category", "searched_brand", "searched_ago")
    asked, times = searches.recent(request.person)
    if not len(asked):
        return dict.fromkeys(names, np.full(len(slots), np.nan, np.float32))
    age = np.maximum(request.query.t - times, 0)
    weights = np.rint(np.exp2(-age / HALF_LIFE_MS) * _UNIT).astype(np.int64).tolist()
    texts = [catalogue.vocabulary.text("query", int(code)) for code in asked]
    ago = np.full(max(catalogue.vocabulary.size("category"), 1), np.nan)
    for text, hours in zip(texts[::-1], (age[::-1] / HOUR_MS).tolist(), strict=True):
        ago[lexicon.codes("category", text)] = hours  # the newest comes last
    columns = {"searched_ago": ago[catalogue.column("category")[slots]].astype(np.float32)}
    for field in ("category", "brand"):
        total = np.zeros(max(catalogue.vocabulary.size(field), 1), np.int64)
        for text, weight in zip(texts, weights, strict=True):
            total[lexicon.codes(field, text)] += weight
        codes = catalogue.column(field)[slots]
        columns[f"searched_{field}"] = (total[codes] / _UNIT).astype(np.float32)
    return columns


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
