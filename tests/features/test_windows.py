"""The definitions in SQL, by an engine that shares no code with the kernel."""

from typing import Any

import duckdb
import numpy as np
import polars as pl

from heirloom.core.event import KIND_CODE, SURFACE_CODE
from heirloom.core.facts import Facts
from heirloom.features.algebra import (
    Counter,
    Decay,
    Distinct,
    First,
    Last,
    LastK,
    Ratio,
    SinceFirst,
    SinceLast,
    Sum,
    Where,
)
from heirloom.features.view import FeatureView
from heirloom.features.windows import FOREVER_MS, WINDOWS
from heirloom.testing.features import random_log, random_request

KINDS = ("click", "save", "impression")
NAMES = tuple(name for name in WINDOWS if name != "ever")
TOP = Where(surfaces=("search",), positions=(0, 3))
PAIR = Counter("n", ("brand", "category"), KINDS, NAMES)
SIZED = Counter("sized", ("brand", "size", "category"), KINDS, ("30d", "ever"))
RATE = Ratio("rate", PAIR, PAIR, ("30d",), (1.0, 20.0))
VIEW = FeatureView(
    "v",
    (
        PAIR,
        SIZED,
        RATE,
        Ratio("sized_rate", SIZED, SIZED, ("30d",), (0.5, 4.0), RATE),
        Counter("asked", ("query", "listing"), KINDS, ("30d",)),
        Counter("here", ("listing", "surface"), KINDS, ("7d",)),
        Counter("top", ("person",), KINDS, ("24h", "90d"), where=TOP),
        Sum("spent", ("person", "seller"), KINDS, ("7d", "ever")),
        Decay("warm", Counter("c", ("person",), KINDS, ("7d",)), ("7d",), 24 * 3_600_000),
        SinceLast("since", ("person", "brand"), KINDS, within="7d"),
        SinceFirst("first", ("listing",), KINDS),
        Last("last", ("person",), KINDS, "seller", within="30d"),
        First("first_seller", ("person",), KINDS, "seller", where=TOP),
        LastK("of_last", ("person",), KINDS, "brand", 5, within="7d"),
        Distinct("brands", ("person",), KINDS, "brand", ("24h", "30d"), 2),
    ),
)


def test_values_are_those_of_sql():
    checked = dict.fromkeys(VIEW.columns, 0)
    for seed in range(2):
        log = random_log(seed, 500)
        log.events["kind"][np.isin(log.events["kind"], [1, 2])] = KIND_CODE["search"]
        state = VIEW.state()
        state.apply(log)
        with duckdb.connect() as sql:
            sql.register("rows", mention_rows(log))
            sql.execute(
                """create table mentions as select *, sum((kind = 0)::int)
                over (partition by slot order by seq) as listing from rows"""
            )
            newest = int(log.events["t"].max())
            for later_ms in (0, 3_599_999, 31 * 86_400_000, -30 * 3_600_000, -12 * 86_400_000):
                request = random_request(seed, newest + later_ms)
                slots = np.arange(5, dtype=np.int32)
                got = state.lookup(request, slots).values
                for slot in slots.tolist():
                    codes = codes_of(sql, slot, request)
                    asked = Asked(sql, slot, codes, request.query.t, newest)
                    wanted = [value for f in VIEW.features for value in asked.values(f)]
                    for j, name in enumerate(VIEW.columns):
                        expected = np.float32(np.nan if wanted[j] is None else wanted[j])
                        same = expected.tobytes() == got[slot, j].tobytes()
                        both_nan = np.isnan(expected) and np.isnan(got[slot, j])
                        assert same or both_nan, (seed, slot, name, expected, got[slot, j])
                        checked[name] += bool(expected > 0)
    assert min(checked.values()) > 0, checked


def mention_rows(log: Facts) -> pl.DataFrame:
    at = np.repeat(np.arange(len(log)), np.diff(log.starts))
    of_event = {name: log.events[name][at] for name in ("t", "kind", "surface", "person", "query")}
    names = [name for name in log.listings.dtype.names or () if name not in of_event]
    of_listing = {name: log.listings[name] for name in names}
    return pl.DataFrame({"seq": np.arange(len(at))} | of_event | of_listing)


def codes_of(sql: Any, slot: int, request: Any) -> dict[str, int]:
    """What the slot's last `listed` event said, and who asks; 0 for unknown."""
    names = ("listing", "seller", "brand", "category", "size", "colour", "condition")
    row = sql.execute(
        f"""select {", ".join(names)} from mentions
        where slot = {slot} and kind = 0 order by seq desc limit 1"""
    ).fetchone()
    codes = dict(zip(names, row or [0] * len(names), strict=True))
    return codes | {
        "person": request.person, "query": request.text, "surface": request.surface
    }  # fmt: skip


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
                return [self.one(f, f"case when true {recent.format('max')} then {hours} end")]
            case SinceFirst():
                return [
                    self.one(
                        f,
                        f"case when count(*) > 0 then greatest({self.t} - min(t), 0) / 3600000 end",
                    )
                ]
            case Last():
                code = f"nullif(arg_max({f.of}, (t, seq)), 0)"
                return [self.one(f, f"case when true {recent.format('max')} then {code} end")]
            case First():
                return [self.one(f, f"nullif(arg_min({f.of}, (t, seq)), 0)")]
            case LastK():
                return [self.last_k(f)]
            case Distinct():
                return [self.distinct(f, window) for window in f.windows]
        raise TypeError(f)

    def matching(self, f: Any, window: str) -> str:
        """The table of the mentions that count."""
        length = WINDOWS[window].length_ms
        wanted = [f"{part} = {self.codes[part]}" for part in f.key]
        if "listing" in f.key:
            wanted.append(f"slot = {self.slot}")
        wanted.append(f"kind in ({', '.join(str(KIND_CODE[kind]) for kind in f.kinds)})")
        if f.where.surfaces:
            surfaces = ", ".join(str(SURFACE_CODE[surface]) for surface in f.where.surfaces)
            wanted.append(f"surface in ({surfaces})")
        if f.where.positions:
            wanted.append("position between {} and {}".format(*f.where.positions))
        if length != FOREVER_MS:
            wanted.append(self.inside("t", window))
        return f"(select * from mentions where {' and '.join(wanted)})"

    def inside(self, t: str, window: str) -> str:
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
        return None if over is None or under is None else (over + hits) / (under + trials)

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
            (select * from {self.matching(last, "ever")} order by seq desc limit {last.k})
            where {last.of} = {mine} and floor(t / 60000) >= {since}"""
        ).fetchone()[0]
