"""Words of reasons: for each group of features and each retriever, the fact that a person knows."""

from collections.abc import Callable, Mapping, Sequence
from math import isnan, log, nan
from typing import NamedTuple

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.query import Request

NO_SIZES = frozenset({"one size", "onesize", "os", "no size", "universal"})
"""What sellers write of things that have no size."""


class Row(NamedTuple):
    """One listing of the slate, with what it was ranked by and what is usual beside it.

    Attributes:
        values: [features] of the listing.
        usual: [features] among the candidates, 0 for NaN; empty where nothing was ranked.
        place: where a feature stands in these, by name.
    """

    request: Request
    catalogue: Catalogue
    slot: int
    values: Sequence[float]
    usual: Sequence[float]
    place: Mapping[str, int]

    def feature(self, name: str) -> float:
        """NaN for a feature that the view lacks or whose value is missing."""
        place = self.place.get(name)
        return nan if place is None else self.values[place]

    def above(self, *names: str) -> bool:
        """Whether any of these features is known and greater than usual; than 0 if that is NaN."""
        for name in names:
            place = self.place.get(name)
            if place is None:
                continue
            if self.values[place] > (self.usual[place] if self.usual else 0.0):
                return True
        return False

    def text(self, field: str) -> str:
        """The listing's brand, size and the like; empty where the seller names none."""
        return self.catalogue.text(field, self.slot)

    @property
    def kind(self) -> str:
        """The last step of the category path, in words."""
        return self.text("category").rsplit("/", 1)[-1].replace("-", " ")


Words = Callable[[Row], str | None]


def _matches_text(row: Row) -> str | None:
    asked = row.request.query.text.strip()
    return f"matches «{asked}»" if asked else None


def _near_anchor(row: Row) -> str | None:
    return "similar to this one" if row.request.anchor >= 0 else None


def _again(row: Row) -> str | None:
    return None if isnan(row.feature("revisit")) else "you came back to it"


def _need(row: Row) -> str | None:
    kind = row.kind
    if kind and row.feature("searched_ago") >= 0:
        return f"{kind}, which you searched for"
    interest = ("category_interest", "person_last_category", "person_category_acted_4w")
    if kind and any(row.feature(name) > 0 for name in interest):
        return f"{kind}, which you look at lately"
    if row.feature("family_recent") >= 0.2 or row.above("department_recent", "effect_category"):
        return "like what you look at lately"
    return "in the department you stated" if row.feature("department_stated") == 1 else None


def _brand(row: Row) -> str | None:
    brand = row.text("brand")
    if not brand:
        return None
    if row.feature("brand_stated") == 1 or row.feature("person_brand_share_4w") >= 0.2:
        return f"{brand}, a brand you like"
    if row.feature("searched_brand") > 0:
        return f"{brand}, which you searched for"
    if row.feature("person_brand_acted_4w") > 0 or row.feature("effect_brand") > 0:
        return f"{brand}, a brand you open"
    return None


def _size(row: Row) -> str | None:
    size = row.text("size").lower()
    if not size or size in NO_SIZES:
        return None
    near = row.feature("size_gap") <= 0.5 or row.feature("size_stated") == 1
    if near or row.feature("size_recent") > 0:
        return "in your size"
    return "close to your size" if row.feature("size_gap") <= 1 else None


def _taste(row: Row) -> str | None:
    if row.above("taste_match", "person_match", "style_match"):
        return "close to what you looked at lately"
    colour = row.text("colour")
    if colour and row.feature("person_last_colour") > 0:
        return f"{colour}, a colour you look at"
    return "to your taste" if row.above("effect", "effect_style") else None


def _price(row: Row) -> str | None:
    if (fallen := row.feature("price_drop")) >= 0.1:
        return f"price down by {fallen:.0%}"
    if row.feature("price_to_kind_12w") <= log(0.8):  # log of price over the usual one
        return "priced below others like it"
    gaps = (row.feature("price_to_person_4w"), row.feature("price_to_level"))
    if any(abs(gap) <= log(1.35) for gap in gaps):
        return "in your price range"
    if row.feature("price_to_category") <= log(0.8):
        return "priced below others of its kind"
    if row.feature("price_to_category") >= log(1.25):
        return "of the dearer ones of its kind"
    return None


def _new(row: Row) -> str | None:
    age = row.request.query.t - int(row.catalogue.column("listed_at")[row.slot])
    if age < DAY_MS:
        return "new today"
    return "new this week" if age < 7 * DAY_MS else None


def _popular(row: Row) -> str | None:
    windows = [f"listing_{what}_{w}" for what in ("click_rate", "wanted") for w in ("24h", "7d")]
    rates = ("listing_want_rate_7d", "listing_top_click_rate_7d", "listing_heat_7d")
    if not row.above(*windows, *rates):
        return None
    return f"popular in {row.kind}" if row.kind else "popular now"


def _demand(row: Row) -> str | None:
    kind = " ".join(part for part in (row.text("brand"), row.kind) if part)
    wanted = ("brand_category_sell_through_4w", "brand_size_category_sell_through_4w",
              "brand_category_click_rate_4w", "brand_click_rate_4w",
              "brand_size_category_click_rate_4w", "category_click_rate_7d",
              "category_surface_click_rate_4w")  # fmt: skip
    return f"{kind}: much wanted now" if kind and row.above(*wanted) else None


def _seller(row: Row) -> str | None:
    if row.feature("person_seller_acted_4w") > 0:
        return "from a seller you know"
    if row.above("seller_sold_4w"):
        return "from a seller who sells often"
    return "from a seller whose things are looked at" if row.above("seller_click_rate_4w") else None


def _piece(row: Row) -> str | None:
    if row.above("photos"):
        return f"shown in {row.feature('photos'):.0f} photos"
    condition = row.text("condition")
    return f"condition: {condition}" if condition else None


IN_WORDS: Mapping[str, Words] = {
    "words": _matches_text,
    "anchor": _near_anchor,
    "again": _again,
    "need": _need,
    "brand": _brand,
    "size": _size,
    "taste": _taste,
    "price": _price,
    "freshness": _new,
    "popularity": _popular,
    "demand": _demand,
    "seller": _seller,
    "piece": _piece,
    "moment": lambda _: None,
    "retrieval": lambda _: None,
}
"""By the name of a group of features; None where no fact of the group can be told."""

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
    "popular": lambda row: f"popular in {row.kind}" if row.kind else "popular now",
}
"""What else retrievers say where there is no ranking."""
