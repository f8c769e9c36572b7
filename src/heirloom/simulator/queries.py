"""QueryColumns: many queries at once; and the doors for policies over arrays and by query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.event import Scalar, Surface
from heirloom.core.query import Filters, Query
from heirloom.simulator.people import People
from heirloom.simulator.stock import Stock
from heirloom.simulator.truth import SEARCH, Asks
from heirloom.simulator.words import search_text

SURFACES = (Surface.HOME.value, Surface.SIMILAR.value, Surface.SEARCH.value)


@dataclass(frozen=True)
class QueryColumns:
    """Queries of one round.

    A policy may read everything here but the `want_…` columns of `asks` and `people.taste`: they
    are the truth. What a search literally says stands in `said_…`.

    Attributes:
        asks: the columns [queries] that the truth reads.
        said_path, said_brand, said_colour: [queries] int32 codes of what the text says in words
            spelt rightly; -1 for none.
        size: [queries] int32 code of a size word in the text; -1 for none.
        slips: [queries, 2] bool, category word and brand misspelt.
        exclude: [queries, excluded] int32 listing numbers of this visit's earlier pages, -1: none.
        session: [queries] int64 session numbers.
        key: [queries] int64, unique in the world.
        k: listings wanted per slate.
    """

    asks: Asks
    said_path: NDArray[np.int32]
    said_brand: NDArray[np.int32]
    said_colour: NDArray[np.int32]
    size: NDArray[np.int32]
    slips: NDArray[np.bool_]
    exclude: NDArray[np.int32]
    session: NDArray[np.int64]
    key: NDArray[np.int64]
    k: int
    stock: Stock
    people: People

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: NDArray[np.intp]) -> "QueryColumns":
        """The queries at these rows, in their order."""
        return replace(
            self,
            asks=self.asks.take(rows),
            said_path=self.said_path[rows],
            said_brand=self.said_brand[rows],
            said_colour=self.said_colour[rows],
            size=self.size[rows],
            slips=self.slips[rows],
            exclude=self.exclude[rows],
            session=self.session[rows],
            key=self.key[rows],
        )

    def text(self, row: int) -> str:
        """The words typed; '' where nothing was."""
        if self.asks.surface[row] != SEARCH:
            return ""
        path, brand = int(self.asks.want_path[row]), int(self.asks.want_brand[row])
        colour, size = int(self.asks.want_colour[row]), int(self.size[row])
        slips = (bool(self.slips[row, 0]), bool(self.slips[row, 1]))
        return search_text(
            self.stock.paths.texts[path] if path >= 0 else "",
            self.stock.brands.texts[brand] if brand >= 0 else "",
            self.stock.colours.texts[colour] if colour >= 0 else "",
            self.stock.sizes.texts[size] if size >= 0 else "",
            slips,
            int(self.key[row]),
        )

    def filters(self, row: int) -> Filters:
        """The filters asked for."""
        path, size = int(self.asks.filter_path[row]), int(self.asks.filter_size[row])
        return Filters(
            category=self.stock.paths.texts[path] if path >= 0 else "",
            sizes=(self.stock.sizes.texts[size],) if size >= 0 else (),
        )

    def attributes(self, row: int) -> dict[str, Scalar | list[str]]:
        """What the person stated at sign-up."""
        return self.people.attributes(int(self.asks.person[row]), self.stock)

    def query(self, row: int) -> Query:
        """One query as the product sees it."""
        anchor = int(self.asks.anchor[row])
        gone = self.exclude[row]
        return Query(
            surface=SURFACES[self.asks.surface[row]],
            t=int(self.asks.t[row]),
            user=self.people.user(int(self.asks.person[row])),
            session=f"v{self.session[row]}",
            text=self.text(row),
            anchor=self.stock.listing_id(anchor) if anchor >= 0 else None,
            filters=self.filters(row),
            attributes=self.attributes(row),
            exclude=tuple(self.stock.listing_id(int(x)) for x in gone[gone >= 0]),
            k=self.k,
        )


class Policy(Protocol):
    """Answers many queries at once."""

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k] of world listing numbers, -1 = empty place at the end."""


def by_query(answer: Callable[[Query], Sequence[str]]) -> Policy:
    """A policy of the product, asked one `core.query.Query` at a time; it returns listing ids."""

    def policy(queries: QueryColumns) -> NDArray[np.int32]:
        slates = np.full((len(queries), queries.k), -1, np.int32)
        for row in range(len(queries)):
            ids = answer(queries.query(row))
            if len(ids) > queries.k:
                raise ShapeError(
                    f"simulator: a policy answered {len(ids)} listings; wanted at most "
                    f"k={queries.k}, as the query says"
                )
            slates[row, : len(ids)] = [queries.stock.number_of(i) for i in ids]
        return slates

    return policy
