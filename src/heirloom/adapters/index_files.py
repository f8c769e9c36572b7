"""Index files: a VectorIndex in memory-mapped files, written by one process, read by many.

A folder holds one generation at a time: a folder of its own, named in `current`. Its files are a
working copy and not the truth: they are shared, never synced, and thrown away with their writer.
What outlives a crash is the snapshot (adapters.snapshots) and the log; `saved` and `restored` go
from one to the other. A new writer publishes a new generation in one step, and readers move to it
at their next search.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from heirloom.adapters.snapshots import Snapshot, Snapshots
from heirloom.core.errors import InputError, StoreError
from heirloom.retrieval.vectors.answer import Answer, OutOfTime
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.memory import H_CHUNKS, H_CLOSED, H_SLOTS, Layout, Memory
from heirloom.retrieval.vectors.searcher import Searcher, Settings
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where

FORMAT: Final = 1
_NAME = re.compile(r"generation-(\d{10})")


class _Generation(msgspec.Struct, frozen=True):
    format: int
    model_id: str
    codes: tuple[str, ...]
    numbers: tuple[str, ...]


class MappedFiles:
    """Storage in files of one folder, shared with readers; they grow in place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fitted(self, layout: Layout, memory: Memory | None, chunks: int, slots: int) -> Memory:  # noqa: ARG002
        """Lengthen the files by zeros and map them anew; readers keep what they have mapped.

        `memory` lies in these files already.

        Raises:
            StoreError: the disk is full or refuses.
        """
        try:
            for name, (shape, dtype) in layout.shapes(chunks, slots).items():
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                with (self.folder / name).open("ab") as file:
                    if file.tell() < size:
                        # Room is taken at once: a full disk is an error here, not a fault later.
                        os.posix_fallocate(file.fileno(), 0, size)
            mapped = _mapped(self.folder, layout, chunks, slots, "r+")
        except OSError as error:
            raise StoreError(
                f"index {self.folder}: {error}; the index is as it was: free some space and send "
                "the call again"
            ) from error
        # Last: a reader that sees the room finds the files that long.
        mapped.header[H_CHUNKS], mapped.header[H_SLOTS] = chunks, slots
        return mapped


def _mapped(folder: Path, layout: Layout, chunks: int, slots: int, mode: Any) -> Memory:
    arrays = {
        name: np.asarray(np.memmap(folder / name, dtype, mode, shape=shape))
        for name, (shape, dtype) in layout.shapes(chunks, slots).items()
    }
    return Memory(**arrays)


class IndexFiles:
    """The writer's right to a folder, and the generation it writes.

    Args:
        folder: of the generations; it is made.
        reached: called with the name of each step of publishing when it is done. For tests, which
            stop there.

    Raises:
        StoreError: another process writes there.
    """

    def __init__(self, folder: Path, *, reached: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self._reached = reached
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise StoreError(
                f"index {folder}: another process writes it; stop that one first"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write. Readers go on with what is there."""
        self._lock.close()

    def published(self, make: Callable[[MappedFiles], VectorIndex]) -> VectorIndex:
        """A new generation, filled by `make` and then shown to readers in one step.

        Args:
            make: gives an index that lies in the storage it is called with.
        """
        old = _generations(self.folder)
        name = f"generation-{old[-1][0] + 1 if old else 0:010d}"
        home = self.folder / name
        home.mkdir()
        self._reached("folder")
        index = make(MappedFiles(home))
        self._reached("filled")
        np.savez(home / "codebook.npz", **index.codebook.arrays())  # type: ignore[arg-type]
        columns = index.columns
        said = _Generation(FORMAT, index.model_id, columns.codes, columns.numbers)
        (home / "generation.json").write_bytes(msgspec.json.encode(said))
        self._reached("described")
        draft = self.folder / "current.part"
        draft.write_text(name)
        self._reached("named")
        draft.replace(self.folder / "current")
        self._reached("shown")
        for _, folder in old:  # their readers hold the files; `closed` tells them to move on
            header = folder / "header"
            if header.exists() and header.stat().st_size:
                np.memmap(header, np.int64, "r+")[H_CLOSED] = 1
            self._reached("closed")
            shutil.rmtree(folder)
        self._reached("cleared")
        return index


def _generations(folder: Path) -> list[tuple[int, Path]]:
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


class IndexReader:
    """Searches the current generation of a folder. It writes nothing.

    Raises:
        StoreError: no generation is there, or it is of another format.
    """

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder
        self._settings = settings
        self._open()

    @property
    def model_id(self) -> str:
        """Which model made the vectors."""
        self._current()
        return self._said.model_id

    def find(
        self,
        vector: np.ndarray[Any, np.dtype[np.float32]],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """As FilteredIndex.find."""
        self._current()
        return self._searcher.find(vector, where, k, model_id=model_id, out_of_time=out_of_time)

    def _current(self) -> None:
        if self._memory.header[H_CLOSED]:
            self._open()

    def _open(self) -> None:
        for _ in range(100):  # a generation may be replaced between two of these steps
            try:
                name = (self.folder / "current").read_text()
                if not _NAME.fullmatch(name):
                    raise StoreError(f"index {self.folder}: `current` says {name[:50]!r}")
                home = self.folder / name
                said = msgspec.json.decode(
                    (home / "generation.json").read_bytes(), type=_Generation
                )
                if said.format != FORMAT:
                    raise StoreError(
                        f"index {self.folder}: format {said.format}; wanted {FORMAT}: start its "
                        "writer and its readers with one version of heirloom"
                    )
                with np.load(home / "codebook.npz", allow_pickle=False) as arrays:
                    codebook = Codebook.of(said.model_id, dict(arrays))
                self._said, self._home = said, home
                columns = Columns(said.codes, said.numbers)
                self._layout = Layout(
                    codebook.dim, codebook.lists, len(columns.codes), len(columns.numbers)
                )
                self._map()
            except FileNotFoundError as error:
                missing = error
                continue
            self._searcher = Searcher(codebook, columns, self._latest, self._settings)
            return
        raise StoreError(
            f"index {self.folder}: {missing}; nothing was published there: start its writer first"
        )

    def _map(self) -> None:
        header = np.memmap(self._home / "header", np.int64, "r")
        chunks, slots = int(header[H_CHUNKS]), int(header[H_SLOTS])
        self._memory = _mapped(self._home, self._layout, chunks, slots, "r")

    def _latest(self) -> Memory:
        """The arrays as long as they are now."""
        memory = self._memory
        chunks, slots = memory.header[H_CHUNKS], memory.header[H_SLOTS]
        if chunks > len(memory.following) or slots > len(memory.places):
            self._map()
        return self._memory


def snapshot_name(model_id: str) -> str:
    """Under which name a model's index is kept among the snapshots.

    >>> snapshot_name("Title & photo, v2")
    'index@title---photo--v2-52aff3fe'
    """
    digest = blake2b(model_id.encode(), digest_size=4).hexdigest()
    return f"index@{re.sub(r'[^a-z0-9.]', '-', model_id.lower())[:60]}-{digest}"


def saved(index: VectorIndex, snapshots: Snapshots, n: int, mark: str) -> Path:
    """Write the index as of log offset n; durable when this returns."""
    return snapshots.write(snapshot_name(index.model_id), n, mark, index.arrays())


def restored(
    files: IndexFiles,
    snapshots: Snapshots,
    model_id: str,
    mark: str,
    replay: Callable[[VectorIndex, int], None],
    refuse: Callable[[str], None],
    columns: Columns | None = None,
    settings: Settings | None = None,
) -> VectorIndex | None:
    """The latest whole snapshot, brought up to the log, as a new generation.

    Args:
        files: where the index is to lie.
        snapshots: where it was kept.
        model_id: of the vectors wanted.
        mark: of the log; snapshots of another log are left out.
        replay: called with the index and the offset it stands at: applies the log's upserts and
            removals from there on. Some may be in it already: to repeat them changes nothing.
            Readers see the index when this returns.
        refuse: hears why a snapshot is not taken.
        columns: as they are to be; a snapshot with others is left out.
        settings: how far a search looks.

    Returns:
        None if there is no snapshot to go by: start from the whole log.
    """
    for snapshot in snapshots.latest(snapshot_name(model_id), refuse):
        if snapshot.mark != mark:
            refuse(f"snapshot of {snapshot.of} at {snapshot.n}: of another log")
            continue

        def filled(storage: MappedFiles, of: Snapshot = snapshot) -> VectorIndex:
            index = VectorIndex.of(model_id, of.arrays, columns, settings, storage)
            replay(index, of.n)
            return index

        try:
            return files.published(filled)
        except InputError as error:
            refuse(str(error))
    return None
