"""The command `heirloom examination`: what the log says of where people look."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from heirloom.apps.options import LAPTOP, AsJson, Folder, SystemFile, settings_of

if TYPE_CHECKING:
    from heirloom.pipelines.examination import Found, Layout
    from heirloom.ranking.examination import Examination

bias = typer.Typer()
console = Console()


@bias.command()
def examination(
    depth: Annotated[int, typer.Option(min=2, help="How many positions.")] = 24,
    hours: Annotated[
        float, typer.Option(min=0.001, help="What is shown again within so long is the same.")
    ] = 24.0,
    least_clicks: Annotated[
        float, typer.Option(help="Fewer comparable clicks tell nothing.")
    ] = 200.0,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Estimate from the log how likely each row and column of a slate is looked at."""
    from heirloom.apps.parts import open_log
    from heirloom.pipelines.examination import examination_of_log

    with open_log(settings_of(system, folder).system.folder, read_only=True) as log:
        found = examination_of_log(
            log, depth=depth, within_ms=round(hours * 3_600_000), least_clicks=least_clicks
        )
    if as_json:
        plain = [_plain(layout, of) for layout, of in found.items()]
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2))
        return
    if not found:
        console.print("the log holds no impressions that are old enough to have been acted on")
    for layout, of in found.items():
        console.print(
            f"{layout.surface}, {layout.columns} column(s): {of.clicks:,} clicks on "
            f"{of.impressions:,} impressions, {of.compared:,.0f} of them comparable"
        )
        console.print(of.reason if of.examination is None else _table(layout, of.examination))


def _plain(layout: "Layout", of: "Found") -> dict[str, Any]:
    known = of.examination
    return {
        "surface": layout.surface,
        "columns": layout.columns,
        "impressions": of.impressions,
        "clicks": of.clicks,
        "compared": of.compared,
        "reason": of.reason,
        "chance": None if known is None else known.chance.tolist(),
        "error": None if known is None or known.error is None else known.error.tolist(),
    }


def _table(layout: "Layout", known: "Examination") -> Table:
    """Rows of the grid; a chance with its standard error in each cell."""
    table = Table("row", *(f"column {column}" for column in range(layout.columns)))
    error = np.zeros(len(known.chance)) if known.error is None else known.error
    cells = [f"{p:.3f} ± {p * e:.3f}" for p, e in zip(known.chance, error, strict=True)]
    for first in range(0, len(cells), layout.columns):
        row = cells[first : first + layout.columns]
        table.add_row(str(first // layout.columns), *row)
    return table
