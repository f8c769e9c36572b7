"""Examples on disk: replayed once, read again by every trial and every run that goes on.

One folder for each replay, arrays as .npy and a manifest with their hashes; no pickle.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import StoreError
from heirloom.ranking.ranker import Examples

MANIFEST_FILE = "examples.json"
_ARRAYS = ("values", "groups", "gains", "positions", "t", "surfaces")
_OPTIONAL = ("done", "drawn", "place_logits")
"""Arrays that not all examples have."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What examples rest on; another replay has another key.

    Attributes:
        offset: of the log's end, when they were made.
        mark: of the log up to there (`recovery.mark_of`).
        view: name@version.
        encoders: model_id.
        recipe: settings that decide which examples there are, by name.
    """

    offset: int
    mark: str
    view: str
    encoders: str
    recipe: dict[str, str]

    @property
    def key(self) -> str:
        """A hash of all of it."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=12).hexdigest()


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    replay: Replay
    columns: tuple[str, ...]
    actions: tuple[str, ...]
    files: dict[str, str]


def write(folder: Path, replay: Replay, examples: Examples, surfaces: NDArray[np.int8]) -> Path:
    """Keep examples below a folder, in one of their key; it appears whole.

    Raises:
        StoreError: the disk refuses.
    """
    target = folder / replay.key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        try:
            kept = [name for name in _OPTIONAL if getattr(examples, name) is not None]
            for name in (*_ARRAYS, *kept):
                array = surfaces if name == "surfaces" else getattr(examples, name)
                np.save(draft / f"{name}.npy", array, allow_pickle=False)
            manifest = _Manifest(
                replay=replay,
                columns=examples.columns,
                actions=examples.actions,
                files={f"{n}.npy": _sha256(draft / f"{n}.npy") for n in (*_ARRAYS, *kept)},
            )
            (draft / MANIFEST_FILE).write_bytes(msgspec.json.encode(manifest))
            shutil.rmtree(target, ignore_errors=True)  # a damaged one
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise StoreError(f"{target}: examples cannot be kept: {error}; make room") from error
    return target


def read(folder: Path, replay: Replay) -> tuple[Examples, NDArray[np.int8]] | None:
    """Examples of this replay and their surfaces [rows] int8; None where none were kept.

    Raises:
        StoreError: a file is not as it was written.
    """
    target = folder / replay.key
    if not (target / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = msgspec.json.decode((target / MANIFEST_FILE).read_bytes(), type=_Manifest)
        arrays = {}
        for name in (*_ARRAYS, *(n for n in _OPTIONAL if f"{n}.npy" in manifest.files)):
            file = target / f"{name}.npy"
            if _sha256(file) != manifest.files.get(file.name):
                raise ValueError(f"{file.name} was changed or damaged")
            arrays[name] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise StoreError(f"{target}: {error}; delete the folder, they are replayed then") from error
    surfaces = arrays.pop("surfaces")
    return Examples(columns=manifest.columns, actions=manifest.actions, **arrays), surfaces


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
