"""Options that commands share: which system, and where its data lies."""

from pathlib import Path
from typing import Annotated

import typer

from heirloom.apps.settings import Settings, load

LAPTOP = Path("systems/laptop.toml")

SystemFile = Annotated[
    Path, typer.Option("--system", help="TOML file of the system; see systems/laptop.toml.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where the system's data lies, in place of the TOML's."),
]
AsReader = Annotated[
    bool,
    typer.Option("--reader", help="Beside the writer: answers, and takes no events."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For a machine to read.")]


def settings_of(system: Path, folder: Path | None) -> Settings:
    """The system's settings, with the folder replaced where one is given."""
    return load(system, **({"folder": folder} if folder else {}))
