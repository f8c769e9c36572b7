"""The commands `heirloom features`, `features publish` and `features explain`."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from heirloom.apps.options import LAPTOP, AsJson, Folder, SystemFile, settings_of
from heirloom.core.errors import InputError
from heirloom.core.event import LATEST_MS, Surface
from heirloom.core.query import Query

if TYPE_CHECKING:
    from heirloom.apps.explanation import Counted, Explanation
    from heirloom.apps.settings import Settings
    from heirloom.features.published import Published
    from heirloom.features.state import Held
    from heirloom.features.view import FeatureView

features = typer.Typer(
    help="What a ranker may know: list the definitions, publish them, explain a value.",
    invoke_without_command=True,
)
console = Console()


@features.callback()
def list_features(
    context: typer.Context,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List the definitions in use: version, owner, unit, columns, and the memory they take."""
    if context.invoked_subcommand is not None:
        return
    from heirloom.adapters import published as publications
    from heirloom.apps.parts import view_of
    from heirloom.apps.registry import Registry

    settings = settings_of(system, folder)
    view = view_of(settings, Registry.installed())
    published = publications.read(settings.system.folder)
    n, held = _held(settings, view)
    listed = list(_listed(view, published))
    if as_json:
        plain = {
            "view": view.name,
            "version": view.version,
            "owner": view.owner,
            "n": n,
            "definitions": listed,
            "families": [asdict(each) for each in held],
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2))
        return
    console.print(_table_of_definitions(view, listed))
    if n:
        console.print(_table_of_families(held, n))
    else:
        console.print(f"{escape(str(settings.system.folder))} has folded no event, so no memory")
    for problem in published.refusals(view) if published else ():
        console.print(problem, style="bold red", highlight=False)


@features.command()
def publish(
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    check: Annotated[bool, typer.Option(help="Only say what would be published.")] = False,
) -> None:
    """Bind the system to the definitions of its view: from now on they keep their meaning.

    Refuses a definition that changed under its name. With --check it writes nothing and exits
    with 1 where something is not published yet, for a pull request.
    """
    from heirloom.adapters import published as publications
    from heirloom.apps.parts import has_log, open_log, view_of
    from heirloom.apps.registry import Registry
    from heirloom.features.published import Published

    settings = settings_of(system, folder)
    view = view_of(settings, Registry.installed())
    before = publications.read(settings.system.folder) or Published()
    missing = before.unpublished(view)
    offset = 0
    if has_log(settings.system.folder):
        with open_log(settings.system.folder, read_only=True) as log:
            offset = log.end()
    after = before.publish(view, offset=offset, t=time.time_ns() // 1_000_000)
    if not check and after != before:
        publications.write(settings.system.folder, after)
    label = "not published" if check else "published"
    console.print(
        f"{view.name}@{view.version}: {len(missing)} {label}, "
        f"{len(view.features) - len(missing)} known before",
        highlight=False,
    )
    for name in missing:
        console.print(f"  {name} {view.versions[name]}", highlight=False)
    if check and missing:
        raise typer.Exit(1)


@features.command()
def explain(
    listing: Annotated[str, typer.Argument(help="Id of the listing.")],
    person: Annotated[str | None, typer.Option(help="Who asks; leave out for a newcomer.")] = None,
    at: Annotated[
        str | None, typer.Option(help="As of when: ISO time (UTC) or ms since 1970. Default: now.")
    ] = None,
    surface: Annotated[Surface, typer.Option(help="home, similar or search.")] = Surface.HOME,
    text: Annotated[str, typer.Option(help="Words of a search.")] = "",
    anchor: Annotated[str | None, typer.Option(help="Listing id, for similar.")] = None,
    only: Annotated[str, typer.Option(help="Columns, as a pattern: 'listing_*'.")] = "*",
    events: Annotated[int, typer.Option(min=0, max=50, help="Events to show of each count.")] = 3,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of each feature of a listing, with the events that made it.

    Each value is computed twice, by the kernel and by a plain reading of the log. Where they
    differ there is a bug: it is said loudly, and the exit status is 1.
    """
    from heirloom.apps.explanation import explanation

    now_ms = time.time_ns() // 1_000_000
    query = Query(
        surface=surface.value,
        t=now_ms if at is None else _moment(at),
        user=person,
        text=text,
        anchor=anchor,
    )
    found = explanation(settings_of(system, folder), listing, query, now_ms=now_ms, newest=events)
    values = tuple(value for value in found.values if fnmatch(value.column, only))
    if not values:
        raise InputError(f"explain: no column is like {only!r}; `heirloom features` lists them")
    differing = found.differing
    found = replace(found, values=values)
    if as_json:
        plain = asdict(found) | {"differing": list(differing)}
        typer.echo(msgspec.json.format(msgspec.json.encode(plain), indent=2))
    else:
        _print(found, differing)
    if differing:
        raise typer.Exit(1)


def _moment(text: str) -> int:
    """The time that a person gave, in ms since 1970 UTC."""
    if text.lstrip("-").isdigit():
        moment = int(text)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise InputError(
                f"explain: --at {text!r} is no time; wanted ms since 1970, or ISO as "
                f"2026-07-01T10:00 ({error})"
            ) from error
        moment = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)
    if not 0 <= moment <= LATEST_MS:
        raise InputError(f"explain: --at {text!r} is not between 1970 and 2100; wanted ms or ISO")
    return moment


def _held(settings: "Settings", view: "FeatureView") -> tuple[int, "tuple[Held, ...]"]:
    """The log's end, and what a state holds there; an empty one where there is no log yet."""
    from heirloom.apps.explanation import parts_of
    from heirloom.apps.parts import has_log, open_log

    state = view.state()
    if has_log(settings.system.folder):
        with open_log(settings.system.folder, read_only=True) as log:
            for part in parts_of(log, log.end()):
                state.apply(part)
    return state.n, state.held()


def _listed(view: "FeatureView", published: "Published | None") -> Iterator[dict[str, Any]]:
    """Each definition as plain JSON; `published` is null where it was not."""
    from heirloom.features.algebra import columns_of, unit_of
    from heirloom.features.definition import keys_of

    known = published.of(view.name).definitions if published else {}
    for definition in view.features:
        name, version = definition.name, view.versions[definition.name]
        mine = next((each for each in known.get(name, ()) if each.version == version), None)
        yield {
            "name": name,
            "version": version,
            "revision": view.revision(name),
            "word": type(definition).__name__,
            "owner": view.owner,
            "unit": unit_of(definition),
            "keys": keys_of(definition),
            "columns": list(columns_of(definition)),
            "about": definition.about,
            "published": mine and {"offset": mine.first_offset, "t": mine.first_t},
        }


def _table_of_definitions(view: "FeatureView", listed: list[dict[str, Any]]) -> Table:
    columns = sum(len(each["columns"]) for each in listed)
    title = f"{view.name}@{view.version}: {len(listed)} definitions, {columns} columns"
    bound = any(each["published"] for each in listed)
    ending = "" if bound else "; none is published"
    table = Table(title=f"{title}; owner: {view.owner or '(none)'}{ending}", title_justify="left")
    for heading in ("definition", "version", "word"):
        table.add_column(heading, no_wrap=True)
    for heading in ("key", "windows", "unit", *(["published"] if bound else [])):
        table.add_column(heading, overflow="fold")
    for each in listed:
        revision = f" r{each['revision']}" if each["revision"] > 1 else ""
        windows = [column.removeprefix(each["name"]).lstrip("_") for column in each["columns"]]
        since = each["published"]
        published = f"offset {since['offset']}\n{_when(since['t'])}" if since else "no"
        table.add_row(
            each["name"],
            each["version"] + revision,
            each["word"],
            "\n".join(each["keys"]),
            " ".join(windows),
            each["unit"],
            *([published] if bound else []),
        )
    return table


def _table_of_families(held: "tuple[Held, ...]", n: int) -> Table:
    total = sum(each.nbytes for each in held)
    table = Table(title=f"memory at offset {n}: {_size(total)}", title_justify="left")
    for heading in ("key", "windows", "keys", "bytes"):
        table.add_column(heading, justify="right" if heading in ("keys", "bytes") else "left")
    for each in sorted(held, key=lambda each: -each.nbytes):
        windows = ", ".join(each.windows) or "(times)"
        table.add_row(" x ".join(each.key), windows, f"{each.keys:,}", f"{each.nbytes:,}")
    return table


def _print(found: "Explanation", differing: tuple[str, ...]) -> None:
    who = found.person or "a newcomer"
    console.print(
        f"[bold]{escape(found.listing)}[/] {escape(found.title)}: {found.view}@{found.version} "
        f"for {escape(who)} on {found.surface}, as of {_when(found.t)} and offset {found.n}",
        highlight=False,
    )
    told: set[str] = set()
    for value in found.values:
        number = "missing" if value.kernel is None else f"{value.kernel:.6g}"
        unit = f" ({value.unit})" if value.kernel is not None else ""
        console.print(
            f"\n[bold]{value.column}[/]  [bold cyan]{number}[/]{unit} = {escape(value.how)}",
            highlight=False,
        )
        if not value.agrees:
            plain = "missing" if value.plain is None else repr(value.plain)
            console.print(
                f"  DIFFERS: the kernel says {value.kernel!r}, the log says {plain}",
                style="bold white on red",
                highlight=False,
            )
        for counted in value.counted:
            for line in _lines(counted, told):
                console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    if differing:
        console.print(
            f"\nBUG: {len(differing)} value(s) are not what the log says: {', '.join(differing)}. "
            "Do not train or serve with them; report the log's range and the versions above.",
            style="bold white on red",
            highlight=False,
        )
        if found.saturated:
            console.print(
                f"{found.saturated} count(s) of the state met the end of their integer and stayed "
                "there: a difference may be one of these.",
                style="yellow",
            )


def _lines(counted: "Counted", told: set[str]) -> Iterator[str]:
    """A count in words, and its newest events the first time it comes up."""
    key = ", ".join(f"{part} {text}" for part, text in counted.key.items())
    kinds = " or ".join(counted.kinds)
    since = (
        "ever" if counted.window == "ever" else f"{counted.window} from {_when(counted.from_ms)}"
    )
    head = f"{counted.count} {kinds} of {key}; {since}"
    if "?" in counted.key.values():
        head = f"no {kinds} of {key}: a part of the key is unknown"
    if head in told:
        yield f"{head} (as above)"
        return
    told.add(head)
    yield head
    for event in counted.newest:
        words = f" {event.text[:40]!r}" if event.text else ""
        listing = f" {event.listing}" if event.listing else ""
        by = f" by {event.user}" if event.user else ""
        yield f"  {_when(event.t)}  {event.kind}{listing}{by}{words}  (offset {event.seq})"
    if counted.newest and counted.count > len(counted.newest):
        yield f"  … and {counted.count - len(counted.newest)} more"


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _size(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f} MiB" if nbytes >= 1 << 20 else f"{nbytes / 1024:.1f} KiB"
