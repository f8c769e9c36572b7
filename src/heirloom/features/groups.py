"""Groups of features: what a person would name as one reason."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Definitions that say the same kind of thing of a listing.

    Attributes:
        name: lower case letters, digits, _; reasons are found by it.
        about: in words for the person who is shown the listing.
        definitions: their names.
    """

    name: str
    about: str
    definitions: tuple[str, ...]


def problems_of(groups: Sequence[Group], defined: Collection[str]) -> Iterator[str]:
    """Whatever keeps groups from holding each of the defined names exactly once.

    >>> list(problems_of([Group("price", "its price", ("price", "drop"))], ["price"]))
    ["group 'price': no definition is named 'drop'; correct it or take it out"]
    """
    for name, count in Counter(group.name for group in groups).items():
        if count > 1:
            yield f"two groups of one name: {name!r}; rename one of them"
    members = [(group.name, name) for group in groups for name in group.definitions]
    for group, name in members:
        if name not in defined:
            yield f"group {group!r}: no definition is named {name!r}; correct it or take it out"
    held = Counter(name for _, name in members)
    for name, count in held.items():
        if count > 1:
            yield f"groups: {name!r} stands in {count}; leave it in one of them"
    if missing := [name for name in defined if name not in held]:
        yield f"groups: {', '.join(map(repr, missing))} stand in none; put each in one"


MARKETPLACE = (
    Group(
        "words", "the words you searched for",
        ("text_match", "text_category", "asked_missed", "asked_brand", "asked_category",
         "asked_colour", "asked_size", "query_listing_clicked", "query_listing_share",
         "query_category_share", "query_brand_share"),
    ),
    Group(
        "anchor", "likeness to this piece",
        ("anchor_match", "anchor_category", "anchor_style", "anchor_brand", "anchor_price"),
    ),
    Group("again", "what you did with it", ("revisit",)),
    Group(
        "need", "what you look for now",
        ("person_last_category", "person_category_acted", "person_category_share",
         "department_stated", "department_recent", "family_recent", "category_interest",
         "searched_category", "searched_ago", "effect_category", "effect_need",
         "effect_said"),
    ),
    Group(
        "brand", "your brands",
        ("person_last_brand", "person_brand_acted", "person_brand_share", "brand_stated",
         "searched_brand", "effect_brand"),
    ),
    Group(
        "size", "your sizes",
        ("person_last_size", "size_stated", "size_recent", "size_gap", "size_evidence",
         "effect_size"),
    ),
    Group(
        "taste", "your taste",
        ("person_last_colour", "taste_match", "person_match", "style_match", "effect_style",
         "effect"),
    ),
    Group(
        "price", "its price",
        ("price", "price_to_person", "price_to_kind", "price_to_category", "price_to_level",
         "price_drop", "effect_price"),
    ),
    Group("freshness", "how new it is", ("listing_age",)),
    Group(
        "popularity", "what others did with it",
        ("listing_seen", "listing_clicked", "listing_wanted", "listing_click_rate",
         "listing_want_rate", "listing_top_click_rate", "listing_heat"),
    ),
    Group(
        "demand", "how its kind is wanted",
        ("category_click_rate", "brand_click_rate", "brand_category_click_rate",
         "brand_category_sell_through", "brand_size_category_click_rate",
         "brand_size_category_sell_through", "category_surface_click_rate", "appeal"),
    ),
    Group(
        "seller", "its seller",
        ("seller_sold", "seller_turnover", "seller_click_rate", "person_seller_acted",
         "person_seller_share"),
    ),
    Group("piece", "its condition and photos", ("condition", "photos")),
    Group(
        "moment", "where and how you browse",
        ("surface", "person_acted", "person_act_rate", "person_idle"),
    ),
)  # fmt: skip
"""Of `library.marketplace_view`."""


def rental(declared: Sequence[str], *, codes: bool) -> tuple[Group, ...]:
    """Groups of `library.rental_view`: each declared attribute is one."""
    stated = (
        Group(
            f"declared_{i}", f"the {name} you stated",
            (f"lift_{i}", f"category_fit_{i}", *([f"stated_{i}"] if codes else [])),
        )
        for i, name in enumerate(declared)
    )  # fmt: skip
    return (
        *stated,
        Group(
            "popularity", "how often it is taken",
            ("listing_taken", "listing_trend_7d", "listing_trend_30d", "listing_trend_90d",
             "listing_idle", "listing_known"),
        ),
        Group("demand", "how its kind is wanted", ("category_share",)),
        Group("freshness", "how new it is", ("listing_age",)),
        Group("again", "what you did with it", ("person_listing_taken",)),
        Group(
            "need", "what you took before",
            ("person_taken", "person_category_share", *(["category"] if codes else [])),
        ),
    )  # fmt: skip
