"""Ablation: what each column, and each group of columns, is worth to a ranker.

Two ways to take it away. Permutation breaks the tie between a column and its rows on held-out
slates (Breiman, "Random forests", Machine Learning 2001, section 10; for groups, Au et al.,
"Grouped feature importance and combined features effect plot", DMKD 2022): cheap, but columns that
say the same cover for each other, and the ranker meets rows that never occur. Retraining without a
group says what would be lost if it were no longer computed: a fit for each group.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import SURFACE_CODE, Kind
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.intervals import bootstrap_columns
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.pipelines.training_report import Drops, Fitted, Orders, by_first_score, dropped
from heirloom.ranking.examples import shuffled_within, starts_of, take
from heirloom.ranking.ranker import Examples, Probabilities, Ranker

Groups = Mapping[str, Sequence[str]]
"""Columns of each group; a column is in one group at most."""
Floats = NDArray[np.float64]

K = 10
SURFACES = {code: name for name, code in SURFACE_CODE.items()}
_LEAST = 20
"""Fewer slates give no interval worth reading."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a ranker's scores are held against.

    Attributes:
        name: of the action, or "gain".
        values: [rows] float32; what was gained, or 1 done, 0 not; NaN where it is not known.
        chance: the column of the scores that is this action's probability, judged by its
            log-likelihood; None: what the scores order by is judged by NDCG@10.
    """

    name: str
    values: NDArray[np.float32]
    chance: int | None = None

    @property
    def metric(self) -> str:
        """Its name."""
        return f"ndcg@{K}" if self.chance is None else "log_likelihood"


def labels_of_gains(gains: NDArray[np.float32], worth: Mapping[str, float]) -> tuple[Label, ...]:
    """The gain, and what can be told of actions by it: anything done, and more than a click.

    More than a click is known only where every other action is worth more than one.

    >>> found = labels_of_gains(np.array([0, 1, 7], np.float32), {"click": 1.0, "purchase": 6.0})
    >>> {label.name: label.values.tolist() for label in found[1:]}
    {'any_action': [0.0, 1.0, 1.0], 'beyond_click': [0.0, 0.0, 1.0]}
    """
    click = worth.get(Kind.CLICK.value, 0.0)
    labels = [Label("gain", gains), Label("any_action", (gains > 0).astype(np.float32))]
    others = [gain for kind, gain in worth.items() if gain > 0 and kind != Kind.CLICK]
    if click > 0 and others and min(others) > click:
        labels.append(Label("beyond_click", (gains > click).astype(np.float32)))
    return tuple(labels)


def labels_of_actions(ranker: Ranker, examples: Examples) -> tuple[Label, ...]:
    """One for each probability that the ranker gives, of rows that were shown."""
    if not isinstance(ranker, Probabilities) or examples.done is None:
        return ()
    done = examples.done.copy()
    if examples.drawn is not None:
        done[examples.drawn] = np.nan
    column = {name: i for i, name in enumerate(ranker.actions)}
    return tuple(
        Label(name, done[:, i], column[name])
        for i, name in enumerate(examples.actions)
        if name in column
    )


def groups_by_first_word(columns: Iterable[str]) -> dict[str, list[str]]:
    """Columns by the first word of their names: a plain rule, for who has no table of groups.

    >>> groups_by_first_word(["v@1.person_idle", "v@1.price", "v@1.person_acted_7d"])
    {'person': ['v@1.person_idle', 'v@1.person_acted_7d'], 'price': ['v@1.price']}
    """
    groups: dict[str, list[str]] = {}
    for column in columns:
        groups.setdefault(column.rpartition(".")[2].partition("_")[0], []).append(column)
    return groups


def importance(
    ranker: Ranker,
    test: Examples,
    surfaces: NDArray[np.int8],
    labels: Sequence[Label],
    groups: Groups,
    *,
    rows: int,
    seed: int,
    orders: Orders = by_first_score,
) -> tuple[Drops, ...]:
    """What is lost when columns, and groups of columns, are permuted, on held-out slates.

    A column that varies within slates is permuted within each: the slate, its size and its gains
    stay. One that is the same for all rows of every slate (the hour, who asks) goes as a whole to
    another slate.

    Args:
        ranker: fitted, without having seen `test`.
        test: held-out examples.
        surfaces: [rows] int8 of `test`.
        labels: of `test`; each gives a table for all and for each surface.
        groups: columns of each group.
        rows: so many rows are scored in all, the budget; slates are drawn evenly to keep to it.
            Rows and not seconds, so that the same training gives the same report.
        seed: of the draw and the permutations.
        orders: what the ranker's scores order by.

    Returns:
        By label and surface, a table of columns and one of groups; none with too few slates.

    Raises:
        InputError: a group names a column that the ranker was not trained on, or that another
            group has.
    """
    _check(groups, ranker.columns)
    singles = {name: [name] for name in ranker.columns}
    variants: list[tuple[str, Groups]] = [("column", singles), ("group", groups)]
    count = 1 + sum(len(each) for _, each in variants)
    drawn = _slates_within(test, rows // count, seed)
    sample, labels = take(test, drawn), _of_rows(labels, drawn)
    judge = _Judge.of(sample, surfaces[drawn], labels, orders)
    shuffle = _Permutation.of(sample, seed)
    whole = judge(ranker, sample)
    found: list[Drops] = []
    for of, table in variants:
        without = [
            judge(ranker, replace(sample, values=shuffle(columns))) for columns in table.values()
        ]
        found += judge.tables(of, whole, dict(zip(table, without, strict=True)), seed)
    return tuple(found)


def retrained_without(fitted: Fitted, labels: Sequence[Label], groups: Groups) -> tuple[Drops, ...]:
    """What is lost when a ranker is fitted again without each group, on the held-out slates.

    Args:
        fitted: what was fitted with all columns.
        labels: of the held-out examples.
        groups: columns of each group.

    Raises:
        InputError: as `importance`, or a group that leaves no column.
    """
    columns = fitted.examples.columns
    _check(groups, columns)
    test = take(fitted.examples, fitted.test)
    judge = _Judge.of(test, fitted.surfaces[fitted.test], labels, fitted.orders)
    whole = judge(fitted.ranker, test)
    without = {}
    for name, members in groups.items():
        kept = [i for i, column in enumerate(columns) if column not in members]
        if not kept:
            raise InputError(f"ablation: group {name!r} is all columns; there is nothing to fit")
        ranker = fitted.fit(_only(fitted.examples, kept), fitted.learn, fitted.validation)
        without[name] = judge(ranker, _only(test, kept))
    return tuple(judge.tables("retrained", whole, without, fitted.seed))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Metrics of each slate, for each label.

    Attributes:
        of_slate: for each label, [slates] which of the sample's slates have a value.
        on: [slates] surface codes of all the sample's slates.
        surfaces: [rows] int8.
        orders: what scores order by.
    """

    examples: Examples
    labels: Sequence[Label]
    of_slate: tuple[NDArray[np.intp], ...]
    on: NDArray[np.int8]
    surfaces: NDArray[np.int8]
    orders: Orders

    @classmethod
    def of(
        cls,
        examples: Examples,
        surfaces: NDArray[np.int8],
        labels: Sequence[Label],
        orders: Orders,
    ) -> "_Judge":
        starts = starts_of(examples.groups)
        kept = []
        for label in labels:
            tells = label.values > 0 if label.chance is None else ~np.isnan(label.values)
            each = np.logical_or.reduceat(tells, starts) if len(starts) else np.zeros(0, bool)
            kept.append(np.flatnonzero(each))
        return cls(examples, labels, tuple(kept), surfaces[starts], surfaces, orders)

    def __call__(self, ranker: Ranker, examples: Examples) -> list[Floats]:
        """For each label, [slates that have a value] its metric; of the same rows, changed."""
        groups, found = self.examples.groups, []
        order = self.orders(ranker, examples, self.surfaces)
        chances = None
        if any(label.chance is not None for label in self.labels):
            chances = ranker.score(FeatureBatch(examples.values, examples.columns, 0))
        for label in self.labels:
            if label.chance is None or chances is None:
                found.append(grouped_ndcg(order, np.nan_to_num(label.values), groups, K))
            else:
                found.append(_log_likelihood(chances[:, label.chance], label.values, groups))
        return found

    def tables(
        self, of: str, whole: list[Floats], without: Mapping[str, list[Floats]], seed: int
    ) -> Iterator[Drops]:
        """By label and surface, paired differences with their intervals."""
        for i, label in enumerate(self.labels):
            on = self.on[self.of_slate[i]]
            for code in (None, *np.unique(on).tolist()):
                slates = np.flatnonzero(on == code) if code is not None else np.arange(len(on))
                if len(slates) < _LEAST or not without:
                    continue
                each = np.stack([whole[i][slates] - w[i][slates] for w in without.values()], axis=1)
                drops = [
                    dropped(name, interval)
                    for name, interval in zip(
                        without, bootstrap_columns(each, seed=seed), strict=True
                    )
                ]
                yield Drops(
                    of=of,
                    label=label.name,
                    metric=label.metric,
                    surface="all" if code is None else SURFACES.get(code, "none"),
                    slates=len(slates),
                    value=round(float(whole[i][slates].mean()), 6),
                    drops=tuple(sorted(drops, key=lambda drop: (-drop.mean, drop.name))),
                )


@dataclass(frozen=True, slots=True)
class _Permutation:
    """Rows in another order, the same in every call, so that differences are paired.

    Attributes:
        within: [rows] each row's stand-in, of its own slate.
        between: [rows] each row's stand-in, the first row of another slate.
        constant: columns that are the same for all rows of each slate.
    """

    examples: Examples
    within: NDArray[np.intp]
    between: NDArray[np.intp]
    constant: frozenset[str]

    @classmethod
    def of(cls, examples: Examples, seed: int) -> "_Permutation":
        rng = np.random.default_rng([seed, 1])
        starts = starts_of(examples.groups)
        member = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(examples.groups))))
        bits = np.ascontiguousarray(examples.values).view(np.uint32)
        same = (bits == bits[starts][member]).all(axis=0)
        return cls(
            examples,
            shuffled_within(examples.groups, rng),
            starts[rng.permutation(len(starts))][member],
            frozenset(np.array(examples.columns)[same].tolist()),
        )

    def __call__(self, columns: Sequence[str]) -> NDArray[np.float32]:
        """[rows, features] float32, with these columns from other rows; together, from the same."""
        values = self.examples.values.copy()
        for column in columns:
            i = self.examples.columns.index(column)
            rows = self.between if column in self.constant else self.within
            values[:, i] = self.examples.values[rows, i]
        return values


def _log_likelihood(
    chances: NDArray[np.float32], done: NDArray[np.float32], groups: NDArray[np.int64]
) -> Floats:
    """[slates] float64, mean over a slate's known rows; slates without one are left out."""
    known = ~np.isnan(done)
    p = np.clip(chances.astype(np.float64), 1e-7, 1 - 1e-7)
    each = np.where(done > 0, np.log(p), np.log1p(-p))
    starts = starts_of(groups)
    number = np.add.reduceat(known, starts)
    total = np.add.reduceat(np.where(known, each, 0.0), starts)
    result: Floats = total[number > 0] / number[number > 0]
    return result


def _slates_within(examples: Examples, rows: int, seed: int) -> NDArray[np.intp]:
    """Rows of whole slates, drawn evenly, about so many and at least those of one slate."""
    starts = starts_of(examples.groups)
    sizes = np.diff(np.append(starts, len(examples.groups)))
    order = np.random.default_rng([seed, 0]).permutation(len(starts))
    count = max(int(np.searchsorted(np.cumsum(sizes[order]), rows, side="right")), 1)
    chosen = np.zeros(len(starts), bool)
    chosen[order[:count]] = True
    return np.flatnonzero(np.repeat(chosen, sizes))


def _of_rows(labels: Sequence[Label], rows: NDArray[np.intp]) -> tuple[Label, ...]:
    return tuple(replace(label, values=label.values[rows]) for label in labels)


def _only(examples: Examples, columns: list[int]) -> Examples:
    return replace(
        examples,
        values=np.ascontiguousarray(examples.values[:, columns]),
        columns=tuple(examples.columns[i] for i in columns),
    )


def _check(groups: Groups, columns: Sequence[str]) -> None:
    known, seen = set(columns), dict[str, str]()
    for name, members in groups.items():
        for column in members:
            if column not in known:
                raise InputError(
                    f"ablation: group {name!r} names {column!r}, which the ranker was not trained "
                    f"on; name some of its {len(columns)} columns (`heirloom features`)"
                )
            if column in seen:
                raise InputError(
                    f"ablation: {column!r} is in groups {seen[column]!r} and {name!r}; a column "
                    "is in one group, or its part would be counted twice"
                )
            seen[column] = name
