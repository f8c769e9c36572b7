"""The command `heirloom explain`: where a listing stands for somebody now, and why, as bars."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from heirloom.apps.options import LAPTOP, AsJson, AsReader, Folder, SystemFile, settings_of
from heirloom.core.event import Surface
from heirloom.core.query import Query

if TYPE_CHECKING:
    from heirloom.apps.standing import Standing
    from heirloom.pipelines.explain import Contribution

explain_app = typer.Typer()
console = Console()
HALF = 24
"""Characters of the longest bar to either side."""


@explain_app.command()
def explain(
    listing: Annotated[str, typer.Argument(help="Id of the listing.")],
    person: Annotated[str | None, typer.Option(help="Who asks; leave out for a newcomer.")] = None,
    surface: Annotated[Surface, typer.Option(help="home, similar or search.")] = Surface.HOME,
    text: Annotated[str, typer.Option(help="Words of a search.")] = "",
    anchor: Annotated[str | None, typer.Option(help="Listing id, for similar.")] = None,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    reader: AsReader = False,
    as_json: AsJson = False,
) -> None:
    """Print where a listing stands for somebody now: who found it, what ranked and moved it.

    A bar says what a group of features adds to the score, compared with the other candidates. What
    the features themselves rest on, event by event, `heirloom features explain` prints.
    """
    from heirloom.apps.build import System
    from heirloom.apps.standing import standing

    built = System(settings_of(system, folder), reader=reader)
    try:
        query = Query(
            surface=surface.value, t=time.time_ns() // 1_000_000, user=person, text=text,
            anchor=anchor,
        )  # fmt: skip
        found = standing(built, listing, query)
    finally:
        built.close()
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(asdict(found)), indent=2))
    else:
        _print(found)


def _print(found: "Standing") -> None:
    who = escape(found.person or "a newcomer")
    head = f"[bold]{escape(found.listing)}[/] {escape(found.title)}, {found.surface} for {who}"
    console.print(f"{head}, as of offset {found.n}", highlight=False)
    if found.place is None:
        console.print(f"Not among the {found.candidates} candidates: {found.kept_away}.")
        if found.would_be is not None:
            console.print(f"By its score it would be number {found.would_be + 1}.")
    else:
        console.print(f"Number {found.place + 1} of {found.candidates} candidates", end="")
        console.print(f": {'; '.join(map(escape, found.reasons))}." if found.reasons else ".")
    for proposal in found.found:
        rank = "no longer" if proposal.rank is None else f"as number {proposal.rank + 1}"
        console.print(f"Found by {proposal.source}, {rank}.", highlight=False)
    if found.contributions:
        console.print(_bars(found.contributions))
        if alike := [each.about for each in found.contributions if not each.value]:
            console.print(f"no difference: {', '.join(alike)}", style="dim", highlight=False)
        console.print(
            f"score {found.score:.3f}, policy {escape(found.policy)}, bundle {found.bundle[:12]}; "
            "a bar: the score less the score with this group as usual among the candidates",
            style="dim", highlight=False,
        )  # fmt: skip
    for step in found.moved:
        console.print(f"Moved by {step.rule}: from {step.before + 1} to {step.after + 1}.")
    if found.propensity < 1:
        console.print(f"Drawn: at this place with a chance of {found.propensity:.3f}.")
    for reason in found.degraded:
        console.print(f"degraded: {escape(reason)}", style="yellow", highlight=False)


def _bars(contributions: "tuple[Contribution, ...]") -> Table:
    """A line for each group: its words, its number, and a bar to one side of a common line."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    most = max(abs(each.value) for each in contributions) or 1.0
    left = max(round(-min(each.value for each in contributions) / most * HALF), 0)
    for each in filter(lambda each: each.value, contributions):
        length = round(abs(each.value) / most * HALF)
        bar = Text(" " * (left if each.value >= 0 else left - length))
        if each.value < 0:
            bar.append("━" * length, "red").append("│", "dim")
        else:
            bar.append("│", "dim").append("━" * length, "green")
        quiet = "dim" if not length else ""
        table.add_row(Text(each.about, quiet), Text(f"{each.value:+.3f}", quiet), bar)
    return table
