"""The definitions in SQL, by an engine that shares no code with the kernel.

Windows, keys and the order of the log are SQL's; ratios and logarithms of what it counts are
Python's, in the order of docs/adr/0003.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import polars as pl

from heirloom.core.event import KIND_CODE, SURFACE_CODE
from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.features.algebra import (
    ANYWHERE,
    Age,
    Counter,
    Decay,
    Distinct,
    First,
    Given,
    Last,
    LastK,
    Price,
    PriceGap,
    Ratio,
    SinceFirst,
    SinceLast,
    Static,
    Sum,
    Trend,
)
from heirloom.features.view import FeatureView
from heirloom.features.windows import FOREVER_MS, WINDOWS

HOUR_MS = 3_600_000
_ATTRIBUTES = ("seller", "brand", "category", "size", "colour", "condition")
_WRITES = ", ".join(str(KIND_CODE[kind]) for kind in ("listed", "edited", "price_changed"))


@contextmanager
def mentions(log: Facts) -> Iterator[Any]:
    """A database with the table `mentions`: a row for each listing that each event names."""
    with duckdb.connect() as sql:
        sql.register("rows", mention_rows(log))
        sql.execute(
            """create table mentions as select *, case when slot >= 0 then sum((kind = 0)::int)
            over (partition by slot order by place) else 0 end as listing from rows"""
        )
        yield sql


def expected(sql: Any, view: FeatureView, request: Request, slot: int) -> dict[str, np.float32]:
    """By column, without the given ones, what SQL makes of one candidate of a request."""
    newest = sql.execute("select max(t) from mentions").fetchone()[0]
    asked = Asked(sql, slot, codes_of(sql, slot, request), request.query.t, newest)
    definitions = [f for f in view.features if not isinstance(f, Given)]
    values = [value for f in definitions for value in asked.values(f)]
    names = [name.partition(".")[2] for name in view.columns]
    own = [name for name in names if name not in view.given]
    return {
        name: np.float32(math.nan if value is None else value)
        for name, value in zip(own, values, strict=True)
    }


def mention_rows(log: Facts) -> pl.DataFrame:
    """In the log's order; an event that names no listing is one row, with a seller of its own."""
    named = np.diff(log.starts)
    at = np.repeat(np.arange(len(log)), np.maximum(named, 1))
    of_event = {
        name: log.events[name][at] for name in ("seq", "t", "kind", "surface", "person", "query")
    }
    there = np.repeat(named > 0, np.maximum(named, 1))
    of_listing = {}
    for name in (*_ATTRIBUTES, "slot", "price_minor", "position"):
        column = np.full(len(at), -1 if name in ("slot", "position") else 0, np.int64)
        column[there] = log.listings[name]
        of_listing[name] = column
    of_listing["seller"][~there] = log.events["seller"][at[~there]]
    return pl.DataFrame({"place": np.arange(len(at))} | of_event | of_listing)


def codes_of(sql: Any, slot: int, request: Request) -> dict[str, int]:
    """What was last written of the listing in the slot, and who asks; 0 for unknown."""
    who = {"all": 1, "person": request.person, "query": request.text, "surface": request.surface}
    opened = sql.execute(
        f"select place, t, listing from mentions where slot = {slot} and kind = 0 "
        "order by place desc limit 1"
    ).fetchone()
    if opened is None:
        return who | dict.fromkeys((*_ATTRIBUTES, "listing", "opened", "price_minor"), 0)
    names = (*_ATTRIBUTES, "price_minor")
    row = sql.execute(
        f"""select {", ".join(names)} from mentions where slot = {slot} and kind in ({_WRITES})
        and place >= {opened[0]} order by place desc limit 1"""
    ).fetchone()
    written = dict(zip(names, row, strict=True))
    return who | written | {"opened": opened[1], "listing": opened[2]}


class Asked:
    """One candidate of one request, answered by SQL."""

    def __init__(self, sql: Any, slot: int, codes: dict[str, int], t: int, newest: int) -> None:
        self.sql, self.slot, self.codes, self.t = sql, slot, codes, t
        self.reached = max(t, newest)

    def values(self, f: Any) -> list[Any]:
        within = WINDOWS[getattr(f, "within", "ever")].length_ms
        recent = "" if within == FOREVER_MS else f"and {self.reached} - {{}}(t) <= {within}"
        match f:
            case Counter():
                return [self.one(f, "count(*)", window) for window in f.windows]
            case Sum():
                return [self.one(f, "coalesce(sum(price_minor), 0)", w) for w in f.windows]
            case Ratio():
                return [self.ratio(f, window) for window in f.windows]
            case Decay(of=of):
                return [self.one(of, self.decayed(f, window), window) for window in f.windows]
            case SinceLast():
                hours = f"greatest({self.t} - max(t), 0) / 3600000"
                return [
                    self.one(f, f"case when count(*) > 0 {recent.format('max')} then {hours} end")
                ]
            case SinceFirst():
                return [
                    self.one(
                        f,
                        f"case when count(*) > 0 then greatest({self.t} - min(t), 0) / 3600000 end",
                    )
                ]
            case Last():
                code = f"nullif(arg_max({f.of}, (t, place)), 0)"
                return [
                    self.one(f, f"case when count(*) > 0 {recent.format('max')} then {code} end")
                ]
            case First():
                return [self.one(f, f"nullif(arg_min({f.of}, (t, place)), 0)")]
            case LastK():
                return [self.last_k(f)]
            case Distinct():
                return [self.distinct(f, window) for window in f.windows]
            case Trend(of=of, short=short, long=long):
                recent, usual = (self.one(of, "count(*)", window) for window in (short, long))
                if recent is None:
                    return [None]
                scale = WINDOWS[short].length_ms / WINDOWS[long].length_ms
                return [math.log((recent + 1.0) / (usual * scale + 1.0))]
            case PriceGap():
                return [self.gap(f, window) for window in f.windows]
            case Price():
                price = self.codes["price_minor"]
                return [math.log(price) if price else None]
            case Age():
                opened = self.codes["opened"]
                return [max(self.t - opened, 0) / HOUR_MS if self.codes["listing"] else None]
            case Static(of="hour"):
                return [self.t // HOUR_MS % 24]
            case Static():
                return [self.codes[f.of] or None]
        raise TypeError(f)

    def matching(self, f: Any, window: str) -> str:
        """The table of the mentions that count."""
        wanted = [f"{part} = {self.codes[part]}" for part in f.key if part != "all"]
        if "listing" in f.key:
            wanted.append(f"slot = {self.slot}")
        wanted.append(f"kind in ({', '.join(str(KIND_CODE[kind]) for kind in f.kinds)})")
        where = getattr(f, "where", ANYWHERE)
        if where.surfaces:
            surfaces = ", ".join(str(SURFACE_CODE[surface]) for surface in where.surfaces)
            wanted.append(f"surface in ({surfaces})")
        if where.positions:
            wanted.append("position between {} and {}".format(*where.positions))
        if WINDOWS[window].length_ms != FOREVER_MS:
            wanted.append(self.inside("t", window))
        return f"(select * from mentions where {' and '.join(wanted)})"

    def inside(self, t: str, window: str) -> str:
        """Whether a time lies in a window: it ends at the t asked, and reaches back."""
        length, hop = WINDOWS[window].length_ms, WINDOWS[window].hop_ms
        first, last = f"floor(({self.reached} - {length}) / {hop})", f"floor({self.t} / {hop})"
        return f"floor({t} / {hop}) between {first} and {last}"

    def distinct(self, f: Distinct, window: str) -> Any:
        if not all(self.codes[part] for part in f.key):
            return None
        return self.sql.execute(
            f"""select count(*) from
            (select {f.of}, max(floor(t / 60000)) as minute from {self.matching(f, "ever")}
            where {f.of} != 0 group by {f.of} order by minute desc, {f.of} desc limit {f.cap})
            where {self.inside("minute * 60000", window)}"""
        ).fetchone()[0]

    def one(self, f: Any, expression: str, window: str = "ever") -> Any:
        if not all(self.codes[part] for part in f.key):
            return None
        return self.sql.execute(f"select {expression} from {self.matching(f, window)}").fetchone()[
            0
        ]

    def ratio(self, ratio: Ratio, window: str) -> Any:
        hits, trials = ratio.prior
        if ratio.toward is not None and (wide := self.ratio(ratio.toward, window)) is not None:
            hits = trials * wide
        over, under = (self.one(f, "count(*)", window) for f in (ratio.over, ratio.under))
        if over is None or under is None or under + trials == 0:
            return None
        return (over + hits) / (under + trials)

    def gap(self, gap: PriceGap, window: str) -> Any:
        priced = self.one(gap, "count(*) filter (price_minor > 0)", window)
        if not priced or not self.codes["price_minor"]:
            return None
        paid = self.one(gap, "sum(price_minor)", window)
        return math.log(self.codes["price_minor"]) - math.log(int(paid) / priced)

    def decayed(self, decay: Decay, window: str) -> str:
        hop = WINDOWS[window].hop_ms
        age = f"(floor({self.t} / {hop}) - floor(t / {hop})) * {hop}"
        return f"coalesce(sum(pow(0.5::double, {age} / {decay.half_life_ms}) order by t desc), 0)"

    def last_k(self, last: LastK) -> Any:
        mine = self.codes[last.of]
        if not mine or not all(self.codes[part] for part in last.key):
            return None
        since = f"floor(({self.reached} - {WINDOWS[last.within].length_ms}) / 60000)"
        return self.sql.execute(
            f"""select count(*) from
            (select * from {self.matching(last, "ever")} order by place desc limit {last.k})
            where {last.of} = {mine} and floor(t / 60000) >= {since}"""
        ).fetchone()[0]
