"""The words in which features are defined: a small closed algebra, without functions of one's own.

A *mention* is what is counted: an event with one of the listings that it names. An impression of
24 listings is 24 mentions; an event that names no listing (`search`, `follow`) is one mention
whose listing attributes are all unknown, but for the seller it names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import MAX_DECLARED
from heirloom.features.windows import WINDOWS

SOURCES: tuple[str, ...] = (
    "all",
    "listing",
    "seller",
    "brand",
    "category",
    "size",
    "colour",
    "condition",
    "person",
    *(f"declared.{i}" for i in range(MAX_DECLARED)),
    *(f"stated.{i}" for i in range(MAX_DECLARED)),
)
"""What a key may be made of, in the order of the kernel's code vector. `declared.i` is the value
of the i-th declared attribute, `stated.i` merely that one was stated; `all` is one key for all."""

STATICS: tuple[str, ...] = (*SOURCES, "surface", "hour")
"""What a Static may show: a key part, the request's surface, or its hour of the day (UTC)."""


@dataclass(frozen=True, slots=True)
class Counter:
    """How often something happened to a key. One column per window, `NAME_WINDOW`.

    NaN: a part of the key is unknown (no person, no brand). A known key without events is 0.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    windows: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Ratio:
    """(over + hits) / (under + trials), one column per window.

    `prior` is (hits, trials). With `toward`, hits = trials x that ratio in the same window, so
    that few counts of a narrow key are shrunk to a wide one (empirical Bayes). NaN: a key is
    unknown, or under + trials = 0.
    """

    name: str
    over: Counter
    under: Counter
    windows: tuple[str, ...]
    prior: tuple[float, float] = (0.0, 0.0)
    toward: "Ratio | None" = None
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Trend:
    """log((short + 1) / (long x length(short) / length(long) + 1)) of one counter.

    0: as often as over the long window; positive: rising. NaN: the key is unknown.
    """

    name: str
    of: Counter
    short: str
    long: str
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SinceLast:
    """Hours since the latest event time among a key's mentions. NaN: the key is unknown or new."""

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SinceFirst:
    """Hours since the earliest event time among a key's mentions. NaN: as SinceLast."""

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Age:
    """Hours since the listing was listed. NaN: it never was."""

    name: str
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Price:
    """Natural logarithm of the listing's price in minor units. NaN: no price."""

    name: str
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PriceGap:
    """log(price) - log(mean price of the key's mentions in a window), one column per window.

    0.1 is about 10 % dearer than usual. NaN: no price, the key is unknown, or nothing to compare.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    windows: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Lift:
    """How much likelier the stated value of a declared attribute is on this listing, in logs.

    log P(value | listing) - log P(value), one column per window: a term of naive Bayes. With
    counts n of the mentions that stated the attribute, and strength s:
    P(value) = (n_value + 1/2) / (n + 1);
    P(value | category) = (n_category,value + s P(value)) / (n_category + s);
    P(value | listing) = (n_listing,value + s P(value | category)) / (n_listing + s), with P(value)
    for a listing without category. NaN: the request states no value, or the listing is unknown.
    """

    name: str
    declared: int
    kinds: tuple[str, ...]
    windows: tuple[str, ...]
    strength: float = 8.0
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Given:
    """A column computed by the pipeline and handed to `lookup`. NaN: not handed over."""

    name: str
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Static:
    """A code of the listing or the request as it is, from `STATICS`. NaN: unknown (code 0).

    Codes have no order: for learners that split, not for those that multiply.
    """

    name: str
    of: str
    about: str = field(default="", repr=False, compare=False)


Definition = (
    Counter
    | Ratio
    | Trend
    | SinceLast
    | SinceFirst
    | Age
    | Price
    | PriceGap
    | Lift
    | Given
    | Static
)


def columns_of(definition: Definition) -> tuple[str, ...]:
    """The column names that a definition gives.

    >>> columns_of(Counter("clicks", ("listing",), ("click",), ("24h", "7d")))
    ('clicks_24h', 'clicks_7d')
    """
    if isinstance(definition, Counter | Ratio | PriceGap | Lift):
        return tuple(f"{definition.name}_{window}" for window in definition.windows)
    return (definition.name,)


def problems_of(definition: Definition) -> Iterator[str]:
    """What is wrong with a definition, as sentences."""
    where = f"{type(definition).__name__} {definition.name!r}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", definition.name):
        yield f"{where}: a name is lower case letters, digits and _, beginning with a letter"
    if isinstance(definition, Counter | SinceLast | SinceFirst | PriceGap):
        yield from _problems_of_key(where, definition.key)
    if isinstance(definition, Counter | SinceLast | SinceFirst | PriceGap | Lift):
        unknown = [kind for kind in definition.kinds if kind not in KIND_CODE]
        if unknown or not definition.kinds:
            yield f"{where}: unknown kinds {unknown or '(none)'}; wanted some of {list(KIND_CODE)}"
    if isinstance(definition, Counter | Ratio | PriceGap | Lift):
        missing = [window for window in definition.windows if window not in WINDOWS]
        if missing or not definition.windows:
            named = missing or "(none)"
            yield f"{where}: windows {named} have no hop; wanted some of {list(WINDOWS)}"
    match definition:
        case Ratio():
            yield from _problems_of_ratio(where, definition)
        case Trend():
            yield from problems_of(definition.of)
            for window in (definition.short, definition.long):
                if window not in definition.of.windows or window == "ever":
                    yield f"{where}: window {window!r} is none of {list(definition.of.windows)}"
        case Lift():
            if not 0 <= definition.declared < MAX_DECLARED:
                yield f"{where}: declared {definition.declared}; wanted 0 to {MAX_DECLARED - 1}"
            if definition.strength <= 0:
                yield f"{where}: strength {definition.strength}; wanted more than 0"
        case Static():
            if definition.of not in STATICS:
                yield f"{where}: no {definition.of!r} to show; wanted one of {list(STATICS)}"
        case _:
            pass


def _problems_of_key(where: str, key: tuple[str, ...]) -> Iterator[str]:
    unknown = [part for part in key if part not in SOURCES]
    if unknown:
        yield f"{where}: {unknown} is not on a mention; wanted some of {list(SOURCES)}"
    if not 1 <= len(key) <= 2 or len(set(key)) != len(key):
        yield f"{where}: a key has one or two different parts, not {list(key)}"


def _problems_of_ratio(where: str, ratio: Ratio) -> Iterator[str]:
    yield from problems_of(ratio.over)
    yield from problems_of(ratio.under)
    for counter in (ratio.over, ratio.under):
        lacking = [window for window in ratio.windows if window not in counter.windows]
        if lacking:
            yield f"{where}: counter {counter.name!r} does not keep the windows {lacking}"
    hits, trials = ratio.prior
    if hits < 0 or trials < 0:
        yield f"{where}: prior {ratio.prior}; wanted (hits, trials), neither negative"
    if ratio.toward is not None:
        yield from problems_of(ratio.toward)
        if not set(ratio.windows) <= set(ratio.toward.windows):
            yield f"{where}: {ratio.toward.name!r} lacks some of the windows {list(ratio.windows)}"
