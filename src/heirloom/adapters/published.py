"""The publications of a system as a JSON file: sorted, made to be read and to be compared."""

import os
from pathlib import Path

import msgspec

from heirloom.adapters.sqlite_database import sync_folder
from heirloom.core.errors import StoreError
from heirloom.features.published import FORMAT, Published

FILE = "features.json"


def read(folder: Path) -> Published | None:
    """What was published in a system's folder; None if nothing ever was.

    Raises:
        StoreError: the file cannot be read, is of another format, or was edited by hand.
    """
    path = folder / FILE
    try:
        published = msgspec.json.decode(path.read_bytes(), type=Published)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{path}: cannot be read: {error}; restore it from a backup") from error
    if published.format != FORMAT:
        raise StoreError(
            f"{path}: format {published.format}; this heirloom reads {FORMAT}: "
            "use the heirloom that wrote it"
        )
    for view in published.views.values():
        for name, publications in view.definitions.items():
            for each in publications:
                if not each.whole:
                    raise StoreError(
                        f"{path}: {name} {each.version} is not the hash of what stands there; "
                        "the file was edited by hand: restore it, and publish instead"
                    )
    return published


def write(folder: Path, published: Published) -> None:
    """Write the file whole: beside it, made durable, then renamed.

    Raises:
        StoreError: the folder cannot be written to; then the file is as it was.
    """
    path = folder / FILE
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            encoded = msgspec.json.encode(published, order="sorted")
            file.write(msgspec.json.format(encoded, indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(folder)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error}; nothing was published") from error
