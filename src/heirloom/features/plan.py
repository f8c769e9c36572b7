"""From definitions to the arrays that the kernel reads: families, cells, levels, terms, features.

A *family* is one key with one set of windows: its counters share ring rows. A *cell* is one
counter of a family, a *level* one of its windows, a *term* one integer that a feature wants.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE, SURFACE_CODE, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED
from heirloom.features import kernel
from heirloom.features.algebra import (
    ANYWHERE,
    MAX_POSITION,
    STATICS,
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
    Where,
)
from heirloom.features.kernel import Tables
from heirloom.features.windows import WINDOWS

_OF_LISTING = ("listing", "seller", "brand", "category", "size", "colour", "condition")
_FEW = ("listing", "person", "query")
"""A key with such a part sees fewer than 65,536 mentions in a bucket; if not, its count stops."""


@dataclass(frozen=True, slots=True)
class Family:
    """Rows of one shape for one key: `words` of 8 bytes each."""

    key: tuple[str, ...]
    windows: tuple[str, ...]
    words: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled view.

    Attributes:
        tables: what the kernel reads.
        families: what the families are, in the tables' order.
        given: names of the columns that the pipeline hands over, in order.
        width: how many columns.
        room: words that one mention may need in the arena.
    """

    tables: Tables
    families: tuple[Family, ...]
    given: tuple[str, ...]
    width: int
    room: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """What makes two counters share rows.

    `room` and `span_ms` are 0 where the mode has none; `counted` is what all cells count, where
    they must count the same.
    """

    mode: int
    key: tuple[str, ...]
    windows: tuple[str, ...]
    room: int = 0
    span_ms: int = 0
    counted: tuple[int, ...] = ()


_Cell = tuple[int, int, int, int, int]
"""Masks of kinds and surfaces, first and last position, what is kept: kernel.Tables.cells."""


@dataclass(frozen=True, slots=True)
class _Term:
    """An argument that is an integer of the state, by its number before sorting."""

    number: int


class _Compiler:
    """Collects families, terms and features while definitions are walked."""

    def __init__(self) -> None:
        self.families: dict[_Shape, int] = {}
        self.cells: list[dict[_Cell, int]] = []
        self.spans: list[int] = []
        self.terms: dict[tuple[int, int, int, int, int], int] = {}
        self.weights: list[float] = []
        self.features: list[tuple[int, list[_Term | int], tuple[float, float], int]] = []
        self.operands: dict[tuple[Ratio, str], int] = {}
        self.given: list[str] = []
        self.width = 0

    def term(
        self,
        shape: _Shape,
        kinds: tuple[str, ...],
        where: Where = ANYWHERE,
        *,
        window: str = "",
        what: int = 0,
        word: int = 0,
        weights: int = -1,
        span_ms: int = 0,
    ) -> _Term:
        family = self.families.setdefault(shape, len(self.families))
        if family == len(self.cells):
            self.cells.append({})
            self.spans.append(0)
        self.spans[family] = max(self.spans[family], span_ms, shape.span_ms)
        cell = (*_counted(kinds, where), what)
        number = self.cells[family].setdefault(cell, len(self.cells[family]))
        level = shape.windows.index(window) if window else 0
        return _Term(self.terms.setdefault((family, level, number, weights, word), len(self.terms)))

    def count(self, counter: Counter, window: str, weights: int = -1) -> _Term:
        few = any(part in _FEW for part in counter.key) and "ever" not in counter.windows
        shape = _Shape(kernel.NARROW if few else kernel.WIDE, counter.key, counter.windows)
        return self.term(shape, counter.kinds, counter.where, window=window, weights=weights)

    def feature(
        self,
        op: int,
        *args: _Term | int,
        parameters: tuple[float, float] = (0.0, 0.0),
        column: bool = True,
    ) -> int:
        self.features.append((op, list(args), parameters, self.width if column else -1))
        self.width += column
        return len(self.features) - 1

    def ratio(self, ratio: Ratio, window: str, *, column: bool) -> int:
        toward = -1
        if ratio.toward is not None:
            known = self.operands.get((ratio.toward, window))
            toward = self.ratio(ratio.toward, window, column=False) if known is None else known
        over, under = self.count(ratio.over, window), self.count(ratio.under, window)
        number = self.feature(
            kernel.OP_RATIO, over, under, toward, parameters=ratio.prior, column=column
        )
        self.operands.setdefault((ratio, window), number)
        return number

    def lift(self, lift: Lift, window: str) -> None:
        value, stated = f"declared.{lift.declared}", f"stated.{lift.declared}"
        keys = (
            ("listing", value), ("listing", stated), ("category", value), ("category", stated),
            ("all", value), ("all", stated),
        )  # fmt: skip
        counts = [
            self.count(Counter(lift.name, key, lift.kinds, lift.windows), window) for key in keys
        ]
        self.feature(kernel.OP_LIFT, *counts, parameters=(lift.strength, 0.0))

    def decay(self, decay: Decay, window: str) -> None:
        weights = len(self.weights)
        self.weights += _halved(window, decay.half_life_ms)
        self.feature(kernel.OP_DECAY, self.count(decay.of, window, weights))

    def money(self, definition: Sum | PriceGap, window: str, *, priced: int) -> _Term:
        shape = _Shape(kernel.MONEY, definition.key, definition.windows)
        return self.term(shape, definition.kinds, definition.where, window=window, what=priced)

    def time(self, definition: SinceLast | SinceFirst | Last | First) -> None:
        latest = isinstance(definition, SinceLast | Last)
        within = WINDOWS[definition.within if isinstance(definition, SinceLast | Last) else "ever"]
        keeps = isinstance(definition, Last | First)
        shape = _Shape(
            kernel.LATEST if latest else kernel.EARLIEST, definition.key, (), 2 if keeps else 1
        )
        what = STATICS.index(definition.of) if isinstance(definition, Last | First) else 0
        terms = [
            self.term(
                shape, definition.kinds, definition.where, what=what, word=word,
                span_ms=within.length_ms,
            )
            for word in range(shape.room)
        ]  # fmt: skip
        op = kernel.OP_CODE if keeps else kernel.OP_SINCE
        self.feature(op, *terms, parameters=(float(within.length_ms), 0.0))

    def last_k(self, last: LastK) -> None:
        span_ms, counted = WINDOWS[last.within].length_ms, _counted(last.kinds, last.where)
        shape = _Shape(kernel.LAST_K, last.key, (), last.k, span_ms, counted)
        what = STATICS.index(last.of)
        self.feature(kernel.OP_COUNT, self.term(shape, last.kinds, last.where, what=what))

    def distinct(self, distinct: Distinct) -> None:
        windows = [WINDOWS[window] for window in distinct.windows]
        longest = max(window.length_ms + window.hop_ms for window in windows)
        shape = _Shape(kernel.DISTINCT, distinct.key, distinct.windows, distinct.cap, longest)
        what = STATICS.index(distinct.of)
        for window in distinct.windows:
            term = self.term(shape, distinct.kinds, distinct.where, window=window, what=what)
            self.feature(kernel.OP_COUNT, term)

    def add(self, definition: Definition) -> None:
        match definition:
            case Counter():
                for window in definition.windows:
                    self.feature(kernel.OP_COUNT, self.count(definition, window))
            case Sum():
                for window in definition.windows:
                    self.feature(kernel.OP_COUNT, self.money(definition, window, priced=0))
            case Ratio():
                for window in definition.windows:
                    self.ratio(definition, window, column=True)
            case Trend(of=of, short=short, long=long):
                scale = WINDOWS[short].length_ms / WINDOWS[long].length_ms
                terms = (self.count(of, short), self.count(of, long))
                self.feature(kernel.OP_TREND, *terms, parameters=(scale, 0.0))
            case Decay():
                for window in definition.windows:
                    self.decay(definition, window)
            case SinceLast() | SinceFirst() | Last() | First():
                self.time(definition)
            case LastK():
                self.last_k(definition)
            case Distinct():
                self.distinct(definition)
            case Age():
                self.feature(kernel.OP_AGE)
            case Price():
                self.feature(kernel.OP_PRICE)
            case PriceGap():
                for window in definition.windows:
                    money = self.money(definition, window, priced=0)
                    priced = self.money(definition, window, priced=1)
                    self.feature(kernel.OP_GAP, money, priced)
            case Lift():
                for window in definition.windows:
                    self.lift(definition, window)
            case Given(name=name):
                self.feature(kernel.OP_GIVEN, len(self.given))
                self.given.append(name)
            case Static(of=of):
                self.feature(kernel.OP_STATIC, STATICS.index(of))


def _counted(kinds: Iterable[str], where: Where) -> tuple[int, int, int, int]:
    """Masks of kinds and surfaces, first and last position of the mentions that count."""
    first, last = where.positions or (-1, MAX_POSITION)
    return (
        _mask(KIND_CODE[kind] for kind in kinds),
        _mask(SURFACE_CODE[surface] for surface in where.surfaces) or -1,
        first,
        last,
    )


def _mask(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in set(bits))


def _halved(window: str, half_life_ms: int) -> list[float]:
    """[buckets] 2^(-age / half-life) by age in hops, correctly rounded on every machine."""
    hop_ms = WINDOWS[window].hop_ms
    with localcontext() as context:
        context.prec = 40
        two = Decimal(2)
        return [
            float(two ** (-Decimal(age * hop_ms) / Decimal(half_life_ms)))
            for age in range(WINDOWS[window].buckets)
        ]


def compile_plan(where: str, definitions: Sequence[Definition]) -> Plan:
    """The plan of a view.

    Raises:
        ConfigError: if the view needs more families than a packed key can tell apart, or more
            counters of one key than a mask.
    """
    _check_layout(where)
    compiler = _Compiler()
    for definition in definitions:
        compiler.add(definition)
    if len(compiler.families) > kernel.MAX_FAMILIES:
        raise ConfigError(
            where,
            [
                f"{len(compiler.families)} different pairs of key and windows; "
                f"at most {kernel.MAX_FAMILIES}: let counters of one key share their windows"
            ],
        )
    most = max(map(len, compiler.cells), default=0)
    if most > kernel.MAX_CELLS:
        raise ConfigError(
            where,
            [f"{most} counters of one key and windows; at most {kernel.MAX_CELLS}: make two views"],
        )
    return _pack(compiler)


def _check_layout(where: str) -> None:
    """The kernel reads the log's bytes by offsets of its own; they must be those of core."""
    of_event, of_listing = (
        {name: field[1] for name, field in (dtype.fields or {}).items()}
        for dtype in (EVENT_ROW, LISTING_ROW)
    )
    names = ("t", "kind", "surface", "person", "seller", "declared", "query")
    found = [
        *(of_event[name] for name in names), EVENT_ROW.itemsize,
        *(of_listing[name] for name in ("slot", *_OF_LISTING[1:], "position", "price_minor")),
        LISTING_ROW.itemsize, MAX_DECLARED,
    ]  # fmt: skip
    wanted = [
        kernel.E_T, kernel.E_KIND, kernel.E_SURFACE, kernel.E_PERSON, kernel.E_SELLER,
        kernel.E_DECLARED, kernel.E_QUERY, kernel.EVENT_BYTES, *range(0, 28, 4),
        kernel.L_POSITION, kernel.L_PRICE, kernel.LISTING_BYTES, kernel.DECLARED,
    ]  # fmt: skip
    kinds = [KIND_CODE[k] for k in (Kind.LISTED, Kind.EDITED, Kind.PRICE_CHANGED)]
    if found != wanted or kinds != [0, 1, 2]:
        raise ConfigError(
            where, ["core.facts or the kinds' codes changed: change the kernel's offsets with them"]
        )


def _pack(compiler: _Compiler) -> Plan:
    order = sorted(compiler.terms)
    number = {compiler.terms[term]: i for i, term in enumerate(order)}
    used = sorted({name for shape in compiler.families for name in shape.windows})
    families: list[Sequence[int]] = []
    named: list[Family] = []
    cells: list[_Cell] = []
    levels: list[Sequence[int]] = []
    direct = 0
    for shape, f in compiler.families.items():
        mine = compiler.cells[f]
        a, b, c = (STATICS.index(part) for part in (*shape.key, "all", "all")[:3])
        first_level = len(levels)
        words, mine_levels = _layout(shape, len(mine), used)
        levels.extend(mine_levels)
        wanted = [i for i, term in enumerate(order) if term[0] == f]
        by_slot = shape.key == ("listing",)
        fixed = not any(part in _OF_LISTING for part in shape.key)
        narrowed = any(cell[1:4] != (-1, -1, MAX_POSITION) for cell in mine)
        here = _in_map(shape, len(mine), weighted=any(order[i][3] >= 0 for i in wanted))
        span_ms = compiler.spans[f]
        if here == kernel.RING_HERE:
            span_ms = WINDOWS[shape.windows[0]].hop_ms << kernel.PACKED_EPOCH_BITS
        families.append(
            (
                shape.mode, a, b, c, len(mine), words, first_level, len(shape.windows), len(cells),
                wanted[0], len(wanted), direct if by_slot else -1, fixed, narrowed, shape.room,
                span_ms, here,
            )
        )  # fmt: skip
        direct += by_slot
        named.append(Family(shape.key, shape.windows, words))
        cells.extend(mine)
    counted = [
        [
            (f, mask)
            for f, mine in enumerate(compiler.cells)
            if (mask := _mask(i for cell, i in mine.items() if cell[0] >> code & 1))
        ]
        for code in range(len(KIND_CODE))
    ]
    features, operands = _features(compiler, number)
    kept = [_declared((STATICS[cell[4]],)) for cell in cells]
    tables = Tables(
        families=_table(families, 17),
        cells=_table(cells, 5),
        windows=_table(
            [(w.hop_ms, w.length_ms, w.buckets) for w in (WINDOWS[name] for name in used)], 3
        ),
        levels=_table(levels, 3),
        kind_starts=np.cumsum([0, *map(len, counted)], dtype=np.int64),
        kind_families=np.array([f for row in counted for f, _ in row], dtype=np.int64),
        kind_cells=np.array([mask for row in counted for _, mask in row], dtype=np.int64),
        terms=_table([(cell, level, weights, word) for _, level, cell, weights, word in order], 4),
        weights=np.array(compiler.weights, np.float64),
        features=_table(features, 9),
        parameters=np.array([p for _, _, p, _ in compiler.features], np.float64).reshape(-1, 2),
        sizes=np.array(
            [
                max([0, *(_declared(shape.key) for shape in compiler.families), *kept]),
                operands,
                direct,
                sum(shape.mode >= kernel.LATEST and shape.room > 1 for shape in compiler.families),
            ],
            np.int64,
        ),
    )
    room = sum(family.words for family in named)
    return Plan(tables, tuple(named), tuple(compiler.given), compiler.width, room)


def _features(compiler: _Compiler, number: dict[int, int]) -> tuple[list[Sequence[int]], int]:
    """Rows of Tables.features, and how many of them are operands of others."""
    plain = [
        (op, [number[arg.number] if isinstance(arg, _Term) else arg for arg in args], column)
        for op, args, _, column in compiler.features
    ]
    operands = {
        j: i
        for i, j in enumerate(
            sorted({args[2] for op, args, _ in plain if op == kernel.OP_RATIO and args[2] >= 0})
        )
    }
    rows: list[Sequence[int]] = []
    for j, (op, args, column) in enumerate(plain):
        if op == kernel.OP_RATIO:
            args[2] = operands.get(args[2], -1)
        rows.append((op, *args, *[-1] * (6 - len(args)), column, operands.get(j, -1)))
    return rows, len(operands)


def _declared(parts: Iterable[str]) -> int:
    """How many declared attributes must be known for these parts: the last one's number + 1."""
    return max((int(part.partition(".")[2]) + 1 for part in parts if "." in part), default=0)


def _in_map(shape: _Shape, cells: int, *, weighted: bool) -> int:
    """Whether a family's rows stand in the map, beside their keys: kernel.F_IN_MAP.

    There is room for one word, if the key has no third part. Most of the keys are pairs of a
    person and something: this is what makes them small.
    """
    if cells > 1 or len(shape.key) > 2 or shape.key == ("listing",):
        return kernel.ELSEWHERE
    if shape.mode in (kernel.LATEST, kernel.EARLIEST):
        return kernel.TIME_HERE if shape.room == 1 else kernel.ELSEWHERE
    if shape.mode != kernel.NARROW or len(shape.windows) > 1 or weighted:
        return kernel.ELSEWHERE
    bits = WINDOWS[shape.windows[0]].buckets * kernel.PACKED_COUNT_BITS
    return kernel.RING_HERE if bits <= kernel.PACKED_COUNTS_BITS else kernel.ELSEWHERE


def _layout(
    shape: _Shape, cells: int, used: Sequence[str]
) -> tuple[int, list[tuple[int, int, int]]]:
    """Words of a row, and (window, offset of its epoch, offset of its buckets) of each level.

    Offsets count in what the mode's ring is made of: epochs and totals in int32 (money: int64),
    buckets in uint16, int32 or int64.
    """
    if shape.mode in (kernel.LATEST, kernel.EARLIEST):
        return shape.room * cells, []
    if shape.mode == kernel.LAST_K:
        return -(-(1 + shape.room * (1 + cells)) // 2), []
    if shape.mode == kernel.DISTINCT:
        return shape.room * cells, [(used.index(name), 0, 0) for name in shape.windows]
    halves = 2 if shape.mode == kernel.NARROW else 1
    heads = len(shape.windows) * (1 + cells)
    levels, at = [], heads * halves
    for i, name in enumerate(shape.windows):
        levels.append((used.index(name), i * (1 + cells), at))
        at += WINDOWS[name].buckets * cells
    per_word = {kernel.NARROW: 4, kernel.WIDE: 2, kernel.MONEY: 1}[shape.mode]
    return -(-at // per_word), levels


def _table(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, width)
