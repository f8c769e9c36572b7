"""Reasons: why a listing is on the slate, in plain words, from what really brought it there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.query import Request
from heirloom.core.slate import Candidates, FeatureBatch

MAX_REASONS = 3
NO_SIZES = frozenset({"one size", "onesize", "os", "no size", "universal"})
"""What sellers write of things that have no size."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One listing of the slate, with what is known of how it came there."""

    request: Request
    catalogue: Catalogue
    slot: int
    sources: tuple[str, ...]
    features: dict[str, float]

    def feature(self, name: str) -> float:
        """NaN for a feature that the view lacks or whose value is missing."""
        return self.features.get(name, np.nan)

    def text(self, field: str) -> str:
        code = int(self.catalogue.column(field)[self.slot])
        return self.catalogue.vocabulary.text(field, code)


Rule = Callable[[_Row], str | None]


def reasons(
    request: Request, chosen: Candidates, batch: FeatureBatch, catalogue: Catalogue
) -> list[tuple[str, ...]]:
    """At most three reasons for each chosen listing, the most telling first.

    Each rests on a source that proposed the listing or a feature value it was ranked by; where
    neither says anything, there is no reason.

    Args:
        request: who asked.
        chosen: [shown] candidates in the order shown.
        batch: [shown, features], what they were ranked by.
        catalogue: for the words of brand, category and the like.
    """
    names = [column.split(".", 1)[-1] for column in batch.columns]
    result = []
    for i, slot in enumerate(chosen.slots.tolist()):
        features = dict(zip(names, batch.values[i].tolist(), strict=True))
        row = _Row(request, catalogue, slot, chosen.sources_of(i), features)
        found = [words for rule in RULES if (words := rule(row))]
        result.append(tuple(found[:MAX_REASONS]))
    return result


def _matches_text(row: _Row) -> str | None:
    return f"matches «{row.request.query.text.strip()}»" if "search" in row.sources else None


def _near_anchor(row: _Row) -> str | None:
    return "similar to this one" if "similar" in row.sources else None


def _followed(row: _Row) -> str | None:
    return "from a seller you follow or bought from" if "followed" in row.sources else None


def _saved_search(row: _Row) -> str | None:
    return "new in a search you saved" if "saved_search" in row.sources else None


def _taste(row: _Row) -> str | None:
    return "close to what you looked at lately" if "taste" in row.sources else None


def _brand(row: _Row) -> str | None:
    brand = row.text("brand")
    if brand and row.feature("person_brand_share_4w") >= 0.2:
        return f"{brand}, a brand you like"
    return None


def _size(row: _Row) -> str | None:
    size = row.text("size").lower()
    if size and size not in NO_SIZES and row.feature("size_gap") <= 0.5:
        return "in your size"
    return None


def _price(row: _Row) -> str | None:
    gap = row.feature("price_to_kind_12w")  # log of price over the usual one
    return "priced below others like it" if gap <= np.log(0.8) else None


def _new(row: _Row) -> str | None:
    if "recent" not in row.sources:
        return None
    age = row.request.query.t - int(row.catalogue.column("listed_at")[row.slot])
    if age < DAY_MS:
        return "new today"
    return "new this week" if age < 7 * DAY_MS else None


def _popular(row: _Row) -> str | None:
    if "popular" not in row.sources:
        return None
    category = row.text("category").rsplit("/", 1)[-1]
    return f"popular in {category}" if category else "popular now"


RULES: Sequence[Rule] = (
    _matches_text,
    _near_anchor,
    _saved_search,
    _followed,
    _taste,
    _brand,
    _size,
    _price,
    _new,
    _popular,
)
"""In order of how much they tell."""
