"""What is wrong with definitions, as sentences that say what to do."""

import re
from collections.abc import Iterator

from heirloom.core.event import KIND_CODE, SURFACE_CODE
from heirloom.core.facts import MAX_DECLARED
from heirloom.features.algebra import (
    ATTRIBUTES,
    MAX_K,
    MAX_POSITION,
    SOURCES,
    STATICS,
    Counter,
    Decay,
    Definition,
    Distinct,
    First,
    Last,
    LastK,
    Lift,
    PriceGap,
    Ratio,
    SinceFirst,
    SinceLast,
    Static,
    Sum,
    Trend,
    Where,
)
from heirloom.features.windows import WINDOWS

Stateful = Counter | Sum | SinceLast | SinceFirst | Last | First | LastK | Distinct | PriceGap


def problems_of(definition: Definition) -> Iterator[str]:
    """What is wrong with a definition, as sentences."""
    where = f"{type(definition).__name__} {definition.name!r}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", definition.name):
        yield f"{where}: a name is lower case letters, digits and _, beginning with a letter"
    if isinstance(definition, Stateful):
        yield from _problems_of_key(where, definition.key)
        yield from _problems_of_where(where, definition.where)
    if isinstance(definition, Stateful | Lift):
        unknown = [kind for kind in definition.kinds if kind not in KIND_CODE]
        if unknown or not definition.kinds:
            yield f"{where}: unknown kinds {unknown or '(none)'}; wanted some of {list(KIND_CODE)}"
    if isinstance(definition, Counter | Sum | Ratio | Decay | Distinct | PriceGap | Lift):
        missing = [window for window in definition.windows if window not in WINDOWS]
        if missing or not definition.windows:
            named = missing or "(none)"
            yield f"{where}: windows {named} have no hop; wanted some of {list(WINDOWS)}"
    if isinstance(definition, SinceLast | Last | LastK) and definition.within not in WINDOWS:
        yield f"{where}: within {definition.within!r}; wanted one of {list(WINDOWS)}"
    if isinstance(definition, Last | First | LastK | Distinct) and definition.of not in ATTRIBUTES:
        yield f"{where}: no code of {definition.of!r} is kept; wanted one of {list(ATTRIBUTES)}"
    yield from _problems_of_numbers(where, definition)
    if isinstance(definition, Ratio):
        yield from _problems_of_ratio(where, definition)


def _problems_of_numbers(where: str, definition: Definition) -> Iterator[str]:
    match definition:
        case Trend():
            yield from problems_of(definition.of)
            for window in (definition.short, definition.long):
                if window not in definition.of.windows or window == "ever":
                    yield f"{where}: window {window!r} is none of {list(definition.of.windows)}"
        case Decay():
            yield from problems_of(definition.of)
            for window in definition.windows:
                if window not in definition.of.windows or window == "ever":
                    yield f"{where}: window {window!r} is none of {list(definition.of.windows)}"
            if definition.half_life_ms <= 0:
                yield f"{where}: half_life_ms {definition.half_life_ms}; wanted more than 0"
        case LastK():
            if not 1 <= definition.k <= MAX_K:
                yield f"{where}: k is {definition.k}; wanted 1 to {MAX_K}"
            if definition.within == "ever":
                yield f"{where}: within 'ever' would keep quiet keys for good; name a window"
        case Distinct():
            if not 1 <= definition.cap <= MAX_K:
                yield f"{where}: cap {definition.cap}; wanted 1 to {MAX_K}"
            if "ever" in definition.windows:
                yield f"{where}: window 'ever' would keep quiet keys for good; name another"
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
    if not 1 <= len(key) <= 3 or len(set(key)) != len(key):
        yield f"{where}: a key has one to three different parts, not {list(key)}"


def _problems_of_where(where: str, mentions: Where) -> Iterator[str]:
    unknown = [surface for surface in mentions.surfaces if surface not in SURFACE_CODE]
    if unknown:
        yield f"{where}: unknown surfaces {unknown}; wanted some of {list(SURFACE_CODE)}"
    if mentions.positions is not None:
        first, last = mentions.positions
        if not 0 <= first <= last <= MAX_POSITION:
            yield (
                f"{where}: positions {mentions.positions}; "
                f"wanted (first, last) with 0 <= first <= last <= {MAX_POSITION}"
            )


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
