"""From definitions to the arrays that the kernel reads: families, cells, levels, terms, features.

A *family* is one key with one set of windows: its counters share ring rows. A *cell* is one
counter of a family, a *level* one of its windows, a *term* one integer that a feature wants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.features import kernel
from heirloom.features.algebra import (
    STATICS,
    Age,
    Counter,
    Definition,
    Given,
    Lift,
    Price,
    PriceGap,
    Ratio,
    SinceFirst,
    SinceLast,
    Static,
    Trend,
)
from heirloom.features.kernel import Tables
from heirloom.features.windows import WINDOWS


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled view.

    Attributes:
        tables: what the kernel reads.
        given: names of the columns that the pipeline hands over, in order.
        width: how many columns.
        room: cells that one mention may need in an arena.
        families: key and windows of each family, in the order of the tables.
    """

    tables: Tables
    given: tuple[str, ...]
    width: int
    room: int
    families: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Term:
    """An argument that is an integer of the state, by its number before sorting."""

    number: int


class _Compiler:
    """Collects families, terms and features while definitions are walked."""

    def __init__(self) -> None:
        self.families: dict[tuple[int, tuple[str, ...], tuple[str, ...]], int] = {}
        self.cells: list[dict[tuple[int, int], int]] = []
        self.terms: dict[tuple[int, int, int], int] = {}
        self.features: list[tuple[int, list[_Term | int], tuple[float, float], int]] = []
        self.operands: dict[tuple[Ratio, str], int] = {}
        self.given: list[str] = []
        self.width = 0

    def term(
        self,
        mode: int,
        key: tuple[str, ...],
        windows: tuple[str, ...],
        kinds: tuple[str, ...],
        *,
        window: str = "",
        priced: int = 0,
    ) -> _Term:
        family = self.families.setdefault((mode, key, windows), len(self.families))
        if family == len(self.cells):
            self.cells.append({})
        mask = sum(1 << code for code in {KIND_CODE[kind] for kind in kinds})
        cell = self.cells[family].setdefault((mask, priced), len(self.cells[family]))
        level = windows.index(window) if windows else 0
        return _Term(self.terms.setdefault((family, cell, level), len(self.terms)))

    def count(self, counter: Counter, window: str) -> _Term:
        return self.term(kernel.COUNT, counter.key, counter.windows, counter.kinds, window=window)

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
            self.term(kernel.COUNT, key, lift.windows, lift.kinds, window=window) for key in keys
        ]
        self.feature(kernel.OP_LIFT, *counts, parameters=(lift.strength, 0.0))

    def add(self, definition: Definition) -> None:
        match definition:
            case Counter():
                for window in definition.windows:
                    self.feature(kernel.OP_COUNT, self.count(definition, window))
            case Ratio():
                for window in definition.windows:
                    self.ratio(definition, window, column=True)
            case Trend(of=of, short=short, long=long):
                scale = WINDOWS[short].length_ms / WINDOWS[long].length_ms
                terms = (self.count(of, short), self.count(of, long))
                self.feature(kernel.OP_TREND, *terms, parameters=(scale, 0.0))
            case SinceLast(key=key, kinds=kinds):
                self.feature(kernel.OP_SINCE, self.term(kernel.LAST, key, (), kinds))
            case SinceFirst(key=key, kinds=kinds):
                self.feature(kernel.OP_SINCE, self.term(kernel.FIRST, key, (), kinds))
            case Age():
                self.feature(kernel.OP_AGE)
            case Price():
                self.feature(kernel.OP_PRICE)
            case PriceGap(key=key, kinds=kinds, windows=windows):
                for window in windows:
                    money = self.term(kernel.MONEY, key, windows, kinds, window=window)
                    priced = self.term(kernel.MONEY, key, windows, kinds, window=window, priced=1)
                    self.feature(kernel.OP_GAP, money, priced)
            case Lift():
                for window in definition.windows:
                    self.lift(definition, window)
            case Given(name=name):
                self.feature(kernel.OP_GIVEN, len(self.given))
                self.given.append(name)
            case Static(of=of):
                self.feature(kernel.OP_STATIC, STATICS.index(of))


def compile_plan(where: str, definitions: Sequence[Definition]) -> Plan:
    """The plan of a view.

    Raises:
        ConfigError: if the view needs more families than a packed key can tell apart.
    """
    if [KIND_CODE[k] for k in (Kind.LISTED, Kind.EDITED, Kind.PRICE_CHANGED)] != [0, 1, 2]:
        raise ConfigError(where, ["the codes of the stock kinds moved; see kernel.LISTED"])
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
    return _pack(compiler)


def _pack(compiler: _Compiler) -> Plan:
    order = sorted(compiler.terms, key=lambda term: (term[0], term[2], term[1]))
    number = {compiler.terms[term]: i for i, term in enumerate(order)}
    used = sorted({name for _, _, names in compiler.families for name in names})
    families: list[Sequence[int]] = []
    cells: list[Sequence[int]] = []
    levels: list[Sequence[int]] = []
    for (mode, key, names), f in compiler.families.items():
        mine = compiler.cells[f]
        a, b = (STATICS.index(part) for part in (*key, "all")[:2])
        first_level, width = len(levels), len(names)
        for name in names:
            levels.append((used.index(name), width))
            width += WINDOWS[name].buckets * len(mine)
        wanted = [i for i, term in enumerate(order) if term[0] == f]
        width = width if names else len(mine)
        row = (mode, a, b, len(mine), width, first_level, len(names), len(cells))
        families.append((*row, wanted[0], len(wanted)))
        cells.extend(mine)
    counted = [
        [f for f, mine in enumerate(compiler.cells) if any(mask >> code & 1 for mask, _ in mine)]
        for code in range(len(KIND_CODE))
    ]
    features = []
    for op, args, _, column in compiler.features:
        plain = [number[arg.number] if isinstance(arg, _Term) else arg for arg in args]
        features.append((op, *plain, *[-1] * (6 - len(plain)), column))
    tables = Tables(
        families=_table(families, 10),
        cells=_table(cells, 2),
        windows=_table(
            [(w.hop_ms, w.length_ms, w.buckets) for w in (WINDOWS[name] for name in used)], 3
        ),
        levels=_table(levels, 2),
        kind_starts=np.cumsum([0, *map(len, counted)], dtype=np.int64),
        kind_families=np.array([f for row in counted for f in row], dtype=np.int64),
        terms=_table([term[1:] for term in order], 2),
        features=_table(features, 8),
        parameters=np.array([p for _, _, p, _ in compiler.features], np.float64).reshape(-1, 2),
    )
    room = sum(family[kernel.F_WIDTH] for family in families)
    named = tuple((key, windows) for _, key, windows in compiler.families)
    return Plan(tables, tuple(compiler.given), compiler.width, room, named)


def _table(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, width)
