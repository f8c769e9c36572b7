"""`heirloom batch`: pages for many people at once, as Parquet and for lookup."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heirloom.apps.options import LAPTOP, AsJson, Folder, SystemFile, settings_of
from heirloom.core.event import Surface

batch = typer.Typer()
console = Console(stderr=True)
_HOUR_S = 3_600


@batch.command("batch")
def batch_command(
    people: Annotated[
        Path, typer.Option(help="Parquet, CSV, TSV, or a text file with one id a line.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder, or that of a batch to go on with.")],
    surface: Annotated[
        Surface, typer.Option(help="home: other surfaces ask for an anchor or for words.")
    ] = Surface.HOME,
    column: Annotated[
        str | None, typer.Option(help="Which column holds the ids; else person or user.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, max=200, help="Listings of a page.")] = 24,
    at: Annotated[
        int | None, typer.Option(min=1, help="Log offset of the state; else the log's end.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Id of a bundle, in place of the published one.")
    ] = None,
    rows_per_part: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="People of a file; a kill loses one.")
    ] = 5_000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes, one a core.")] = 1,
    publish: Annotated[
        str | None, typer.Option(help="redis://host:port/number, when all pages are there.")
    ] = None,
    ttl_hours: Annotated[
        float, typer.Option(min=0.01, max=8_760, help="Published pages are gone then.")
    ] = 48.0,
    as_json: AsJson = False,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Score a file of people by the same path that serves, as of one moment.

    Killed, it goes on where it stopped when it is run again: no page twice, none missing.
    """
    from heirloom.apps.batch import Asked, run
    from heirloom.apps.batch_publishing import pages_at, published
    from heirloom.apps.progress import Bars

    if surface is not Surface.HOME:
        raise typer.BadParameter("a page of search or similar is asked for with words or an anchor")
    settings = settings_of(system, folder)
    lookup = pages_at(publish, settings, surface.value) if publish else None
    asked = Asked(
        people=people, out=out, surface=surface.value, column=column, k=k, at=at, bundle=bundle,
        rows_per_part=rows_per_part, workers=workers,
    )  # fmt: skip
    with Bars(console) as bars:
        made = run(settings, asked, progress=bars.progress)
    told = {
        "batch": made.batch.run,
        "n": made.batch.n,
        "t": made.batch.t,
        "bundle": made.batch.bundle,
        "persons": made.totals.persons,
        "strangers": made.totals.strangers,
        "empty": made.totals.empty,
        "degraded": made.totals.degraded,
        "rows": made.totals.rows,
        "scored": made.scored,
        "wall_s": round(made.wall_s, 3),
        "cpu_s": round(made.cpu_s, 3),
    }
    if lookup is not None:
        told["published"] = published(lookup, out, made, ttl_s=round(ttl_hours * _HOUR_S))
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(told))
        return
    total = made.totals
    lines = [
        f"batch {made.batch.run} as of log offset {made.batch.n:,}: {total.persons:,} people, "
        f"{total.rows:,} rows in {out}",
        f"{total.strangers:,} unknown here (a stranger's page), {total.empty:,} empty, "
        f"{total.degraded:,} degraded",
    ]
    if made.scored:
        lines.append(
            f"{made.scored:,} scored now in {made.wall_s:,.1f} s, {made.cpu_s:,.1f} s of CPU: "
            f"{made.scored / made.wall_s:,.0f} a second, {made.scored / made.cpu_s:,.0f} a core"
        )
    if lookup is not None:
        lines.append(f"{told['published']:,} pages published, and a stranger's")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
