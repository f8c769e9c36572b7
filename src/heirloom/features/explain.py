"""Explain: a value by the events that made it, on a path of its own.

From evidence (evidence.py) to values by the formulas in algebra.py, with none of the kernel's
code: a second opinion on it. Slow and plain: for one listing and one request.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.features.algebra import (
    Age,
    Counter,
    Decay,
    Definition,
    Distinct,
    First,
    Given,
    Last,
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
    columns_of,
)
from heirloom.features.evidence import Evidence, Stock, Wanted, gather, stock_of, stretch
from heirloom.features.view import FeatureView
from heirloom.features.windows import HOUR_MS, MINUTE_MS, WINDOWS

Parts = Callable[[], Iterable[Facts]]
"""Gives the log's first n entries, in parts; it is asked twice."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One column's value and what it rests on.

    Attributes:
        column: without view and version.
        definition: what defines it.
        value: by the plain path, cast to float32; NaN is missing.
        how: the arithmetic with its numbers put in.
        evidence: what was counted.
    """

    column: str
    definition: Definition
    value: float
    how: str
    evidence: tuple[Evidence, ...]


def explain(
    view: FeatureView, parts: Parts, request: Request, slot: int, *, newest: int = 3
) -> list[Explained]:
    """Every column of a view for one listing and one request, but for `Given` ones.

    Args:
        view: what is explained.
        parts: the facts of the log's first n entries.
        request: who asks, as of when. No event of the facts may be later than its bucket.
        slot: the listing's.
        newest: how many mentions to keep of each piece of evidence.

    Raises:
        TypeError: for a word of the algebra that has no arithmetic here.
    """
    stock = stock_of(parts(), slot)
    codes = _codes(request, stock)
    found: dict[Wanted, Evidence] = {}

    def ask(wanted: Wanted) -> Evidence:
        from_ms, to_ms = stretch(wanted.window, request.query.t)
        mine = tuple(codes.get(part, 0) for part in wanted.key)
        return found.setdefault(wanted, Evidence(wanted, mine, from_ms, to_ms))

    # Asked once to learn what is wanted, and once more with what was found.
    asked = _Asked(request, stock, codes, ask)
    list(_explained(view, asked))
    for evidence in gather(parts(), list(found.values()), slot, stock, newest):
        found[evidence.wanted] = evidence
    return list(_explained(view, asked))


def _codes(request: Request, stock: Stock) -> dict[str, int]:
    """What a key may be made of, for this request and listing."""
    codes = {"all": 1, "person": request.person, "surface": request.surface, **stock.codes}
    codes["query"] = request.text
    for i, value in enumerate(request.declared.tolist()):
        codes |= {f"declared.{i}": value, f"stated.{i}": int(value != 0)}
    return codes | {"listing": int(stock.opening is not None)}


@dataclass(frozen=True, slots=True)
class _Value:
    value: float
    how: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request for one listing, and where its evidence comes from."""

    request: Request
    stock: Stock
    codes: dict[str, int]
    ask: Callable[[Wanted], Evidence]

    @property
    def t(self) -> int:
        return self.request.query.t

    def values(self, definition: Definition) -> Iterator[_Value]:
        """One for each column, in float64, by the formulas in algebra.py."""
        match definition:
            case Counter(windows=windows):
                yield from (self.count(definition, window) for window in windows)
            case Sum(windows=windows):
                yield from (self.sum(definition, window) for window in windows)
            case Ratio(windows=windows):
                yield from (self.ratio(definition, window) for window in windows)
            case Trend():
                yield self.trend(definition)
            case Decay(windows=windows):
                yield from (self.decay(definition, window) for window in windows)
            case SinceLast() | SinceFirst() | Last() | First():
                yield self.end(definition)
            case LastK():
                yield self.last_k(definition)
            case Distinct(windows=windows):
                yield from (self.distinct(definition, window) for window in windows)
            case Age():
                opened = self.stock.opened_ms if self.stock.opening else 0
                yield self.hours(opened, "listed", ())
            case Price():
                price = self.stock.price_minor
                yield _Value(math.log(price) if price else math.nan, f"log({price})")
            case PriceGap(windows=windows):
                yield from (self.gap(definition, window) for window in windows)
            case Lift(windows=windows):
                yield from (self.lift(definition, window) for window in windows)
            case Static(of="hour"):
                yield _Value(float(self.t // HOUR_MS % 24), "the request's hour, UTC")
            case Static(of=of):
                code = self.codes.get(of, 0)
                yield _Value(float(code) if code else math.nan, f"code of {of}")
            case _:
                raise TypeError(f"explain: no arithmetic for {type(definition).__name__}")

    def count(self, counter: Counter, window: str) -> _Value:
        found = self.ask(_wanted(counter, window))
        value = float(found.count) if found.known else math.nan
        return _Value(value, f"{found.count} counted", (found,))

    def ratio(self, ratio: Ratio, window: str) -> _Value:
        over, under = self.count(ratio.over, window), self.count(ratio.under, window)
        evidence = (*over.evidence, *under.evidence)
        hits, trials = ratio.prior
        prior = f"{hits:g}"
        if ratio.toward is not None:
            wide = self.ratio(ratio.toward, window)
            evidence += wide.evidence
            if not math.isnan(wide.value):
                hits = trials * wide.value
                prior = f"{trials:g} x {wide.value:.6g}"
        how = f"({over.value:g} + {prior}) / ({under.value:g} + {trials:g})"
        bottom = under.value + trials
        return _Value((over.value + hits) / bottom if bottom > 0 else math.nan, how, evidence)

    def trend(self, trend: Trend) -> _Value:
        recent, usual = self.count(trend.of, trend.short), self.count(trend.of, trend.long)
        evidence = (*recent.evidence, *usual.evidence)
        scale = WINDOWS[trend.short].length_ms / WINDOWS[trend.long].length_ms
        how = f"log(({recent.value:g} + 1) / ({usual.value:g} x {scale:.6g} + 1))"
        if math.isnan(recent.value):
            return _Value(math.nan, how, evidence)
        return _Value(math.log((recent.value + 1.0) / (usual.value * scale + 1.0)), how, evidence)

    def sum(self, total: Sum, window: str) -> _Value:
        found = self.ask(_wanted(total, window))
        value = float(found.paid[1]) if found.known else math.nan
        return _Value(value, f"{found.paid[1]} minor units of {found.paid[0]} priced", (found,))

    def decay(self, decay: Decay, window: str) -> _Value:
        found, hop = self.ask(_wanted(decay.of, window)), WINDOWS[window].hop_ms
        value, told = 0.0, []
        for bucket in sorted(found.buckets, reverse=True):
            age = self.t // hop - bucket
            value += found.buckets[bucket] * 2.0 ** -(age * hop / decay.half_life_ms)
            told.append(f"{found.buckets[bucket]} x 2^-{age * hop / decay.half_life_ms:.4g}")
        return _Value(value if found.known else math.nan, " + ".join(told) or "0", (found,))

    def end(self, definition: SinceLast | SinceFirst | Last | First) -> _Value:
        """The latest or earliest mention: how long ago, or the code of its attribute."""
        latest = isinstance(definition, SinceLast | Last)
        of = definition.of if isinstance(definition, Last | First) else ""
        within = definition.within if isinstance(definition, SinceLast | Last) else "ever"
        found = self.ask(_wanted(definition, "ever", of=of))
        then, which = found.span[latest], "latest" if latest else "earliest"
        if then and self.t - then > WINDOWS[within].length_ms:
            return _Value(
                math.nan, f"the {which}, at {when(then)}, is not within {within}", (found,)
            )
        if not of:
            return self.hours(then, which, (found,))
        code = found.ends[latest]
        return _Value(float(code) if code else math.nan, f"code of {of} of the {which}", (found,))

    def last_k(self, last: LastK) -> _Value:
        found = self.ask(_wanted(last, "ever", of=last.of, k=last.k))
        mine, since = self.codes.get(last.of, 0), self.t - WINDOWS[last.within].length_ms
        recent = [code for t, code in found.latest if t // MINUTE_MS >= since // MINUTE_MS]
        value = float(recent.count(mine)) if mine and found.known else math.nan
        how = f"of the last {last.k}, {len(recent)} within {last.within}, of this {last.of}"
        return _Value(value, how, (found,))

    def distinct(self, distinct: Distinct, window: str) -> _Value:
        found = self.ask(_wanted(distinct, window, of=distinct.of))
        value = float(min(len(found.values), distinct.cap)) if found.known else math.nan
        how = f"{len(found.values)} different, at most {distinct.cap} told apart"
        return _Value(value, how, (found,))

    def hours(self, then: int, which: str, evidence: tuple[Evidence, ...]) -> _Value:
        if then == 0:
            return _Value(math.nan, f"hours since the {which}: there is none", evidence)
        value = max(self.t - then, 0) / HOUR_MS
        return _Value(value, f"hours since {which} at {when(then)}", evidence)

    def gap(self, gap: PriceGap, window: str) -> _Value:
        found = self.ask(_wanted(gap, window))
        price, (priced, paid) = self.stock.price_minor, found.paid
        if not priced or not price:
            return _Value(math.nan, f"price {price} against {priced} priced", (found,))
        how = f"log({price}) - log({paid} / {priced})"
        return _Value(math.log(price) - math.log(paid / priced), how, (found,))

    def lift(self, lift: Lift, window: str) -> _Value:
        value, stated = f"declared.{lift.declared}", f"stated.{lift.declared}"
        evidence = tuple(
            self.ask(Wanted(key, lift.kinds, window))
            for part in ("all", "category", "listing")
            for key in ((part, value), (part, stated))
        )
        n = [each.count for each in evidence]
        if not self.codes.get(value, 0) or self.stock.opening is None:
            return _Value(math.nan, "nothing stated, or never listed", evidence)
        s = lift.strength
        common = (n[0] + 0.5) / (n[1] + 1.0)
        upper, upper_how = common, f"{common:.6g}"
        if self.codes.get("category", 0):
            upper = (n[2] + s * common) / (n[3] + s)
            upper_how = f"({n[2]} + {s:g} x {common:.6g}) / ({n[3]} + {s:g})"
        here = (n[4] + s * upper) / (n[5] + s)
        how = f"log(({n[4]} + {s:g} x {upper_how}) / ({n[5]} + {s:g})) - log({common:.6g})"
        return _Value(math.log(here) - math.log(common), how, evidence)


Stateful = Counter | Sum | SinceLast | SinceFirst | Last | First | LastK | Distinct | PriceGap


def _wanted(of_whom: Stateful, window: str, *, of: str = "", k: int = 0) -> Wanted:
    return Wanted(of_whom.key, of_whom.kinds, window, of_whom.where, of, k)


def _explained(view: FeatureView, asked: _Asked) -> Iterator[Explained]:
    for definition in view.features:
        if isinstance(definition, Given):
            continue
        values = asked.values(definition)
        for column, each in zip(columns_of(definition), values, strict=True):
            value = float(np.float32(each.value))
            yield Explained(column, definition, value, each.how, each.evidence)


def when(ms: int) -> str:
    """A time in ms since 1970 UTC, for people.

    >>> when(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    return f"{np.datetime64(ms, 'ms')}Z"
