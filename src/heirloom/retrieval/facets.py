"""Facets: how many listings each choice of a filter would leave, exactly, in one pass.

A listing counts for a facet where it passes every filter but that facet's own. So one that passes
all counts for all facets, and one that fails a single filter counts for that facet alone.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Filters

FIELDS = {"brands": "brand", "sizes": "size", "colours": "colour", "conditions": "condition"}
"""Filter fields of several choices, and the catalogue's column of each."""
BANDS = (0, 25, 50, 100, 250, 500, 1_000)
"""Lower bounds of price bands, in major units."""
_ANY_PRICE = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet, and how many listings have it."""

    value: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Band:
    """A price band from low to high in major units, both included; `high` is None at the top."""

    low: int
    high: int | None
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Facets:
    """All facets of a search.

    Attributes:
        total: listings that pass all filters.
        categories: the steps right below the chosen category (paths).
        fields: choices by parameter name (brand, size, colour, condition), most frequent first.
        bands: price bands that hold anything.
    """

    total: int
    categories: tuple[Choice, ...]
    fields: dict[str, tuple[Choice, ...]]
    bands: tuple[Band, ...]


def facets(
    catalogue: Catalogue,
    filters: Filters,
    *,
    within: NDArray[np.bool_] | None = None,
    minor_per_major: int = 100,
    most: int = 14,
) -> Facets:
    """Counts per choice. A facet's own filter is lifted while its choices are counted.

    Args:
        catalogue: the listings.
        filters: what is asked now.
        within: [slots] bool, listings that count at all (those a text found); None for all.
        minor_per_major: cents of a euro.
        most: at most so many choices of a facet, those chosen always among them.
    """
    lifted: dict[str, Any] = {**dict.fromkeys(FIELDS, ()), "price_min_minor": None}
    base = catalogue.mask(msgspec.structs.replace(filters, **lifted, price_max_minor=None))
    if within is not None:
        base = base & within
    columns = tuple(catalogue.column(column) for column in FIELDS.values())
    passes = tuple(
        _passes(catalogue, column, getattr(filters, name)) for name, column in FIELDS.items()
    )
    counts = tuple(np.zeros(len(each), np.int64) for each in passes)
    categories = np.zeros(catalogue.vocabulary.size("category"), np.int64)
    edges = np.array(BANDS, np.int64) * minor_per_major
    in_band, at_edge = np.zeros(len(edges), np.int64), np.zeros(len(edges), np.int64)
    low, high = filters.price_min_minor, filters.price_max_minor
    total = _count(
        base,
        columns,
        passes,
        counts,
        (catalogue.column("category"), categories),
        catalogue.column("price_minor"),
        (0 if low is None else low, _ANY_PRICE if high is None else high),
        (edges, in_band, at_edge),
    )
    return Facets(
        total=int(total),
        categories=_below(catalogue, filters.category, categories),
        fields={
            column: _choices(catalogue, column, getattr(filters, name), count, most)
            for (name, column), count in zip(FIELDS.items(), counts, strict=True)
        },
        bands=_bands(filters, in_band, at_edge, minor_per_major),
    )


@njit(cache=True)
def _count(base, columns, passes, counts, category, prices, asked, bands):  # type: ignore[no-untyped-def]
    """Add the listings of `base` to the counts; gives how many pass everything.

    The four facets stand written out: a tuple indexed in the loop is copied at every turn.
    """
    column_0, column_1, column_2, column_3 = columns
    passes_0, passes_1, passes_2, passes_3 = passes
    counts_0, counts_1, counts_2, counts_3 = counts
    edges, in_band, at_edge = bands
    own, categories = category
    total = 0
    for slot in range(len(base)):
        if not base[slot]:
            continue
        # Codes are never negative; unsigned, an index is not looked at for counting from the end.
        a, b = np.uint32(column_0[slot]), np.uint32(column_1[slot])
        c, d = np.uint32(column_2[slot]), np.uint32(column_3[slot])
        price = prices[slot]
        failed_0, failed_1 = not passes_0[a], not passes_1[b]
        failed_2, failed_3 = not passes_2[c], not passes_3[d]
        failed_price = price < asked[0] or price > asked[1]
        failures = failed_0 + failed_1 + failed_2 + failed_3 + failed_price
        if failures == 0:
            total += 1
            categories[np.uint32(own[slot])] += 1
            counts_0[a] += 1
            counts_1[b] += 1
            counts_2[c] += 1
            counts_3[d] += 1
        elif failures == 1:
            counts_0[a] += failed_0
            counts_1[b] += failed_1
            counts_2[c] += failed_2
            counts_3[d] += failed_3
        if failures == failed_price:
            band = 0
            for edge in range(1, len(edges)):
                band += price >= edges[edge]
            in_band[band] += 1
            at_edge[band] += price == edges[band]
    return total


def _passes(catalogue: Catalogue, column: str, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
    """Of each vocabulary code whether a filter lets it through; where it asks for nothing, all."""
    passes = np.full(catalogue.vocabulary.size(column), not wanted)
    passes[[catalogue.vocabulary.find(column, text) for text in wanted]] = True
    if wanted:
        passes[0] = False
    return passes


def _choices(
    catalogue: Catalogue,
    column: str,
    chosen: tuple[str, ...],
    counts: NDArray[np.int64],
    most: int,
) -> tuple[Choice, ...]:
    texts = catalogue.vocabulary.texts(column)
    counts[0] = 0
    # By count, then by code, so that equal counts do not dance.
    frequent = np.argsort(-counts, kind="stable")[:most]
    named = {texts[code]: int(counts[code]) for code in frequent.tolist() if counts[code]}
    find = catalogue.vocabulary.find
    for text in chosen:
        named.setdefault(text, int(counts[find(column, text)]))
    ordered = sorted(named.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Choice(text, count, text in chosen) for text, count in ordered)


def _below(catalogue: Catalogue, chosen: str, counts: NDArray[np.int64]) -> tuple[Choice, ...]:
    texts = catalogue.vocabulary.texts("category")
    chosen = chosen.strip("/")
    depth = len(chosen.split("/")) if chosen else 0
    below: dict[str, int] = {}
    for code in np.flatnonzero(counts).tolist():
        steps = texts[code].split("/")
        inside = texts[code] == chosen or texts[code].startswith(chosen + "/") or not chosen
        if texts[code] and inside and len(steps) > depth:
            path = "/".join(steps[: depth + 1])
            below[path] = below.get(path, 0) + int(counts[code])
    ordered = sorted(below.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Choice(path, count, chosen=False) for path, count in ordered)


def _bands(
    filters: Filters, in_band: NDArray[np.int64], at_edge: NDArray[np.int64], minor: int
) -> tuple[Band, ...]:
    bands = []
    for i, (low, high) in enumerate(zip(BANDS, (*BANDS[1:], None), strict=True)):
        # Both ends of a band are included, as filters include them.
        count = int(in_band[i]) + (0 if high is None else int(at_edge[i + 1]))
        asked = (filters.price_min_minor or 0, filters.price_max_minor)
        band = (low * minor, None if high is None else high * minor)
        chosen = asked == band and asked != (0, None)
        if count or chosen:
            bands.append(Band(low, high, count, chosen))
    return tuple(bands)
