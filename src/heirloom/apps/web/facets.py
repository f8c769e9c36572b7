"""Facets: how many listings each choice of a filter would leave."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Filters

FIELDS = {"brands": "brand", "sizes": "size", "colours": "colour", "conditions": "condition"}
"""Filter fields of several choices, and the catalogue's column of each."""
BANDS = (0, 25, 50, 100, 250, 500, 1_000)
"""Lower bounds of price bands, in major units."""


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

    def passing(**lifted: object) -> NDArray[np.bool_]:
        mask = catalogue.mask(msgspec.structs.replace(filters, **lifted))
        return mask if within is None else mask & within

    all_filters = passing()
    fields = {
        column: _choices(catalogue, column, getattr(filters, name), passing(**{name: ()}), most)
        for name, column in FIELDS.items()
    }
    free_price = passing(price_min_minor=None, price_max_minor=None)
    return Facets(
        total=int(all_filters.sum()),
        categories=_categories(catalogue, filters.category, all_filters),
        fields=fields,
        bands=_bands(catalogue, filters, free_price, minor_per_major),
    )


def _choices(
    catalogue: Catalogue,
    column: str,
    chosen: tuple[str, ...],
    mask: NDArray[np.bool_],
    most: int,
) -> tuple[Choice, ...]:
    texts = catalogue.vocabulary.texts(column)
    counts = np.bincount(catalogue.column(column)[mask], minlength=len(texts))
    counts[0] = 0
    # By count, then by name, so that equal counts do not dance.
    frequent = np.argsort(-counts, kind="stable")[:most]
    named = {texts[code]: int(counts[code]) for code in frequent.tolist() if counts[code]}
    find = catalogue.vocabulary.find
    for text in chosen:
        named.setdefault(text, int(counts[find(column, text)]))
    ordered = sorted(named.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Choice(text, count, text in chosen) for text, count in ordered)


def _categories(catalogue: Catalogue, chosen: str, mask: NDArray[np.bool_]) -> tuple[Choice, ...]:
    texts = catalogue.vocabulary.texts("category")
    counts = np.bincount(catalogue.column("category")[mask], minlength=len(texts))
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
    catalogue: Catalogue, filters: Filters, mask: NDArray[np.bool_], minor: int
) -> tuple[Band, ...]:
    prices = catalogue.column("price_minor")[mask]
    bands = []
    for low, high in zip(BANDS, (*BANDS[1:], None), strict=True):
        inside = prices >= low * minor
        if high is not None:
            inside &= prices <= high * minor
        count = int(inside.sum())
        asked = (filters.price_min_minor or 0, filters.price_max_minor)
        band = (low * minor, None if high is None else high * minor)
        chosen = asked == band and asked != (0, None)
        if count or chosen:
            bands.append(Band(low, high, count, chosen))
    return tuple(bands)
