"""Words of reasons: for each group of features and each retriever, the fact that a person knows."""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from math import log, nan
from typing import NamedTuple

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.query import Request

NO_SIZES = frozenset({"one size", "onesize", "os", "no size", "universal"})
"""What sellers write of things that have no size."""


class Row(NamedTuple):
    """One listing of the slate, with what it was ranked by.

    Attributes:
        values: [features] of the listing.
        place: where a feature stands in these, by name.
    """

    request: Request
    catalogue: Catalogue
    slot: int
    values: Sequence[float]
    place: Mapping[str, int]

    def feature(self, name: str) -> float:
        """NaN for a feature that the view lacks or whose value is missing."""
        place = self.place.get(name)
        return nan if place is None else self.values[place]

    def text(self, field: str) -> str:
        """The listing's brand, size and the like; empty where the seller names none."""
        return self.catalogue.text(field, self.slot)

    @property
    def kind(self) -> str:
        """The last step of the category path, in words."""
        return _last_step(self.text("category"))


@lru_cache(1 << 12)
def _last_step(path: str) -> str:
    return path.rsplit("/", 1)[-1].replace("-", " ")


Words = Callable[[Row], str | None]
"""What is said of a listing; None or nothing where a text that it wants is missing."""


class Holds(IntEnum):
    """When a check holds; never of a value that is missing or that the view lacks."""

    KNOWN = 0
    OVER = 1
    AT_LEAST = 2
    AT_MOST = 3
    WITHIN = 4
    ABOVE = 5


class Check(NamedTuple):
    """A check of one feature of a listing.

    Attributes:
        feature: its name.
        holds: when; ABOVE is greater than what is usual among the candidates, than 0 if that is
            missing; WITHIN is no farther from 0.
        number: which the value is compared with.
    """

    feature: str
    holds: Holds
    number: float = 0.0


class Phrase(NamedTuple):
    """Words, and when they are true.

    Attributes:
        words: what is said.
        checks: one of them must hold; where there is none, the words alone decide.
    """

    words: Words
    checks: tuple[Check, ...] = ()


def _plain(words: str, *checks: Check) -> Phrase:
    return Phrase(lambda _: words, checks)


def _above(*names: str) -> tuple[Check, ...]:
    return tuple(Check(name, Holds.ABOVE) for name in names)


def _over(*names: str) -> tuple[Check, ...]:
    """Greater than 0."""
    return tuple(Check(name, Holds.OVER) for name in names)


def _of_text(field: str, words: str) -> Words:
    """Words after a text of the listing's, where it has one."""

    def tell(row: Row) -> str | None:
        text = row.text(field)
        return text and f"{text}{words}"

    return tell


def _of_kind(words: str) -> Words:
    """Words after what kind of thing it is, where that is said."""

    def tell(row: Row) -> str | None:
        kind = row.kind
        return kind and f"{kind}{words}"

    return tell


def _of_size(words: str) -> Words:
    """Words for what has a size."""

    def tell(row: Row) -> str | None:
        size = row.text("size").lower()
        return words if size and size not in NO_SIZES else None

    return tell


def _matches_text(row: Row) -> str | None:
    asked = row.request.query.text.strip()
    return f"matches «{asked}»" if asked else None


def _near_anchor(row: Row) -> str | None:
    return "similar to this one" if row.request.anchor >= 0 else None


def _new(row: Row) -> str | None:
    age = row.request.query.t - int(row.catalogue.column("listed_at")[row.slot])
    if age < DAY_MS:
        return "new today"
    return "new this week" if age < 7 * DAY_MS else None


def _popular(row: Row) -> str:
    kind = row.kind
    return f"popular in {kind}" if kind else "popular now"


def _demand(row: Row) -> str | None:
    kind = " ".join(part for part in (row.text("brand"), row.kind) if part)
    return kind and f"{kind}: much wanted now"


def _condition(row: Row) -> str | None:
    condition = row.text("condition")
    return condition and f"condition: {condition}"


_LIKELY = 0.2
"""A share of what a person did lately that says what they like."""
_CHEAP, _DEAR, _NEAR = log(0.8), log(1.25), log(1.35)
"""Of a price over another, as features have it."""

IN_WORDS: Mapping[str, Sequence[Phrase]] = {
    "words": (Phrase(_matches_text),),
    "anchor": (Phrase(_near_anchor),),
    "again": (_plain("you came back to it", Check("revisit", Holds.KNOWN)),),
    "need": (
        Phrase(_of_kind(", which you searched for"), (Check("searched_ago", Holds.AT_LEAST),)),
        Phrase(
            _of_kind(", which you look at lately"),
            _over("category_interest", "person_last_category", "person_category_acted_4w"),
        ),
        _plain(
            "like what you look at lately",
            Check("family_recent", Holds.AT_LEAST, _LIKELY),
            *_above("department_recent", "effect_category"),
        ),
        _plain("in the department you stated", *_over("department_stated")),
    ),
    "brand": (
        Phrase(
            _of_text("brand", ", a brand you like"),
            (*_over("brand_stated"), Check("person_brand_share_4w", Holds.AT_LEAST, _LIKELY)),
        ),
        Phrase(_of_text("brand", ", which you searched for"), _over("searched_brand")),
        Phrase(
            _of_text("brand", ", a brand you open"), _over("person_brand_acted_4w", "effect_brand")
        ),
    ),
    "size": (
        Phrase(
            _of_size("in your size"),
            (Check("size_gap", Holds.AT_MOST, 0.5), *_over("size_stated", "size_recent")),
        ),
        Phrase(_of_size("close to your size"), (Check("size_gap", Holds.AT_MOST, 1.0),)),
    ),
    "taste": (
        _plain(
            "close to what you looked at lately",
            *_above("taste_match", "person_match", "style_match"),
        ),
        Phrase(_of_text("colour", ", a colour you look at"), _over("person_last_colour")),
        _plain("to your taste", *_above("effect", "effect_style")),
    ),
    "price": (
        Phrase(
            lambda row: f"price down by {row.feature('price_drop'):.0%}",
            (Check("price_drop", Holds.AT_LEAST, 0.1),),
        ),
        _plain("priced below others like it", Check("price_to_kind_12w", Holds.AT_MOST, _CHEAP)),
        _plain(
            "in your price range",
            Check("price_to_person_4w", Holds.WITHIN, _NEAR),
            Check("price_to_level", Holds.WITHIN, _NEAR),
        ),
        _plain(
            "priced below others of its kind", Check("price_to_category", Holds.AT_MOST, _CHEAP)
        ),
        _plain("of the dearer ones of its kind", Check("price_to_category", Holds.AT_LEAST, _DEAR)),
    ),
    "freshness": (Phrase(_new),),
    "popularity": (
        Phrase(
            _popular,
            _above(
                "listing_click_rate_24h", "listing_click_rate_7d", "listing_wanted_24h",
                "listing_wanted_7d", "listing_want_rate_7d", "listing_top_click_rate_7d",
                "listing_heat_7d",
            ),
        ),
    ),
    "demand": (
        Phrase(
            _demand,
            _above(
                "brand_category_sell_through_4w", "brand_size_category_sell_through_4w",
                "brand_category_click_rate_4w", "brand_click_rate_4w",
                "brand_size_category_click_rate_4w", "category_click_rate_7d",
                "category_surface_click_rate_4w",
            ),
        ),
    ),
    "seller": (
        _plain("from a seller you know", *_over("person_seller_acted_4w")),
        _plain("from a seller who sells often", *_above("seller_sold_4w")),
        _plain("from a seller whose things are looked at", *_above("seller_click_rate_4w")),
    ),
    "piece": (
        Phrase(lambda row: f"shown in {row.feature('photos'):.0f} photos", _above("photos")),
        Phrase(_condition),
    ),
    "moment": (),
    "retrieval": (),
}  # fmt: skip
"""By the name of a group of features: the first phrase that is true is told; maybe none is."""

BY_SOURCE: Sequence[tuple[str, str, Words]] = (
    ("search", "words", _matches_text),
    ("similar", "anchor", _near_anchor),
    ("saved_search", "", lambda _: "new in a search you saved"),
    ("followed", "seller", lambda _: "from a seller you follow or bought from"),
)
"""What a retriever knows by itself: its name, the group that could speak against it, the words."""

FOUND_ONLY: Mapping[str, Words] = {
    "taste": lambda _: "close to what you looked at lately",
    "recent": _new,
    "popular": _popular,
}
"""What else retrievers say where there is no ranking."""
