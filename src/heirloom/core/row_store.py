"""RowStore: where the state of features stands as packed rows that many readers share."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

UNFINISHED: Final = -1
"""The n of a store that its writer is filling: its rows are of different offsets."""


class Mark(NamedTuple):
    """Where the rows of a store stand.

    Attributes:
        n: log offset applied to all of them; 0 for an empty store, UNFINISHED for one being filled.
        newest_ms: time of the newest event applied.
        run: drawn by the writer when it begins, and when it fills the store anew.
        turn: how often it has written in this run.
        log: what tells the log's first n entries from another log's; "" where nobody says.
    """

    n: int
    newest_ms: int
    run: int
    turn: int
    log: str = ""


EMPTY: Final = Mark(0, 0, 0, 0)
"""The mark of a store that nobody has written to."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What stands under some keys, all of it as of one mark.

    Attributes:
        rows: [keys] in their order, None where nothing stands.
        mark: of the rows.
        changed: uint32, fingerprints of the keys written since the mark that was asked about; None
            where that is not known any more: any row may have changed.
    """

    rows: list[bytes | None]
    mark: Mark
    changed: NDArray[np.uint32] | None


class RowStore(Protocol):
    """Bytes by key (features.rows): two int64, the second below 2^28. One writer, many readers.

    What one `put` writes is read whole or not at all.
    """

    def get(self, keys: NDArray[np.int64], since: Mark) -> RowsRead:
        """The rows under these keys [keys, 2], and which rows changed since an earlier read.

        Repeats are answered each time.

        Raises:
            StoreError: the store cannot be reached.
        """

    def put(self, keys: NDArray[np.int64], rows: list[bytes], mark: Mark) -> None:
        """Write rows and where they stand; an empty row takes what stood there away.

        Raises:
            StoreError: the store cannot be reached; then a part may be written.
        """

    def mark(self) -> Mark:
        """Where the store stands.

        Raises:
            StoreError: the store cannot be reached.
        """

    def close(self) -> None:
        """Let go of it."""


def fingerprints(keys: NDArray[np.int64]) -> NDArray[np.uint32]:
    """[keys] uint32: 32 well mixed bits of each key [keys, 2].

    Two keys of one fingerprint are taken for one: a row is read again that had not changed.
    Mixed as the keys of a state are, and as readers of rows mix them again.

    >>> fingerprints(np.array([[1, 0], [1, 1]])).tolist()
    [3389036311, 767131547]
    """
    mixed = keys[:, 0].astype(np.uint64) ^ keys[:, 1].astype(np.uint64) << np.uint64(17)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
    found: NDArray[np.uint32] = (mixed >> np.uint64(32)).astype(np.uint32)
    return found
