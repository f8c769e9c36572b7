"""The words in which features are defined: a small closed algebra, without functions of one's own.

A *mention* is what is counted: an event with one of the listings that it names. An impression of
24 listings is 24 mentions; an event that names no listing (`search`, `follow`) is one mention
whose listing attributes are all unknown, but for the seller it names.
"""

from dataclasses import dataclass, field

from heirloom.core.facts import MAX_DECLARED

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
    "query",
    "surface",
    *(f"declared.{i}" for i in range(MAX_DECLARED)),
    *(f"stated.{i}" for i in range(MAX_DECLARED)),
)
"""What a key may be made of, in the order of the kernel's code vector. `query` is the words asked,
`declared.i` the value of the i-th declared attribute, `stated.i` merely that one was stated; `all`
is one key for all."""

STATICS: tuple[str, ...] = (*SOURCES, "hour")
"""What a Static may show: a key part, or the hour of the day of the request (UTC)."""

ATTRIBUTES = tuple(part for part in SOURCES if part not in ("all", "listing", "person"))
"""What Last, First, LastK and Distinct may keep the code of."""

MAX_POSITION = 32_767
MAX_K = 32


@dataclass(frozen=True, slots=True)
class Where:
    """Which mentions of the kinds are meant; without fields, all.

    `surfaces`: those on these surfaces. `positions`: those at positions (first, last), both
    included and 0 the top; a mention without position is none of them.
    """

    surfaces: tuple[str, ...] = ()
    positions: tuple[int, int] | None = None


ANYWHERE = Where()


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
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class Sum:
    """The prices of a key's mentions, added up, in minor units. One column per window.

    A mention without price adds nothing. NaN: a part of the key is unknown.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    windows: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)
    where: Where = field(default=ANYWHERE, kw_only=True)


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
class Decay:
    """A counter's mentions, each weighing 2^(-age / half-life), one column per window.

    The age is that of the mention's bucket, in whole hops; what is older than the window weighs
    nothing. Counts are integers; weights come in at reading, newest bucket first. NaN: the key is
    unknown.
    """

    name: str
    of: Counter
    windows: tuple[str, ...]
    half_life_ms: int
    about: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SinceLast:
    """Hours since the latest event time among a key's mentions.

    NaN: the key is unknown or new, or that was longer ago than the length of `within`.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)
    within: str = "ever"
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class SinceFirst:
    """Hours since the earliest event time among a key's mentions.

    NaN: the key is unknown or new.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    about: str = field(default="", repr=False, compare=False)
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class Last:
    """Code of an attribute of the latest of a key's mentions by event time, of ties the later.

    Codes have no order. NaN: the key is unknown or new, the attribute was unknown, or that was
    longer ago than the length of `within`.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    of: str
    about: str = field(default="", repr=False, compare=False)
    within: str = "ever"
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class First:
    """Code of an attribute of the earliest of a key's mentions by event time, of ties the earlier.

    Codes have no order. NaN: the key is unknown or new, or the attribute was unknown.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    of: str
    about: str = field(default="", repr=False, compare=False)
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class LastK:
    """How many of a key's last k mentions had the value of an attribute that the candidate has.

    The last by the log's order, and of them those no older than the length of `within`, by whole
    minutes. NaN: the key or the candidate's value is unknown.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    of: str
    k: int
    about: str = field(default="", repr=False, compare=False)
    within: str = "90d"
    where: Where = field(default=ANYWHERE, kw_only=True)


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different values of an attribute a key's mentions had, at most `cap`.

    One column per window. Exact up to `cap`; a value that is given up although it is in the
    longest window is counted (`FeatureState.saturated`). NaN: the key is unknown.
    """

    name: str
    key: tuple[str, ...]
    kinds: tuple[str, ...]
    of: str
    windows: tuple[str, ...]
    cap: int = 8
    about: str = field(default="", repr=False, compare=False)
    where: Where = field(default=ANYWHERE, kw_only=True)


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
    where: Where = field(default=ANYWHERE, kw_only=True)


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
    unit: str = field(default="", repr=False, compare=False)


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
    | Sum
    | Ratio
    | Trend
    | Decay
    | SinceLast
    | SinceFirst
    | Last
    | First
    | LastK
    | Distinct
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
    if isinstance(definition, Counter | Sum | Ratio | Decay | Distinct | PriceGap | Lift):
        return tuple(f"{definition.name}_{window}" for window in definition.windows)
    return (definition.name,)


def unit_of(definition: Definition) -> str:
    """The unit of a definition's values.

    >>> unit_of(Age("age"))
    'hours'
    """
    match definition:
        case Counter() | LastK() | Distinct():
            return "count"
        case Decay():
            return "weighted count"
        case Sum():
            return "minor units"
        case Ratio():
            return "ratio"
        case Trend() | PriceGap() | Lift():
            return "difference of logs"
        case Price():
            return "log of minor units"
        case SinceLast() | SinceFirst() | Age():
            return "hours"
        case Static(of="hour"):
            return "hour of the day"
        case Last() | First() | Static():
            return "code"
        case Given(unit=unit):
            return unit
