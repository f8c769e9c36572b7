"""The commands `heirloom neighbours`, `retrieve` and `map`: a look at vectors and retrieval."""

import enum
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from heirloom.apps.options import LAPTOP, AsJson, Folder, SystemFile, settings_of
from heirloom.core.errors import InputError
from heirloom.core.event import Surface
from heirloom.core.filters import Filters
from heirloom.core.query import Query

if TYPE_CHECKING:
    from heirloom.apps.inspection import Card, Neighbours, Retrieved

vectors = typer.Typer()
console = Console()


class Colouring(enum.StrEnum):
    """By what a map's points are coloured."""

    CATEGORY = "category"
    BRAND = "brand"
    AGE = "age"


class Layout(enum.StrEnum):
    """How a map's points are laid out."""

    AUTO = "auto"
    PCA = "pca"
    TSNE = "tsne"


@vectors.command()
def neighbours(
    listing: Annotated[str, typer.Argument(help="Id of the listing.")],
    k: Annotated[int, typer.Option(min=1, max=1_000, help="How many.")] = 10,
    live_only: Annotated[
        bool, typer.Option("--live-only", help="Leave out what is sold, reserved or removed.")
    ] = False,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print the listings whose content vectors are nearest to a listing's."""
    from heirloom.apps.inspection import neighbours as found_near

    found = found_near(settings_of(system, folder), listing, k, live_only=live_only)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(asdict(found)), indent=2))
    else:
        _print_neighbours(found)


@vectors.command()
def retrieve(
    person: Annotated[str | None, typer.Option(help="Who asks; leave out for a newcomer.")] = None,
    surface: Annotated[Surface, typer.Option(help="home, similar or search.")] = Surface.HOME,
    text: Annotated[str, typer.Option(help="Words of a search.")] = "",
    anchor: Annotated[str | None, typer.Option(help="Listing id, for similar.")] = None,
    category: Annotated[str, typer.Option(help="Only below this category path.")] = "",
    k: Annotated[int, typer.Option(min=1, max=10_000, help="How many to print.")] = 20,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print what each retriever gives a person, with its ranks and its place after fusion.

    A candidate that is kept goes on to the ranker; `heirloom recommend` shows what that makes
    of it.
    """
    from heirloom.apps.inspection import retrieved

    query = Query(
        surface=surface.value,
        t=time.time_ns() // 1_000_000,
        user=person,
        text=text,
        anchor=anchor,
        filters=Filters(category=category),
        k=k,
    )
    found = retrieved(settings_of(system, folder), query)
    if as_json:
        plain = asdict(found) | {"candidates": [asdict(each) for each in found.candidates[:k]]}
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2))
    else:
        _print_retrieved(found, k)


@vectors.command("map")
def write_map(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("map.html"),
    colour: Annotated[
        Colouring, typer.Option(help="By what points are coloured at first.")
    ] = Colouring.CATEGORY,
    limit: Annotated[
        int, typer.Option(min=3, max=20_000, help="At most so many listings.")
    ] = 5_000,
    method: Annotated[
        Layout, typer.Option(help="tsne needs scikit-learn; auto takes it where it is installed.")
    ] = Layout.AUTO,
    pictures: Annotated[bool, typer.Option(help="Small drawn pictures in the page.")] = True,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Write the embedding space as one HTML page: each live listing a point, alike ones near.

    The page needs no network and opens from the disk. A layout of 5,000 takes half a minute.
    """
    from heirloom.apps.embedding_map.page import map_page
    from heirloom.apps.inspection import folded
    from heirloom.apps.registry import Registry

    if not out.parent.is_dir():
        raise InputError(f"map: there is no folder {out.parent}; make it, or give another --out")
    settings = settings_of(system, folder)
    with (
        console.status("fold the log") as status,
        folded(settings, Registry.installed(), retrievers=False) as (live, log),
    ):
        ends = [entry.event.t for entry in log.read(max(live.n - 1, 0), live.n)]
        html, told = map_page(
            live.catalogue,
            live.content.vectors,
            name=settings.system.name,
            model_id=live.content.model_id,
            n=live.n,
            now_ms=max(ends, default=0),
            colour=colour.value,
            limit=limit,
            method=method.value,
            pictures=pictures,
            step=status.update,
        )
    out.write_text(html, encoding="utf-8")
    trust = "" if told.trust is None else f", trustworthiness {told.trust:.3f}"
    console.print(
        f"{out}: {told.shown:,} of {told.live:,} live listings by {told.method}{trust}, "
        f"{len(html.encode()) / 1e6:.1f} MB; open it in a browser",
        highlight=False,
    )
    if told.method == "PCA" and method is Layout.AUTO:
        console.print(
            "scikit-learn is not installed, so this is PCA; with `pip install 'heirloom[map]'` "
            "the layout keeps far more neighbourhoods",
            style="yellow",
        )


def _print_neighbours(found: "Neighbours") -> None:
    of = found.of
    title = (
        f"near {escape(of.listing)} ({escape(of.title)}), {of.status}; "
        f"vectors of {found.model_id}, log offset {found.n}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("listing", overflow="fold", min_width=8)
    table.add_column("cosine", justify="right", min_width=6)
    _add_card_columns(table)
    table.add_column("status", min_width=6)
    for near in found.nearest:
        table.add_row(
            escape(near.card.listing), f"{near.cosine:.3f}", *_cells(near.card), near.card.status
        )
    console.print(table)
    if not found.nearest:
        console.print("no other listing has a vector", style="yellow")


def _print_retrieved(found: "Retrieved", k: int) -> None:
    kept = sum(each.kept for each in found.candidates)
    console.print(
        f"{found.surface} for {escape(found.person) or 'a newcomer'} at log offset {found.n}: "
        f"{len(found.candidates)} listings, {kept} kept of a pool of {found.pool}",
        highlight=False,
    )
    for name, (gave, quota) in found.gave.items():
        console.print(f"  {name}: {gave} of {quota}", highlight=False)
    table = Table()
    table.add_column("place", justify="right", min_width=5)
    table.add_column("listing", overflow="fold", min_width=8)
    table.add_column("rank in each source", min_width=16)
    table.add_column("score", justify="right", min_width=6)
    table.add_column("kept", min_width=4)
    _add_card_columns(table)
    for each in found.candidates[:k]:
        table.add_row(
            str(each.place),
            escape(each.card.listing),
            ", ".join(f"{name} {rank}" for name, rank in each.ranks.items()),
            f"{each.score:.4f}",
            "yes" if each.kept else "no",
            *_cells(each.card),
        )
    if found.candidates:
        console.print(table)
    if (more := len(found.candidates) - k) > 0:
        console.print(f"… and {more} more; --k {len(found.candidates)} prints all")


def _add_card_columns(table: Table) -> None:
    for heading in ("title", "brand", "category"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    table.add_column("price", justify="right", no_wrap=True)


def _cells(card: "Card") -> tuple[str, ...]:
    price = f"{card.price_minor / 100:.2f} {card.currency}"
    texts = (card.title, card.brand, card.category, price)
    return tuple(escape(text) for text in texts)
