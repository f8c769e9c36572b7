"""`heirloom keys`: make, list and revoke the keys that open a system's HTTP door."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from heirloom.apps.options import LAPTOP, Folder, SystemFile, settings_of
from heirloom.core.errors import InputError

keys = typer.Typer(
    help="Keys that open the system's HTTP door. A running server follows at once.",
    no_args_is_help=True,
)
console = Console()
_DAY_MS = 24 * 3_600_000


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose it is: one name for each program.")],
    scope: Annotated[str, typer.Option(help="read, events, admin, separated by commas.")],
    days: Annotated[float | None, typer.Option(min=0, help="Open nothing after these.")] = None,
    per_second: Annotated[
        float | None, typer.Option(min=0, max=1e9, help="Requests in the long run; 0: no limit.")
    ] = None,
    burst: Annotated[int, typer.Option(min=1, help="Requests at once; with --per-second.")] = 50,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Make a key and show it, this once: only its digest is kept.

    The key alone goes to the standard output, so that it can be piped to where secrets are kept.
    """
    from heirloom.apps.security.caller import Allowance
    from heirloom.apps.security.keys import KeysFile

    now_ms = time.time_ns() // 1_000_000
    key, shown = KeysFile(settings_of(system, folder).system.folder).add(
        name,
        [each.strip() for each in scope.split(",") if each.strip()],
        now_ms=now_ms,
        expires_at=None if days is None else now_ms + round(days * _DAY_MS),
        allowance=None if per_second is None else Allowance(per_second, burst),
    )
    typer.echo(shown)
    Console(stderr=True).print(
        f"key {key.key_id} of {escape(key.name)} may {', '.join(key.scopes)}. It is shown this "
        "once; send it as `Authorization: Bearer KEY`",
        highlight=False,
    )


@keys.command("list")
def list_keys(system: SystemFile = LAPTOP, folder: Folder = None) -> None:
    """List the keys, and whether they open anything still."""
    from heirloom.apps.security.keys import KeysFile

    now_ms = time.time_ns() // 1_000_000
    table = Table()
    for heading in ("id", "name", "scopes", "standing", "made", "expires", "requests"):
        table.add_column(heading, overflow="fold")
    for key in KeysFile(settings_of(system, folder).system.folder).read():
        limit = "as the system's"
        if key.per_second is not None:
            limit = f"{key.per_second:g}/s, {key.burst} at once" if key.per_second else "no limit"
        table.add_row(
            key.key_id,
            escape(key.name),
            " ".join(key.scopes),
            key.standing(now_ms),
            _day(key.made_at),
            _day(key.expires_at) if key.expires_at is not None else "never",
            limit,
        )
    console.print(table)


@keys.command()
def revoke(
    which: Annotated[str, typer.Argument(help="Name or id.")],
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Let a key open nothing from the next request on."""
    from heirloom.apps.security.keys import KeysFile

    key = KeysFile(settings_of(system, folder).system.folder).revoke(
        which, now_ms=time.time_ns() // 1_000_000
    )
    console.print(f"key {key.key_id} of {escape(key.name)} opens nothing any more", highlight=False)


def _day(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError) as error:
        raise InputError(f"keys: {ms} ms since 1970 is no date") from error
