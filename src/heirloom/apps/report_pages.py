"""Reports as pages for people: one HTML file each, nothing loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from heirloom.apps.toml_table import table_text
from heirloom.apps.tuning import TuningReport
from heirloom.pipelines.training_report import Drops, TrainingReport

SETTINGS_TABLE = "training.ranker_settings"
WAYS = {
    "column": "each column permuted",
    "group": "each group of columns permuted",
    "retrained": "fitted again without each group",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
td:first-child, th:first-child { text-align: left; }
.bar { display: inline-block; height: .7rem; background: #4a7; vertical-align: middle; }
.verdict { font-size: 1.2rem; font-weight: 600; }
.no { color: #b30; } .yes { color: #274; }
pre { background: #8881; padding: .7rem; }
"""


def tuning_page(report: TuningReport) -> str:
    """What a study came to."""
    gain, plan = report.gain, report.plan
    states = [trial.state for trial in report.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("complete", "pruned", "failed"))
    whole = states.count("complete")
    shares = sorted(report.importance.items(), key=lambda each: -each[1])
    parts = [
        f"<h1>Tuning of {_e(plan.ranker)}</h1>",
        f'<p class="verdict {"yes" if gain.better else "no"}">{_e(report.verdict)}</p>',
        "<p>Interval: 95 % paired bootstrap over slates; the spread over fits is not in it, each "
        "side is a mean of three fits. The test slates are the latest; no trial has seen them. "
        f"This study has read them {report.test_read} time(s): more than once, and what is chosen "
        "after is chosen by them too.</p>",
        f"<h2>Best settings, trial {report.best_trial}</h2>",
        f"<pre>{_e(table_text(SETTINGS_TABLE, {**plan.fixed, **report.best}))}</pre>",
        "<h2>Budget</h2>",
        f"<p>{len(report.trials)} trials ({counts}), {report.seconds:.0f} s; given: "
        f"{_limit(report.budget['trials'], 'trials')}, "
        f"{_limit(report.budget['seconds'], 'seconds')}. {report.interrupted} cut short and made "
        f"again. {report.slates:,} slates, {report.rows:,} rows up to log offset "
        f"{plan.replay.offset:,} (the log ends at {report.log_end:,}); {plan.folds} folds, seed "
        f"{plan.seed}.</p>",
        "<h2>What matters</h2>",
        f"<p>Shares by PED-ANOVA over the {whole} trials judged on all folds: how far the good "
        "ones are from all in each setting, within this space. Few trials tell little.</p>"
        if shares
        else f"<p>Not told: {whole} trials were judged on all folds, and that is too few.</p>",
        _table(("setting", "share", ""), [(name, f"{s:.2f}", _bar(s)) for name, s in shares]),
        "<h2>Trials</h2>",
        _trials(report),
    ]
    return _page(f"Tuning of {plan.ranker}", parts)


def training_page(report: TrainingReport, bundle_id: str) -> str:
    """What a training's audit found."""
    parts = [f"<h1>Training report of bundle {_e(bundle_id[:12])}</h1>", "<h2>Leakage</h2>"]
    for finding in report.findings:
        word = {True: "holds", False: "DOES NOT HOLD", None: "not made"}[finding.holds]
        kind = "no" if finding.holds is False else "yes"
        parts.append(
            f'<p><b>{_e(finding.check)}</b>: <span class="{kind}">{word}</span>. '
            f"{_e(finding.text)}</p>"
        )
    parts.append(
        "<h2>Importance</h2><p>How much worse the ranker is without what a column says, with a 95 "
        "% paired bootstrap over held-out slates. Columns that say the same cover for each other: "
        "each may seem worth little, their group is not.</p>"
    )
    parts += [_drops(table) for table in report.drops]
    return _page("Training report", parts)


def _trials(report: TuningReport) -> str:
    names = list(report.plan.space)
    rows = [
        (
            str(trial.number),
            trial.state + (f": {_e(trial.reason)}" if trial.reason else ""),
            # Of a pruned one not all folds are known, and folds differ in level.
            f"{trial.value:.4f}" if trial.state == "complete" and trial.value is not None else "",
            " ".join(f"{fold:.4f}" for fold in trial.folds),
            *(_short(trial.settings.get(name)) for name in names),
            f"{trial.seconds:.1f}",
        )
        for trial in report.trials
    ]
    return _table(("trial", "state", "NDCG@10", "folds", *names, "s"), rows)


def _drops(table: Drops) -> str:
    most = max((drop.mean for drop in table.drops), default=0.0)
    rows = [
        (
            _e(drop.name.rpartition(".")[2]),
            f"{drop.mean:+.4f}",
            f"[{drop.low:+.4f}, {drop.high:+.4f}]",
            _bar(drop.mean / most if most > 0 else 0.0),
        )
        for drop in table.drops
    ]
    way = WAYS.get(table.of, table.of)
    head = f"{table.label} on {table.surface}: {way}"
    return (
        f"<details><summary>{_e(head)} ({table.metric} {table.value:.4f}, {table.slates} slates)"
        f"</summary>{_table((table.of, 'drop', '95 %', ''), rows)}</details>"
    )


def _page(title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if not lines:
        return ""
    first = "".join(f"<th>{_e(cell)}</th>" for cell in head)
    return f"<table><tr>{first}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _bar(share: float) -> str:
    return f'<span class="bar" style="width:{max(share, 0) * 12:.2f}rem"></span>'


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _e(str(value))


def _limit(value: float | None, what: str) -> str:
    return f"no limit of {what}" if value is None else f"{value:g} {what}"


def _e(text: str) -> str:
    return escape(text)
