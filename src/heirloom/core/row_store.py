"""RowStore: where the state of features stands as packed rows that many readers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

UNFINISHED: Final = -1
"""The n of a store that its writer is filling: its rows are of different offsets."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What stands under some keys.

    Attributes:
        rows: [keys] in their order, None where nothing stands.
        n: log offset of the rows, the lowest of the shards that were read; 0 for an empty store,
            UNFINISHED while one is filled.
        newest: the highest of the shards. Where it is n, all rows are of one offset.
    """

    rows: list[bytes | None]
    n: int
    newest: int


class RowStore(Protocol):
    """Bytes by key (features.rows): two int64, the second below 2^28. One writer, many readers.

    What one `put` writes to one shard is read whole or not at all.
    """

    def get(self, keys: NDArray[np.int64]) -> RowsRead:
        """The rows under these keys [keys, 2]; repeats are answered each time.

        Raises:
            StoreError: the store cannot be reached.
        """

    def put(self, keys: NDArray[np.int64], rows: Sequence[bytes], n: int) -> None:
        """Write rows and their offset; an empty row takes what stood there away.

        Raises:
            StoreError: the store cannot be reached; then some shards may have theirs.
        """

    def offset(self) -> int:
        """The n that `get` would give with every shard asked.

        Raises:
            StoreError: the store cannot be reached.
        """
