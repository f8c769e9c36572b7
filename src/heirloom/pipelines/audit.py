"""The audit of a training: importance of features, ablation if asked for, checks of leakage."""

from collections.abc import Callable
from dataclasses import dataclass

from heirloom.core.log import EventLog
from heirloom.pipelines.ablation import (
    Groups,
    groups_by_first_word,
    importance,
    labels_of_actions,
    labels_of_gains,
    retrained_without,
)
from heirloom.pipelines.as_of import Empty, as_of_actions, as_of_impressions
from heirloom.pipelines.leakage import Limits, shuffled_labels, too_good
from heirloom.pipelines.train import Recipe
from heirloom.pipelines.training_report import Audit, Drops, Finding, Fitted, TrainingReport
from heirloom.ranking.examples import take

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What an audit may cost; 0 leaves a part out.

    Counted in rows, slates and log entries, not in seconds: the same training must give the same
    bundle, and the report lies in it. With the default ranker each takes a few seconds.

    Attributes:
        rows: scored for importance.
        slates: for the fit on shuffled labels.
        entries: folded again, three times, to check features as of the impression.
        actions: of a log without impressions, looked up again for the same.
    """

    rows: int = 1_000_000
    slates: int = 1_200
    entries: int = 10_000
    actions: int = 100


def auditor(
    log: EventLog,
    empty: Empty,
    recipe: Recipe,
    *,
    groups: Groups | None = None,
    budget: Budget | None = None,
    limits: Limits | None = None,
    ablate: bool = False,
    impressions: bool = True,
    progress: Told = lambda *_: None,
) -> Audit:
    """What `train` calls once it has fitted and evaluated.

    Args:
        log: that is learned from.
        empty: makes an empty state over a part of it.
        recipe: by which examples are made.
        groups: of columns; without, by the first word of their names.
        budget: what it may cost.
        limits: when one column is too good.
        ablate: also fit again without each group.
        impressions: whether the log has them.
        progress: told now and then.
    """
    budget, limits = budget or Budget(), limits or Limits()

    def audit(fitted: Fitted) -> TrainingReport:
        columns = fitted.examples.columns
        table = groups_by_first_word(columns) if groups is None else groups
        test = take(fitted.examples, fitted.test)
        labels = labels_of_gains(test.gains, fitted.gains)
        labels += labels_of_actions(fitted.ranker, test)
        steps = 4 + ablate
        progress("audit", 0, steps)
        drops: tuple[Drops, ...] = ()
        if budget.rows:
            drops = importance(
                fitted.ranker, test, fitted.surfaces[fitted.test], labels, table,
                rows=budget.rows, seed=fitted.seed, orders=fitted.orders,
            )  # fmt: skip
        progress("audit", 1, steps)
        findings: list[Finding] = [too_good(fitted, drops, limits, slates=max(budget.slates, 200))]
        progress("audit", 2, steps)
        if budget.slates:
            findings.append(shuffled_labels(fitted, slates=budget.slates))
        progress("audit", 3, steps)
        if impressions and budget.entries:
            findings.append(
                as_of_impressions(log, empty, fitted.examples, recipe, entries=budget.entries)
            )
        elif not impressions and budget.actions:
            findings.append(
                as_of_actions(log, empty, fitted.examples, recipe, actions=budget.actions)
            )
        progress("audit", 4, steps)
        if ablate:
            drops += retrained_without(fitted, labels, table)
            progress("audit", 5, steps)
        return TrainingReport(drops=drops, findings=tuple(findings))

    return audit
