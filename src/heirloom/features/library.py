"""The views in use: one for a marketplace with impressions, one for logs without them."""

from collections.abc import Sequence

from heirloom.core.errors import ConfigError
from heirloom.core.event import Kind
from heirloom.core.facts import MAX_DECLARED
from heirloom.features import groups
from heirloom.features.algebra import (
    Age,
    Counter,
    Decay,
    Definition,
    Given,
    LastK,
    Lift,
    Price,
    PriceGap,
    Ratio,
    SinceFirst,
    SinceLast,
    Static,
    Sum,
    Trend,
    Where,
)
from heirloom.features.view import FeatureView
from heirloom.features.windows import DAY_MS

SEEN = (Kind.IMPRESSION.value,)
CLICKED = (Kind.CLICK.value,)
WANTED = (Kind.SAVE.value, Kind.MESSAGE.value, Kind.OFFER.value)
SOLD = (Kind.SOLD.value,)
ACTED = (*CLICKED, *WANTED, Kind.PURCHASE.value)

EFFECTS = ("style", "category", "need", "brand", "price", "size")
"""Parts of what a person's own clicks and passes say."""
TEXT_MATCH, TASTE_MATCH, ANCHOR_MATCH = "text_match", "taste_match", "anchor_match"
PERSON_MATCH = "person_match"
"""Names of the similarities that the pipeline hands over."""

TOP = Where(positions=(0, 3))
"""The first four positions: what is sure to have been looked at."""


def marketplace_view() -> FeatureView:
    """What a ranker knows of a listing on home, similar and search, given impressions.

    Keys that every impression would make (person x brand, query x listing) count actions alone,
    in the coarse month `4w`: what a person looks at now stands in the last few actions instead.
    """
    return FeatureView(
        "marketplace",
        (*_listing(), *_supply(), *_person(), *_taste(), *_asked(), *_price(), *_context()),
        owner="ranking",
        groups=groups.MARKETPLACE,
        revisions={
            **dict.fromkeys(("asked_brand", "asked_category", "asked_colour", "asked_size"), 2),
            **dict.fromkeys(("searched_category", "searched_brand", "searched_ago"), 2),
            **dict.fromkeys(("effect", *(f"effect_{part}" for part in EFFECTS)), 4),
        },
    )  # fmt: skip


def _listing() -> tuple[Definition, ...]:
    windows = ("24h", "7d")
    key = ("listing",)
    seen = Counter("listing_seen", key, SEEN, windows, "How often the listing was shown.")
    clicked = Counter("listing_clicked", key, CLICKED, windows, "How often it was opened.")
    wanted = Counter(
        "listing_wanted", key, WANTED, windows, "Saves, messages and offers it received."
    )
    category_seen = Counter("category_seen", ("category",), SEEN, windows)
    category_clicked = Counter("category_clicked", ("category",), CLICKED, windows)
    category_wanted = Counter("category_wanted", ("category",), WANTED, windows)
    category_rate = Ratio(
        "category_click_rate", category_clicked, category_seen, windows, (1.0, 20.0),
        about="Clicks per impression in the category: how this kind of thing does now.",
    )  # fmt: skip
    category_want_rate = Ratio(
        "category_want_rate", category_wanted, category_seen, windows, (0.2, 20.0)
    )
    return (
        seen,
        clicked,
        wanted,
        category_rate,
        Ratio(
            "listing_click_rate", clicked, seen, windows, (1.0, 20.0), category_rate,
            "Clicks per impression of the listing, shrunk to its category.",
        ),
        Ratio(
            "listing_want_rate", wanted, seen, ("7d",), (0.2, 20.0), category_want_rate,
            "Saves, messages and offers per impression, shrunk to its category.",
        ),
        Ratio(
            "listing_top_click_rate",
            Counter("listing_top_clicked", key, CLICKED, ("7d",), where=TOP),
            Counter("listing_top_seen", key, SEEN, ("7d",), where=TOP),
            ("7d",), (1.0, 20.0), category_rate,
            "Clicks per impression in the first four positions, where all look: no bias of place.",
        ),
        Decay(
            "listing_heat", clicked, ("7d",), DAY_MS, "Clicks, halved with each day: what is hot."
        ),
        Age("listing_age", "New stock is most of the stock; old stock was passed over."),
    )  # fmt: skip


def _supply() -> tuple[Definition, ...]:
    windows = ("4w",)
    seller, brand, kind = ("seller",), ("brand",), ("brand", "category")
    narrow, place = ("brand", "size", "category"), ("category", "surface")
    seen, clicked, sold, listed = (
        {
            key: Counter("_".join((*key, word)), key, kinds, windows)
            for key in (seller, brand, kind, narrow, place)
        }
        for word, kinds in (
            ("seen", SEEN), ("clicked", CLICKED), ("sold", SOLD), ("listed", (Kind.LISTED.value,))
        )
    )  # fmt: skip
    brand_rate = Ratio(
        "brand_click_rate", clicked[brand], seen[brand], windows, (1.0, 20.0),
        about="Clicks per impression of the brand.",
    )  # fmt: skip
    kind_rate = Ratio(
        "brand_category_click_rate", clicked[kind], seen[kind], windows, (1.0, 20.0), brand_rate,
        "Clicks per impression of the brand in this category, shrunk to the brand.",
    )  # fmt: skip
    kind_sales = Ratio(
        "brand_category_sell_through", sold[kind], listed[kind], windows, (1.0, 4.0),
        about="Sales per new listing of the brand in this category: demand over supply.",
    )  # fmt: skip
    return (
        Counter("seller_sold", seller, SOLD, windows, "Sales of the seller: trust, turnover."),
        Sum(
            "seller_turnover", seller, SOLD, ("12w",), "What the seller's sales brought: a trader?"
        ),
        Ratio(
            "seller_click_rate", clicked[seller], seen[seller], windows, (1.0, 20.0),
            about="Clicks per impression of the seller's listings: photos, titles, prices.",
        ),
        brand_rate,
        kind_rate,
        Ratio(
            "brand_size_category_click_rate", clicked[narrow], seen[narrow], windows, (1.0, 20.0),
            kind_rate, "Clicks per impression of the brand in this size, shrunk to any size.",
        ),
        kind_sales,
        Ratio(
            "brand_size_category_sell_through", sold[narrow], listed[narrow], windows, (1.0, 4.0),
            kind_sales, "Sales per new listing of the brand in this size, shrunk to any size.",
        ),
        Ratio(
            "category_surface_click_rate", clicked[place], seen[place], windows, (1.0, 20.0),
            about="Clicks per impression of the category on this surface.",
        ),
    )  # fmt: skip


def _person() -> tuple[Definition, ...]:
    person = ("person",)
    return (
        Counter(
            "person_acted", person, ACTED, ("24h", "7d", "4w"), "How active the person is."
        ),
        Ratio("person_act_rate", *_PERSON, ("4w",), (1.0, 20.0),
            about="Actions per impression of the person: picky or generous.",
        ),
        SinceLast("person_idle", person, ACTED, "A new visit, or in the middle of one."),
        SinceLast(
            "revisit", ("person", "listing"), ACTED,
            "When the person last acted on this very listing: come back for it, or done with it.",
            within="30d",
        ),
    )  # fmt: skip


_PERSON = (
    Counter("person_acted", ("person",), ACTED, ("4w",)),
    Counter("person_seen", ("person",), SEEN, ("4w",)),
)


def _taste() -> tuple[Definition, ...]:
    definitions: list[Definition] = [
        LastK(
            f"person_last_{part}", ("person",), ACTED, part, 8,
            f"Of the person's last eight actions, those on this {part}: what this visit is about.",
            within="30d",
        )
        for part in ("brand", "category", "size", "colour")
    ]  # fmt: skip
    for part, why in (
        ("brand", "brand: loyalty"),
        ("category", "category: what the person buys"),
        ("seller", "seller: a wardrobe to come back to"),
    ):
        mine = Counter(
            f"person_{part}_acted", ("person", part), ACTED, ("4w",),
            f"The person's actions on this {why}.",
        )  # fmt: skip
        definitions += [
            mine,
            Ratio(
                f"person_{part}_share", mine, _PERSON[0], ("4w",),
                about=f"Share of the person's actions that went to this {part}.",
            ),
        ]  # fmt: skip
    return tuple(definitions)


def _asked() -> tuple[Definition, ...]:
    windows = ("4w",)
    clicked = Counter("query_clicked", ("query",), CLICKED, windows)
    definitions: list[Definition] = [
        Counter(
            "query_listing_clicked", ("query", "listing"), CLICKED, windows,
            "How often this listing was opened by those who asked for the same.",
        )
    ]  # fmt: skip
    for part, why in (
        ("listing", "this listing"),
        ("category", "this category: what the words mean"),
        ("brand", "this brand: what the words mean"),
    ):
        definitions.append(
            Ratio(
                f"query_{part}_share",
                Counter(f"query_{part}_clicked", ("query", part), CLICKED, windows),
                clicked, windows, (0.0, 5.0),
                about=f"Share of the query's clicks that went to {why}.",
            )
        )  # fmt: skip
    return tuple(definitions)


def _price() -> tuple[Definition, ...]:
    return (
        Price("price", "Log price."),
        PriceGap(
            "price_to_person", ("person",), ACTED, ("4w",),
            "Log price against what the person usually looks at: budget.",
        ),
        PriceGap(
            "price_to_kind", ("brand", "category"), (Kind.LISTED.value,), ("12w",),
            "Log price against new listings of the brand in this category: a bargain or not.",
        ),
    )  # fmt: skip


def _context() -> tuple[Definition, ...]:
    return (
        Given(TEXT_MATCH, "Similarity of the query's text and the listing.", "cosine"),
        Given(TASTE_MATCH, "Similarity of the person's recent listings and this one.", "cosine"),
        Given(
            PERSON_MATCH, "Similarity of the listing and what the person encoder foretells.",
            "cosine",
        ),
        Given(ANCHOR_MATCH, "Similarity of the anchor and the listing.", "cosine"),
        *(
            Given(f"asked_{field}", f"1 if the {field} is one that the text names, else 0.", "0, 1")
            for field in ("brand", "category", "colour", "size")
        ),
        Given("asked_missed", "How many of these the text names and it lacks.", "count"),
        Given("text_category", "Share of its category among what matches the text best.", "share"),
        Given("photos", "How many photos the seller took: effort, and more to see.", "count"),
        Given("price_drop", "How far the price fell since it was listed.", "share"),
        Given(
            "size_stated", "1 in a size that the person stated, else 0; NaN where none was.", "0, 1"
        ),
        Given(
            "brand_stated", "1 for a brand that the person stated, else 0; NaN: none stated.",
            "0, 1",
        ),
        Given(
            "style_match", "How far it is described as the person's recent listings are.", "cosine"
        ),
        Given(
            "department_stated", "1 in the department that the person stated, else 0.", "0, 1"
        ),
        Given(
            "department_recent", "Share of the person's recent actions in this department.", "share"
        ),
        Given(
            "family_recent", "Share of them in the first two steps of this category path.", "share"
        ),
        Given("size_recent", "Share of them in that family and this size.", "share"),
        Given(
            "category_interest",
            "Worth of recent actions in this very category, halved every two days: a need.",
            "clicks",
        ),
        Given(
            "searched_category",
            "How sure the latest search that means this category did, halved every four days; the "
            "request's own words are one.",
            "share",
        ),
        Given(
            "searched_brand", "The person's searches that name the brand, halved every 90 days.",
            "count",
        ),
        Given(
            "searched_ago", "Since the latest search that means the category: still wanted?",
            "hours",
        ),
        Given("price_to_category", "Log price against the category's: dear or cheap.",
            "difference of logs",
        ),
        Given(
            "price_to_level",
            "That, less the same of what the person acted on lately: budget, whatever it is.",
            "difference of logs",
        ),
        Given(
            "size_gap", "How far its size is from what the person states or usually takes.",
            "sizes",
        ),
        Given(
            "size_evidence", "Recent listings behind the size gap; 100 for a stated size.", "count"
        ),
        *(
            Given(
                f"effect_{part}",
                f"How far the person leans to it by its {part}: what they opened and passed over.",
                "logits",
            )
            for part in EFFECTS
        ),
        Given(
            "effect_said", "How far what the person said and searched for speaks for it.", "logits"
        ),
        Given("appeal", "How much more often its like is opened, by anybody.", "logits"),
        Given("effect", "The sum of these and of the effects.", "logits"),
        Given(
            "anchor_category", "Steps of the category path shared with the anchor, over its own.",
            "share",
        ),
        Given("anchor_style", "How far it is described as the anchor is.", "cosine"),
        Given("anchor_brand", "1 for the anchor's brand, else 0.", "0, 1"),
        Given("anchor_price", "Log of the price over the anchor's.", "difference of logs"),
        Static("condition", "condition", "Code of the condition."),
        Static(
            "surface", "surface", "1 home, 2 similar, 3 search: the same counts weigh differently."
        ),
    )  # fmt: skip


def rental_view(
    declared: Sequence[str],
    *,
    kinds: Sequence[str] = (Kind.PURCHASE.value,),
    codes: bool = True,
) -> FeatureView:
    """What a ranker knows where things are taken again and again and no impressions are logged.

    Args:
        declared: names of the system's declared attributes, in its order (occasion, size, …).
        kinds: the kinds of event that count as demand.
        codes: with columns that are codes. They have no order: trees can use them, a network that
            multiplies cannot. Without, the view is named `rental_dense`.

    Raises:
        ConfigError: if there are more declared attributes than an event can carry.
    """
    if len(declared) > MAX_DECLARED:
        raise ConfigError(
            "rental_view", [f"{len(declared)} declared attributes; at most {MAX_DECLARED}"]
        )
    taken = tuple(str(kind) for kind in kinds)
    features = (*_demand(taken), *_fit(declared, taken), *_wardrobe(taken))
    if codes:
        told = groups.rental(declared, codes=True)
        return FeatureView("rental", features, owner="ranking", groups=told)
    dense = tuple(each for each in features if not isinstance(each, Static))
    told = groups.rental(declared, codes=False)
    return FeatureView("rental_dense", dense, owner="ranking", groups=told)


def _demand(kinds: tuple[str, ...]) -> tuple[Definition, ...]:
    windows = ("7d", "14d", "30d", "90d", "365d", "ever")
    listing = Counter("listing_taken", ("listing",), kinds, windows, "Demand for the listing.")
    category = Counter("category_taken", ("category",), kinds, ("30d", "180d"))
    everything = Counter("all_taken", ("all",), kinds, ("30d", "180d"))
    return (
        listing,
        Trend("listing_trend_7d", listing, "7d", "30d", "Rising or fading this week."),
        Trend("listing_trend_30d", listing, "30d", "90d", "Rising or fading this month."),
        Trend("listing_trend_90d", listing, "90d", "365d", "Rising or fading this season."),
        Ratio(
            "category_share", category, everything, ("30d", "180d"),
            about="Share of all demand that goes to the category.",
        ),
        SinceLast("listing_idle", ("listing",), kinds, "Forgotten, out of stock, or in demand."),
        SinceFirst("listing_known", ("listing",), kinds, "Age since it was first taken."),
        Age("listing_age", "Age since it was listed."),
    )  # fmt: skip


def _fit(declared: Sequence[str], kinds: tuple[str, ...]) -> tuple[Definition, ...]:
    definitions: list[Definition] = []
    for i, name in enumerate(declared):
        windows = ("365d", "ever")  # a size or an occasion is much the same from year to year
        value = Counter(f"category_{i}", ("category", f"declared.{i}"), kinds, windows)
        stated = Counter(f"category_stated_{i}", ("category", f"stated.{i}"), kinds, windows)
        definitions += [
            Lift(
                f"lift_{i}", i, kinds, windows,
                about=f"Who states this {name} takes this listing more often than others do.",
            ),
            Ratio(
                f"category_fit_{i}", value, stated, ("365d",), (1.0, 20.0),
                about=f"Share of the category's demand that stated this {name}.",
            ),
            Static(f"stated_{i}", f"declared.{i}", f"Code of the {name} stated."),
        ]  # fmt: skip
    return tuple(definitions)


def _wardrobe(kinds: tuple[str, ...]) -> tuple[Definition, ...]:
    person = Counter("person_taken", ("person",), kinds, ("ever",), "Length of the history.")
    category = Counter("person_category_taken", ("person", "category"), kinds, ("ever",))
    return (
        person,
        Ratio(
            "person_category_share", category, person, ("ever",),
            about="Share of the person's history in this category.",
        ),
        Counter(
            "person_listing_taken", ("person", "listing"), kinds, ("ever",),
            "Taken before by this person.",
        ),
        Static("category", "category", "Code of the category."),
    )  # fmt: skip
