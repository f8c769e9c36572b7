"""Bundles that were changed, forged or made to lead elsewhere: none is loaded, and none runs code.

    python -m benchmarks.faults_bundles [--flips 40]

Each is published in a system that answers with a good one, the way any process publishes: the
pointer in its folder is replaced. It must go on with the good one and say why. Addresses and names
of files that come from outside must lead nowhere else.
"""

import argparse
import json
import os
import pickle
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.faults_target import LAPTOP, linear, stocked, written
from benchmarks.record import Row
from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.photos import PhotoStore
from heirloom.apps.sagemaker import unpacked
from heirloom.apps.security.fetch import fetch
from heirloom.apps.settings import load
from heirloom.core.bundle import MANIFEST_FILE
from heirloom.core.errors import HeirloomError
from heirloom.core.listing import Listing
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.ranker import Ranker
from heirloom.testing.ranking import examples

FILE = "file:" + "///etc/passwd"
ADDRESSES = (
    "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", "https://[fe80::1]/",
    "https://[fd00:ec2::254]/", "https://[fd12:3456::1]/", "https://127.0.0.1/", "https://[::1]/",
    "https://localhost/", "https://0.0.0.0/", "https://10.0.0.1/", "https://192.168.0.1/",
    "https://2852039166/", "https://0xA9FEA9FE/", "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::a9fe:a9fe]/", "http://127.0.0.1/", FILE, "gopher://[::1]/",
    "ftp://127.0.0.1/x", "data:application/json,{}", "https://me:secret@127.0.0.1/",
    "//127.0.0.1/x",
)  # fmt: skip
PHOTOS = (
    "../secret.png", "/etc/passwd", "a/../../secret.png", "link.png", "linked/secret.png",
    FILE, "http://169.254.169.254/x.png", "https://127.0.0.1/x.png", "pipe", ".",
    "\x00", "a" * 5_000,
)  # fmt: skip


@dataclass
class Tried:
    """What came of all attacks.

    Attributes:
        count: so many.
        loaded: those that were loaded, ran code, or were refused by an accident.
    """

    count: int = 0
    loaded: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """A system that answers with a good bundle, and a second bundle to be spoiled.

    Attributes:
        system: it runs.
        good: what it answers with.
        other: the folder of the second, as it was written.
        canary: a file that code in a pickle would make.
    """

    system: System
    good: str
    other: Path
    canary: Path

    @property
    def bundles(self) -> Path:
        """The folder of bundles."""
        return self.system.folder / "bundles"

    def refuses(self, pointer: str | bytes) -> str:
        """What is wrong with how a published bundle is met; '' where it is refused clearly."""
        told = pointer if isinstance(pointer, bytes) else pointer.encode()
        (self.system.folder / "current.txt").write_bytes(told)
        try:
            why = self.system.follow_published()
        except Exception as error:  # noqa: BLE001 - an accident is what is looked for
            return f"an accident: {error!r}"
        finally:
            (self.system.folder / "current.txt").write_text(self.good)
        if self.system.policy.bundle != self.good:
            self.system.publish(self.good)
            return "loaded"
        if self.canary.exists():
            self.canary.unlink()
            return "its code ran"
        return "" if why else "no reason is given"

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """A copy of the second bundle under its own id."""
        folder = self.bundles / self.other.name
        shutil.copytree(self.other, folder)
        try:
            yield folder
        finally:
            _removed(folder)

    def forged(self, folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> str:
        """Write the manifest anew, as who makes bundles could; the id that it then has."""
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        files = [
            path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE
        ]
        manifest["files"] = {
            path.relative_to(folder).as_posix(): bundles._sha256(path) for path in files
        }
        if change is not None:
            change(manifest)
        encoded = msgspec.json.encode(manifest)
        (folder / MANIFEST_FILE).write_bytes(encoded)
        return bundles._id(encoded)


class _Code:
    """Whose pickle makes a file when it is read."""

    def __init__(self, canary: Path) -> None:
        self._canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self._canary}'",)


def pickles(canary: Path) -> dict[str, bytes]:
    """Files that would run code, were they read as what they are."""
    import io
    import zipfile

    code = _Code(canary)
    found = {f"protocol {number}": pickle.dumps(code, number) for number in range(6)}
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([code], object), allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(code))
    return {**found, "in an array": array.getvalue(), "in an archive": archive.getvalue()}


def _removed(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def try_flips(target: Target, flips: int, tried: Tried) -> None:
    """A bit of each file, at its ends and at drawn places; and files cut, grown, emptied, gone."""
    draw = random.Random(0)
    with target.copy() as folder:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            whole, name = path.read_bytes(), f"{folder.name} {path.relative_to(folder)}"
            places = {0, 1, len(whole) // 2, len(whole) - 1}
            places |= {draw.randrange(len(whole)) for _ in range(flips)}
            spoiled = {
                f"byte {at}": _flipped(whole, at, draw.randrange(8)) for at in sorted(places)
            }
            spoiled |= {"cut": whole[:-1], "grown": whole + b"\n", "empty": b""}
            for what, content in spoiled.items():
                path.write_bytes(content)
                _note(tried, f"{name}: {what}", target.refuses(folder.name))
            path.unlink()
            _note(tried, f"{name}: gone", target.refuses(folder.name))
            path.write_bytes(whole)
        target.system.publish(folder.name)  # else all of this would hold of a bad one too
        target.system.publish(target.good)


def _flipped(whole: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    return bytes(changed)


def _note(tried: Tried, what: str, wrong: str) -> None:
    tried.count += 1
    if wrong:
        tried.loaded.append(f"{what}: {wrong}")


def try_pickles(target: Target, tried: Tried) -> None:
    """A pickle beside the files, under many names, and in place of each; with hashes that fit."""
    for kind, content in pickles(target.canary).items():
        names = [path.relative_to(target.other) for path in sorted(target.other.rglob("*"))
                 if path.is_file() and path.name != MANIFEST_FILE]  # fmt: skip
        names += [Path(f"weights/more{end}") for end in (".pkl", ".joblib", ".pt", ".bin", "",
                  ".json", ".npy", ".txt", ".onnx", ".cbm", ".safetensors")]  # fmt: skip
        for name in names:
            for forged in (False, True):
                with target.copy() as folder:
                    (folder / name).write_bytes(content)
                    pointer = target.forged(folder) if forged else folder.name
                    moved = folder.rename(target.bundles / pointer)
                    what = f"{kind} as {name}, {'with' if forged else 'without'} its hash"
                    _note(tried, what, target.refuses(pointer))
                    _removed(moved)


def try_paths(target: Target, tried: Tried) -> None:
    """Names in the manifest, links in the folder and pointers that lead out of it."""
    outside = target.system.folder.parent / "outside"
    shutil.copytree(target.other, outside)
    digest = bundles._sha256(outside / "report.json")
    for name in ("../outside/report.json", str(outside / "report.json"), "..", "/", "", ".", "a\\b",
                 "weights/../report.json", "weights//../../outside/report.json"):  # fmt: skip
        with target.copy() as folder:
            pointer = target.forged(folder, lambda m, name=name: m["files"].update({name: digest}))  # type: ignore[misc]
            moved = folder.rename(target.bundles / pointer)
            _note(tried, f"the manifest names {name!r}", target.refuses(pointer))
            _removed(moved)
    for name in ("weights", "retrievers", "report.json", MANIFEST_FILE, "golden_values.npy"):
        with target.copy() as folder:
            _removed(folder / name)
            (folder / name).symlink_to(outside / name)
            _note(tried, f"{name} is a link", target.refuses(folder.name))
            if name == "report.json":
                _removed(folder / name)
                os.mkfifo(folder / name)
                _note(tried, f"{name} is a pipe", target.refuses(folder.name))
    (target.bundles / target.other.name).symlink_to(outside)
    _note(tried, "the folder is a link", target.refuses(target.other.name))
    _removed(target.bundles / target.other.name)
    for pointer in (f"../../{outside.name}", str(outside), "..", ".", "", "/", "\x00", "a" * 5_000,
                    f"{target.good}/", f"{target.good}/../{target.good}", target.good.upper(),
                    f"{target.good}\n..", FILE, b"\xff\xfe", "0" * 32):  # fmt: skip
        _note(tried, f"the pointer names {pointer[:60]!r}", target.refuses(pointer))
    changes: tuple[dict[str, object], ...] = (
        {"kind": "os.system"}, {"kind": "../linear"}, {"format": 99}, {"columns": []},
        {"kind": "catboost"}, {"encoders": "../../x"},
    )  # fmt: skip
    for change in changes:
        with target.copy() as folder:
            pointer = target.forged(folder, lambda m, change=change: m.update(change))  # type: ignore[misc]
            moved = folder.rename(target.bundles / pointer)
            _note(tried, f"the manifest says {change}", target.refuses(pointer))
            _removed(moved)
    with target.copy() as folder:
        (folder / "weights" / "more").mkdir()
        (folder / MANIFEST_FILE).write_bytes(b'{"a":' * 50_000)
        _note(tried, "a deep manifest", target.refuses(folder.name))


def try_formats(folder: Path, flips: int, tried: Tried) -> None:
    """Flipped bits and pickles in bundles of rankers that other libraries read."""
    rankers: dict[str, type[Ranker]] = {
        "catboost": CatBoostListwise, "lightgbm": LightGBMLambdaMART,
    }  # fmt: skip
    draw = random.Random(1)
    for kind, ranker in rankers.items():
        fitted = ranker.fit(examples(1), examples(2, groups=40), seed=3)
        whole = written(folder, fitted, kind)
        bundles.load(bundles.named(folder, whole.name), rankers)
        for path in sorted(path for path in whole.rglob("*") if path.is_file()):
            content, name = path.read_bytes(), f"{kind} {path.relative_to(whole)}"
            for at in {0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(flips))}:
                path.write_bytes(_flipped(content, at, draw.randrange(8)))
                _note(tried, f"{name}: byte {at}", _loads(folder, whole.name, rankers))
            path.write_bytes(content)


def _loads(folder: Path, bundle_id: str, rankers: dict[str, type[Ranker]]) -> str:
    try:
        bundles.load(bundles.named(folder, bundle_id), rankers)
    except HeirloomError:
        return ""
    except Exception as error:  # noqa: BLE001 - as of `refuses`
        return f"an accident: {error!r}"
    return "loaded"


def try_elsewhere(folder: Path, tried: Tried) -> None:
    """Addresses of keys, photos of listings and packages of containers that lead elsewhere."""
    for address in ADDRESSES:
        try:
            fetch(address, limit=1 << 20, timeout_s=2.0)
            _note(tried, address, "fetched")
        except HeirloomError as error:
            _note(tried, address, "" if "refused]" not in str(error) else f"it was asked: {error}")
    inside = folder / "photos"
    (inside / "a").mkdir(parents=True)
    (folder / "secret.png").write_bytes(b"secret")
    (inside / "link.png").symlink_to(folder / "secret.png")
    (inside / "linked").symlink_to(folder)
    os.mkfifo(inside / "pipe")
    for name in PHOTOS:
        listing = Listing(listing_id="x", seller="x", title="x", image=name)
        try:
            came = PhotoStore(inside).photo(listing)
            _note(tried, f"photo {name[:60]!r}", "" if came is None else "read")
        except HeirloomError:
            _note(tried, f"photo {name[:60]!r}", "")
    package = folder / "package"
    package.mkdir()
    (package / "system.toml").write_text(LAPTOP.read_text())
    (package / "features.json").symlink_to("/etc/passwd")
    try:
        with unpacked(package):
            _note(tried, "a package with a link", "unpacked")
    except HeirloomError:
        _note(tried, "a package with a link", "")


def tamper(folder: Path, *, flips: int = 40) -> Tried:
    """All attacks, on a system that is made in an empty folder.

    Args:
        folder: empty.
        flips: drawn places of each file, at each of which one bit is flipped.
    """
    tried, place = Tried(), folder / "system"
    good = stocked(place)
    system = System(load(LAPTOP, folder=place))
    try:
        other = written(folder / "made", linear(system.live.view.columns, 1), "linear", seed=1)
        target = Target(system, good, other, folder / "canary")
        try_flips(target, flips, tried)
        try_pickles(target, tried)
        try_paths(target, tried)
        try_formats(folder / "formats", flips, tried)
        try_elsewhere(folder, tried)
    finally:
        system.close()
    return tried


def rows(flips: int = 40) -> list[Row]:
    """The row of the table."""
    folder = Path(tempfile.mkdtemp(prefix="faults-bundles-"))
    try:
        tried = tamper(folder, flips=flips)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for loaded in tried.loaded[:40]:
        print(loaded)
    return [
        Row(id="faults.bad_bundles_loaded", value=len(tried.loaded), unit="bundles",
            better="equal", target=0,
            note=f"{tried.count:,} tried: a flipped bit of each file of bundles of three rankers, "
            "files cut and gone, pickles of all protocols beside and in place of each, with and "
            "without their hash, links, paths and pointers that lead out, addresses and photos"),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--flips", type=int, default=40)
    for row in rows(options.parse_args().flips):
        print(row.id, row.value, row.note)


if __name__ == "__main__":
    main()
