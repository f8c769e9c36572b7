"""The commands `heirloom tune`, `report` and `ablate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from heirloom.apps.options import LAPTOP, AsJson, Folder, SystemFile, settings_of
from heirloom.apps.progress import Bars
from heirloom.core.errors import NotFoundError

if TYPE_CHECKING:
    from heirloom.apps.tuning import TuningReport
    from heirloom.pipelines.training_report import Drops, TrainingReport

tuning = typer.Typer()
console = Console()
Html = Annotated[Path | None, typer.Option(help="Also write a page for a browser here.")]


@tuning.command()
def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="So many in all, the defaults among them.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Of wall time in trials, in all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same trials.")] = 0,
    folds: Annotated[int, typer.Option(min=1, max=20, help="Each trial is judged on.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; in the system's tuning/ if none.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="If better, write the settings into the TOML.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, with all that the log holds now.")
    ] = False,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Look for better settings of the ranker on the log, and say what they gain, if anything.

    Without a budget: 30 trials. It goes on where an earlier run ended, also one that was killed.
    The log is only read, so it may run beside a server. With --write and a gain whose interval lies
    above 0, the settings become [training.ranker_settings] of the TOML, for the next `train`.
    """
    from heirloom.apps.report_pages import SETTINGS_TABLE, tuning_page
    from heirloom.apps.toml_table import replace_table
    from heirloom.apps.tuning import REPORT_JSON, tune_system
    from heirloom.pipelines.tune import Budget

    settings = settings_of(system, folder)
    budget = Budget(30 if trials is None and seconds is None else trials, seconds)
    with Bars(Console(stderr=True)) as bars:
        report, study = tune_system(
            settings, budget=budget, seed=seed, folds=folds, fresh=fresh, progress=bars.progress
        )
    target = out or study
    target.mkdir(parents=True, exist_ok=True)
    (target / "report.html").write_text(tuning_page(report), encoding="utf-8")
    if target != study:
        (target / REPORT_JSON).write_bytes((study / REPORT_JSON).read_bytes())
    _print_tuning(report)
    console.print(f"report: {target / 'report.html'}", highlight=False, soft_wrap=True)
    if write and report.gain.better:
        replace_table(system, SETTINGS_TABLE, {**report.plan.fixed, **report.best})
        console.print(f"[{SETTINGS_TABLE}] written into {system}", markup=False, soft_wrap=True)
    elif write:
        console.print(f"{system} stays as it is", highlight=False, soft_wrap=True)


@tuning.command()
def report(
    bundle: Annotated[str | None, typer.Option(help="Its id; the published one if none.")] = None,
    label: Annotated[str, typer.Option(help="Against which action: gain, any_action, …")] = "gain",
    surface: Annotated[str, typer.Option(help="home, similar, search, or all.")] = "all",
    top: Annotated[int, typer.Option(min=1, help="So many columns and groups.")] = 15,
    html: Html = None,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show what a training found: leaks, and what each column and group of columns is worth."""
    from heirloom.adapters import bundle as bundles
    from heirloom.apps.encoding import current_bundle
    from heirloom.pipelines.training_report import REPORT_FILE, TrainingReport

    at = settings_of(system, folder).system.folder
    where = bundles.named(at / "bundles", bundle) if bundle else current_bundle(at)
    if where is None or not where.is_dir():
        raise NotFoundError(f"no bundle {bundle or 'is published'} in {at}; run `heirloom train`")
    text = bundles.document_of(where, REPORT_FILE)
    if text is None:
        raise NotFoundError(
            f"bundle {where.name} has no {REPORT_FILE}: it is older than these; train again"
        )
    _show(TrainingReport.decode(text), where.name, label, surface, top, html, as_json)


@tuning.command()
def ablate(
    label: Annotated[str, typer.Option(help="Against which action: gain, any_action, …")] = "gain",
    surface: Annotated[str, typer.Option(help="home, similar, search, or all.")] = "all",
    top: Annotated[int, typer.Option(min=1, help="So many columns and groups.")] = 15,
    html: Html = None,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Fit again without each group of features: what would be lost if it were not computed.

    It trains and publishes nothing: `heirloom train --ablate` keeps the same in the bundle.
    """
    from heirloom.apps.build import System

    built = System(settings_of(system, folder), answering=False)
    try:
        with Bars(Console(stderr=True)) as bars:
            found = built.audit(ablate=True, progress=bars.progress)
    finally:
        built.close()
    _show(found, "not kept", label, surface, top, html, as_json)


def _show(
    found: "TrainingReport",
    name: str,
    label: str,
    surface: str,
    top: int,
    html: Path | None,
    as_json: bool,
) -> None:
    from heirloom.apps.report_pages import training_page

    if html is not None:
        html.write_text(training_page(found, name), encoding="utf-8")
    if as_json:
        typer.echo(found.encode())
        return
    print_findings(found)
    tables = [each for each in found.drops if (each.label, each.surface) == (label, surface)]
    for table in tables:
        console.print(drops_table(table, top))
    if found.drops and not tables:
        known = sorted({(each.label, each.surface) for each in found.drops})
        listed = ", ".join(f"{action} on {place}" for action, place in known)
        raise NotFoundError(f"the report has no {label} on {surface}; it has {listed}")


def print_findings(found: "TrainingReport") -> None:
    """One line for each check of leakage."""
    for finding in found.findings:
        word, style = {
            True: ("holds", "green"), False: ("DOES NOT HOLD", "bold red"),
            None: ("not made", "yellow"),
        }[finding.holds]  # fmt: skip
        console.print(f"{finding.check}: [{style}]{word}[/]", highlight=False)
        console.print(f"  {finding.text}", highlight=False, markup=False, soft_wrap=True)


def drops_table(table: "Drops", top: int) -> Table:
    """The first of a table's columns or groups, each with its interval."""
    shown = Table(
        title=f"{table.label} on {table.surface}, by {table.of}: {table.metric} "
        f"{table.value:.4f} on {table.slates} held-out slates",
        title_justify="left",
    )
    for heading in (table.of, "drop", "95 %"):
        shown.add_column(heading, justify="left" if heading == table.of else "right")
    for drop in table.drops[:top]:
        name = drop.name.rpartition(".")[2]
        shown.add_row(name, f"{drop.mean:+.4f}", f"{drop.low:+.4f} … {drop.high:+.4f}")
    if len(table.drops) > top:
        shown.caption = f"and {len(table.drops) - top} more; --top shows them"
    return shown


def _print_tuning(found: "TuningReport") -> None:
    states = [trial.state for trial in found.trials]
    console.print(
        f"{found.plan.ranker}: {len(states)} trials, {states.count('pruned')} pruned, "
        f"{states.count('failed')} failed, {found.seconds:.0f} s",
        highlight=False,
    )
    table = Table("setting", "default", "best", "share", title_justify="left")
    for name in found.plan.space:
        share = found.importance.get(name)
        values = (found.defaults[name], found.best[name])
        shown = (f"{each:.4g}" if isinstance(each, float) else str(each) for each in values)
        table.add_row(name, *shown, "" if share is None else f"{share:.2f}")
    console.print(table)
    console.print(found.verdict, style="bold", highlight=False, soft_wrap=True)
