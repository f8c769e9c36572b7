"""A package: what a system answers with, in one folder or one .tar.gz, to be served elsewhere.

    system.toml             its settings
    current.txt             which bundle is published
    bundles/ID/…            that bundle
    features.json           published definitions, where there are any
    events.sqlite, lake/…   the log, where it is wanted: without it the ranker alone answers

Keys, slate records, snapshots and what was held or quarantined stay behind. A log holds what people
did, so a package with one is as personal as the system.
"""

import gzip
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

from heirloom.adapters.bundle import named
from heirloom.core.errors import InputError, StoreError

SETTINGS = "system.toml"
LOG, LAKE, POINTER, BUNDLES = "events.sqlite", "lake", "current.txt", "bundles"
_BESIDE = ("features.json",)


def copy_package(folder: Path, toml: Path, out: Path, *, log: bool) -> None:
    """Copy what answers into a folder; the system may be running.

    Args:
        folder: the system's.
        toml: its settings.
        out: a folder; made where it is missing.
        log: the log too.

    Raises:
        InputError: there is nothing to copy: no bundle, or no log where it is wanted.
        BundleError: what is published is no bundle's name, or another bundle.
        StoreError: it cannot be read or written.
    """
    pointer = folder / POINTER
    if not pointer.is_file() and not log:
        raise InputError(f"{folder}: no bundle is published; run `heirloom train` first")
    if log and not (folder / LOG).is_file():
        raise InputError(f"{folder}: there is no log to package; run `heirloom ingest` first")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if pointer.is_file():
            bundle = pointer.read_text(encoding="utf-8").strip()
            shutil.copytree(named(folder / BUNDLES, bundle), out / BUNDLES / bundle, symlinks=True)
            (out / POINTER).write_text(bundle + "\n", encoding="utf-8")
        for name in _BESIDE:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)
        shutil.copyfile(toml, out / SETTINGS)
        if log:
            _copy_log(folder, out)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{out}: the package cannot be written: {error}") from error


def write_archive(folder: Path, toml: Path, out: Path, *, log: bool) -> int:
    """The same as one .tar.gz, which appears whole; gives its bytes.

    Two of the same content are the same bytes.

    Raises:
        InputError, StoreError: as `copy_package`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.tmp")
    with tempfile.TemporaryDirectory(prefix=".package-", dir=out.parent) as draft:
        copied = Path(draft)
        copy_package(folder, toml, copied, log=log)
        try:
            with (
                unfinished.open("wb") as file,
                gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for path in sorted(copied.rglob("*")):
                    archive.add(
                        path, path.relative_to(copied).as_posix(), recursive=False, filter=_plain
                    )
            unfinished.replace(out)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StoreError(f"{out}: the package cannot be written: {error}") from error
    return out.stat().st_size


def _copy_log(folder: Path, out: Path) -> None:
    """The log first: what was moved to the lake meanwhile stands in both."""
    source = sqlite3.connect(f"{(folder / LOG).resolve().as_uri()}?mode=ro", uri=True)
    with closing(source), closing(sqlite3.connect(out / LOG)) as copy:
        source.backup(copy)
    if (folder / LAKE).is_dir():
        shutil.copytree(folder / LAKE, out / LAKE)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
