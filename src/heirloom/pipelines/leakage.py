"""Leakage: did the ranker learn from what it cannot know when it serves?

Checks that every training makes on its examples; the one by time is in `as_of`. What they look for
is listed by Kaufman, Rosset, Perlich and Stitelman, "Leakage in data mining: formulation,
detection, and avoidance", TKDD 2012.

- Shuffled labels: with the gains of each slate dealt to its rows at random there is nothing to
  learn, so the metric must fall to chance (Zhang et al., "Understanding deep learning requires
  rethinking generalization", ICLR 2017; Ojala and Garriga, "Permutation tests for studying
  classifier performance", JMLR 2010). If it does not, labels reach the scores by another way: a
  slate on both sides of the split, a column made of labels, a metric that sees the order of rows.
- One column too good: what tells the label by itself nearly always, or carries nearly all that the
  ranker knows, is more often an echo of the label than a discovery.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heirloom.evaluation.intervals import bootstrap_columns
from heirloom.evaluation.metrics import chance_ndcg, grouped_auc, grouped_ndcg
from heirloom.pipelines.ablation import K
from heirloom.pipelines.training_report import Drops, Finding, Fitted
from heirloom.ranking.examples import shuffled_within, take
from heirloom.ranking.ranker import Examples

SURE = 4.0
"""Standard errors above chance: less than once in ten thousand, if nothing leaks."""
MIN_SLATES = 20
Derive = Callable[[Examples], Examples]


@dataclass(frozen=True, slots=True)
class Limits:
    """When one column is too good.

    Attributes:
        auc: of the column alone within slates, at the interval's lower end.
        share: of what the ranker gains over chance, lost when the column is permuted.
        alone: of what the ranker gains over chance, gained by the column alone.
        times: as much is lost as by permuting the next column.
        allowed: columns that a person has looked into and found sound.
    """

    auc: float = 0.95
    share: float = 0.6
    alone: float = 0.8
    times: float = 3.0
    allowed: tuple[str, ...] = ()


def shuffled_labels(
    fitted: Fitted, *, slates: int, derive: Derive = lambda examples: examples
) -> Finding:
    """Fit again on gains dealt at random within each slate, and hold that against chance.

    The gains of the held-out slates are dealt too, once and before everything else, so that mean
    and spread of the metric are known exactly (`chance_ndcg`), whatever the ranker learned.

    Args:
        fitted: the training; its split and settings are used.
        slates: at most so many are used, drawn evenly; half of them to judge by.
        derive: what is done with examples once they have labels, if anything: a column or a
            weight made of labels must be made again of those dealt.
    """
    examples = derive(with_labels_dealt(fitted.examples, fitted.seed))
    learn, validation, rows = (
        _some(examples, part, round(slates * share), fitted.seed)
        for part, share in ((fitted.learn, 0.35), (fitted.validation, 0.15), (fitted.test, 0.5))
    )
    sizes = [_gained(take(examples, part)) for part in (learn, validation, rows)]
    if min(sizes) < MIN_SLATES:
        text = f"not made: {sizes} slates to learn, stop and judge by; wanted {MIN_SLATES} each"
        return Finding(check="shuffled labels", holds=None, text=text)
    test = take(examples, rows)
    ranker = fitted.fit(examples, learn, validation)
    scores = fitted.orders(ranker, test, fitted.surfaces[rows])
    got = grouped_ndcg(scores, test.gains, test.groups, K)
    chance, variance = chance_ndcg(test.gains, test.groups, K)
    gap = float((got - chance).mean())
    wide = SURE * float(np.sqrt(variance.sum())) / len(chance)
    holds = gap <= wide
    reached = (
        f"NDCG@{K} {got.mean():.4f}, by chance {chance.mean():.4f} ± {wide:.4f} "
        f"on {len(chance)} slates"
    )
    text = f"with labels dealt at random within slates the metric falls to chance ({reached})"
    if not holds:
        text = (
            f"with labels dealt at random within slates the metric stays above chance ({reached}), "
            "so the labels reach the scores by a way other than learning: look for a column or "
            "weight made of labels, slates that are learned from and tested on, or a `fit` that "
            "reads what it is judged by"
        )
    return Finding(
        check="shuffled labels",
        holds=holds,
        text=text,
        numbers={
            "ndcg": float(got.mean()), "chance": float(chance.mean()), "gap": gap, "wide": wide,
            "slates": len(chance),
        },
    )  # fmt: skip


def too_good(fitted: Fitted, drops: Sequence[Drops], limits: Limits, *, slates: int) -> Finding:
    """Whether one column tells the label nearly by itself, or carries nearly all of the ranker.

    Args:
        fitted: the training.
        drops: as `ablation.importance` gave them; those of columns, by gain, on all surfaces.
        limits: when it is too good.
        slates: of the held-out ones, at most so many are looked at.
    """
    rows = _some(fitted.examples, fitted.test, slates, fitted.seed)
    test = take(fitted.examples, rows)
    aucs, ndcgs = _alone(test)
    if not len(aucs) or aucs.shape[0] < MIN_SLATES:
        text = f"not made: {len(aucs)} held-out slates were acted on in part; wanted {MIN_SLATES}"
        return Finding(check="one column too good", holds=None, text=text)
    chance = float(chance_ndcg(test.gains, test.groups, K)[0].mean())
    scores = fitted.orders(fitted.ranker, test, fitted.surfaces[rows])
    lift = float(grouped_ndcg(scores, test.gains, test.groups, K).mean()) - chance
    lost = _lost(drops)
    suspects: dict[str, str] = {}
    for i, (column, auc) in enumerate(
        zip(test.columns, bootstrap_columns(aucs, seed=fitted.seed), strict=True)
    ):
        if auc.low >= limits.auc:
            suspects[column] = f"by itself it has an AUC of {auc.mean:.3f} within slates"
        elif _dominates(column, lost, lift, ndcgs[i] - chance, limits):
            suspects[column] = (
                f"permuted, it takes {lost[column] / lift:.0%} of what the ranker gains over chance"
                f", and by itself it gives {(ndcgs[i] - chance) / lift:.0%}"
            )
    strongest = int(aucs.mean(axis=0).argmax())
    numbers = {"auc": float(aucs[:, strongest].mean()), "lift": lift, "chance": chance}
    known = {column for column in suspects if _name(column) in limits.allowed}
    found = [column for column in suspects if column not in known]
    told = "; ".join(f"{column}: {suspects[column]}" for column in [*found, *sorted(known)])
    text = (
        f"no column tells the label by itself: at best {_name(test.columns[strongest])}, with an "
        f"AUC of {numbers['auc']:.3f} within slates"
    )
    if suspects and not found:
        text = f"too good, and allowed by name: {told}"
    elif found:
        text = (
            f"{told}. It is likely to be made of what came after the impression: see where its "
            "value comes from (`heirloom features explain`); if it is sound, name it in "
            "[training.audit] allowed"
        )
    return Finding(
        check="one column too good", holds=not found, text=text, columns=tuple(suspects),
        numbers=numbers,
    )  # fmt: skip


def with_labels_dealt(examples: Examples, seed: int) -> Examples:
    """The examples with the gains of each slate dealt at random to its rows."""
    order = shuffled_within(examples.groups, np.random.default_rng([seed, 2]))
    done = None if examples.done is None else examples.done[order]
    return replace(examples, gains=examples.gains[order], done=done)


def _gained(examples: Examples) -> int:
    """On how many slates something was gained."""
    return len(np.unique(examples.groups[examples.gains > 0]))


def _alone(test: Examples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[slates, columns] float64, AUC of each column alone, and [columns], its mean NDCG@K.

    Which way it orders is chosen for it: 0.5 and more. Missing counts as lowest.
    """
    acted = test.gains > 0
    aucs, ndcgs = [], []
    for column in np.where(np.isnan(test.values), -np.inf, test.values).T:
        auc = grouped_auc(column, acted, test.groups)
        down = bool(len(auc)) and auc.mean() < 0.5
        aucs.append(1 - auc if down else auc)
        ndcgs.append(_ndcg_without_ties(-column if down else column, test))
    return np.array(aucs).T, np.array(ndcgs)


def _ndcg_without_ties(scores: NDArray[np.float32], test: Examples) -> float:
    """NDCG@K, equal scores in a random order: the order of rows may say what was acted on."""
    order = shuffled_within(test.groups, np.random.default_rng(0))
    found = grouped_ndcg(scores[order], test.gains[order], test.groups, K)
    return float(found.mean()) if len(found) else 0.0


def _lost(drops: Sequence[Drops]) -> dict[str, float]:
    """By column, NDCG that is lost when it is permuted."""
    for table in drops:
        if (table.of, table.label, table.surface) == ("column", "gain", "all"):
            return {drop.name: drop.mean for drop in table.drops}
    return {}


def _dominates(
    column: str, lost: dict[str, float], lift: float, alone: float, limits: Limits
) -> bool:
    mine = lost.get(column, 0.0)
    if lift <= 0 or mine < limits.share * lift or alone < limits.alone * lift:
        return False
    others = max((drop for name, drop in lost.items() if name != column), default=0.0)
    return mine >= limits.times * others


def _some(examples: Examples, rows: NDArray[np.intp], slates: int, seed: int) -> NDArray[np.intp]:
    """Of these rows, those of at most so many slates, drawn evenly, whole."""
    groups = np.unique(examples.groups[rows])
    if len(groups) > slates:
        groups = np.random.default_rng([seed, 3]).choice(groups, max(slates, 1), replace=False)
    return rows[np.isin(examples.groups[rows], groups)]


def _name(column: str) -> str:
    return column.rpartition(".")[2]
