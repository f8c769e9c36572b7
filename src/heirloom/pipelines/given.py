"""Given: columns of a view that rest on content and words, made alike in serving and replay.

The state of counts (`heirloom.features`) knows codes alone. What needs a category's path, the
words of a size, or a vector is computed here, from the catalogue and the content index as of the
same log offset. Shares are ratios of small integers, divided once: the same on any machine.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.query import Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.preferences import Preference
from heirloom.ranking.effects import PARTS
from heirloom.retrieval.content import KIND_WEIGHT
from heirloom.retrieval.lexicon import Lexicon

Column = NDArray[np.float32]

ASKED = ("brand", "category", "colour", "size")
"""Fields of which a column says whether a listing has what the text names."""

INTEREST_HALF_LIFE_MS = 2 * DAY_MS
"""What somebody wants now is seldom what they wanted last week."""
_UNIT = 1 << 10
_NOWHERE = np.zeros(0, np.bool_)

_CONTENT = "the content index: what is written of the listings"
_ACTIONS = "the person's recent actions and the catalogue's categories"
_ANCHOR = "the anchor's row of the catalogue"
_STATED = "what the person stated: preferences, declared attributes"
_SIZES = "the sizes the person stated or acted on, as numbers, and the listing's"
_ASKED = "the words of the query, by the lexicon"
_SEARCHES = "the words of the person's latest searches, by the lexicon"
_PRICES = "prices of the listings the person acted on, each beside those of its category"
_EFFECTS = "what the person was shown lately and opened of it, and what those listings are like"
ORIGINS: dict[str, str] = {
    **dict.fromkeys(("text_match", "taste_match", "person_match", "anchor_match"), _CONTENT),
    **dict.fromkeys(("style_match", "anchor_style"), _CONTENT),
    **dict.fromkeys((f"asked_{field}" for field in ASKED), _ASKED),
    "asked_missed": _ASKED,
    "text_category": _CONTENT,
    **dict.fromkeys(("photos", "price_drop"), "the listing's row of the catalogue"),
    **dict.fromkeys(("size_stated", "brand_stated", "department_stated"), _STATED),
    **dict.fromkeys(("department_recent", "family_recent", "size_recent"), _ACTIONS),
    "category_interest": _ACTIONS,
    **dict.fromkeys(("searched_category", "searched_brand", "searched_ago"), _SEARCHES),
    **dict.fromkeys(("price_to_category", "price_to_level"), _PRICES),
    **dict.fromkeys(("size_gap", "size_evidence"), _SIZES),
    **dict.fromkeys(("effect", *(f"effect_{part}" for part in PARTS)), _EFFECTS),
    "effect_style": "how what the person opened of what was shown is described; brands asked",
    "effect_said": "what the person stated, and the words of their latest searches",
    "appeal": "how often listings of its fields were opened where they were shown",
    **dict.fromkeys(("anchor_category", "anchor_brand", "anchor_price"), _ANCHOR),
}
"""Where each given column comes from, for people who ask."""


def stock_columns(slots: NDArray[np.int32], catalogue: Catalogue) -> dict[str, Column]:
    """What the catalogue alone knows: `photos`, how many; `price_drop`, share of the first price.

    Both [candidates]; a price that rose is a negative drop; NaN for a first price of nothing.
    """
    photos, drop = _stock(
        slots,
        catalogue.column("photos"),
        catalogue.column("price_minor"),
        catalogue.column("first_price_minor"),
    )
    return {"photos": photos, "price_drop": drop}


def declared_texts(
    request: Request, vocabulary: Vocabulary, declared: tuple[str, ...]
) -> dict[str, str]:
    """The declared attributes of a request by name, those that are known."""
    return {
        name: vocabulary.text(f"declared.{name}", int(code))
        for name, code in zip(declared, request.declared.tolist(), strict=False)
        if code
    }


def stated_match(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    declared: tuple[str, ...],
    preference: Preference,
) -> dict[str, Column]:
    """Whether candidates [candidates] are as the person said: 1 yes, 0 no, NaN nothing said.

    `size_stated`: the listing's size is among the preferred sizes or the declared attributes
    named `…size`; `brand_stated`: its brand is a preferred one; `department_stated`: its
    category lies below the declared attribute `department`.
    """
    vocabulary = catalogue.vocabulary
    stated = declared_texts(request, vocabulary, declared)
    sizes = set(preference.sizes)
    for name, text in stated.items():
        if name.endswith("size"):
            forms = (text, text.upper(), text.lower())
            sizes.update(code for form in forms if (code := vocabulary.find("size", form)))
    path = stated.get("department")
    names = ("size_stated", "brand_stated", "department_stated")
    if not (sizes or preference.brands or path):
        return dict.fromkeys(names, _missing(slots))
    columns = _stated(
        slots,
        tuple(catalogue.column(field) for field in ("size", "brand", "category")),
        np.fromiter(sizes, np.int32),
        np.fromiter(preference.brands, np.int32),
        catalogue.under(path) if path else _NOWHERE,
    )
    return dict(zip(names, columns, strict=True))


def text_asks(
    request: Request, slots: NDArray[np.int32], catalogue: Catalogue, lexicon: Lexicon
) -> dict[str, Column]:
    """Whether candidates have what the query's text names: 1 yes, 0 no, NaN it names none.

    `asked_brand`, `asked_category`, `asked_colour`, `asked_size`. `asked_missed` counts those that
    it lacks; NaN where none is named.
    """
    text = request.query.text
    if not text:
        names = (*(f"asked_{field}" for field in ASKED), "asked_missed")
        return dict.fromkeys(names, _missing(slots))
    codes = {field: lexicon.codes(field, text).tolist() for field in ASKED}
    has = {
        f"asked_{field}": _among(catalogue.column(field)[slots], wanted)
        for field, wanted in codes.items()
    }
    named = [column for column in has.values() if len(column) and not np.isnan(column[0])]
    missed = sum((1 - column for column in named), np.zeros(len(slots), np.float32))
    return {**has, "asked_missed": missed if named else _missing(slots)}


def recent_match(
    request: Request, slots: NDArray[np.int32], catalogue: Catalogue
) -> dict[str, Column]:
    """Share of the person's recent actions that went to the like of each candidate; NaN: none.

    `department_recent` and `family_recent` compare the first one and two steps of the category
    path; `size_recent` counts the actions of the same family in the same size. `category_interest`
    is no share: the worth (INTEREST) of those in the very category, halved every two days.
    """
    names = ("department_recent", "family_recent", "size_recent", "category_interest")
    if not len(request.recent):
        return dict.fromkeys(names, _missing(slots))
    columns = _recent(
        slots,
        request.recent,
        _worth(request),
        catalogue.column("category"),
        catalogue.column("size"),
        catalogue.stem(1),
        catalogue.stem(2),
    )
    return dict(zip(names, columns, strict=True))


def anchor_match(
    request: Request, slots: NDArray[np.int32], catalogue: Catalogue
) -> dict[str, Column]:
    """How candidates stand to the anchor; NaN without one.

    `anchor_category`: the steps of the category path they share, over the anchor's;
    `anchor_brand`: 1 for the same brand, else 0; `anchor_price`: log of price over the anchor's.
    """
    names = ("anchor_category", "anchor_brand", "anchor_price")
    anchor = request.anchor
    if not 0 <= anchor < len(catalogue):
        return dict.fromkeys(names, _missing(slots))
    category, price = catalogue.column("category"), catalogue.column("price_minor")
    shared = np.zeros(len(slots), np.int64)
    steps = catalogue.vocabulary.text("category", int(category[anchor])).count("/") + 1
    for step in range(1, steps + 1):
        stem = catalogue.stem(step)
        shared += stem[category[slots]] == stem[category[anchor]]
    brand = catalogue.column("brand")
    ratio = np.maximum(price[slots], 1) / max(int(price[anchor]), 1)
    return {
        "anchor_category": (shared / steps).astype(np.float32),
        "anchor_brand": ((brand[slots] == brand[anchor]) & (brand[anchor] > 0)).astype(np.float32),
        "anchor_price": np.log(ratio).astype(np.float32),
    }


def _worth(request: Request) -> NDArray[np.int64]:
    """[actions] decayed worth of the person's recent actions, in parts of _UNIT."""
    age = np.maximum(request.query.t - request.recent_t, 0) / INTEREST_HALF_LIFE_MS
    decay = np.rint(np.exp2(-age) * _UNIT).astype(np.int64)
    worth: NDArray[np.int64] = decay * KIND_WEIGHT[request.recent_kinds]
    return worth


@njit(cache=True)
def _recent(
    slots: NDArray[Any],
    recent: NDArray[Any],
    worth: NDArray[Any],
    category: NDArray[Any],
    size: NDArray[Any],
    department: NDArray[Any],
    family: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """As `recent_match`, of slots. What rests on the category alone is counted once for each."""
    same = np.empty((4, len(slots)), np.float32)
    counted = np.full(len(department), -1, np.int64)
    for i in range(len(slots)):
        code = category[slots[i]]
        first = counted[code]
        if first < 0:
            counted[code] = i
            departments = families = interest = 0
            for k in range(len(recent)):
                other = category[recent[k]]
                departments += department[other] == department[code]
                families += family[other] == family[code]
                if other == code:
                    interest += worth[k]
            same[0, i] = departments / len(recent)
            same[1, i] = families / len(recent)
            same[3, i] = interest / _UNIT
        else:
            same[0, i], same[1, i], same[3, i] = same[0, first], same[1, first], same[3, first]
        sizes = 0
        if same[1, i] > 0:
            for other in recent:
                alike = size[other] == size[slots[i]]
                sizes += alike and family[category[other]] == family[code]
        same[2, i] = sizes / len(recent)
    return same[0], same[1], same[2], same[3]


@njit(cache=True)
def _stock(
    slots: NDArray[Any], photos: NDArray[Any], price: NDArray[Any], first: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """As `stock_columns`, of columns [slots]."""
    many, drop = np.empty(len(slots), np.float32), np.empty(len(slots), np.float32)
    for i in range(len(slots)):
        slot = slots[i]
        many[i] = photos[slot]
        drop[i] = 1.0 - price[slot] / first[slot] if first[slot] > 0 else np.nan
    return many, drop


@njit(cache=True)
def _stated(
    slots: NDArray[Any],
    columns: Any,
    sizes: NDArray[Any],
    brands: NDArray[Any],
    under: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """As `stated_match`: whether sizes and brands are among codes, and categories in a mask."""
    size, brand, category = columns
    of_size, of_brand = np.empty(len(slots), np.float32), np.empty(len(slots), np.float32)
    below = np.empty(len(slots), np.float32)
    for i in range(len(slots)):
        slot = slots[i]
        of_size[i] = _is_among(size[slot], sizes)
        of_brand[i] = _is_among(brand[slot], brands)
        below[i] = under[category[slot]] if len(under) else np.nan
    return of_size, of_brand, below


@njit(cache=True)
def _is_among(code: int, wanted: NDArray[Any]) -> float:
    """1 for a code that is wanted, 0 for another, NaN if none is; few are."""
    if len(wanted) == 0:
        return np.nan
    for other in wanted:
        if other == code:
            return 1.0
    return 0.0


def _among(codes: NDArray[np.int32], wanted: Collection[int]) -> Column:
    """1 for codes that are wanted, 0 for others, NaN throughout if none is."""
    if not wanted:
        return _missing(codes)
    among = np.zeros(len(codes), np.bool_)
    for code in wanted:  # few: what one person can say
        among |= codes == code
    return among.astype(np.float32)


def _missing(slots: NDArray[np.int32]) -> Column:
    return np.full(len(slots), np.nan, np.float32)
