"""Records: the listings by slot, those that were restored as bytes until somebody asks for one."""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.kept import Arrays, Given, alike
from heirloom.core.listing import Listing

_LATER: Final = object()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Listing).decode


class Records:
    """A list of `Listing | None` by slot. A listing that was asked for stays decoded."""

    def __init__(self) -> None:
        self._own: list[Any] = []
        self._bytes: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._ends: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, slot: int) -> Listing | None:
        found: Listing | None = self._own[slot]
        if found is _LATER:
            found = self._own[slot] = _decode(self._restored(slot))
        return found

    def __setitem__(self, slot: int, listing: Listing | None) -> None:
        self._own[slot] = listing

    def reach(self, size: int) -> None:
        """Have at least so many slots; new ones hold nothing."""
        self._own.extend([None] * (size - len(self._own)))

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        parts = [
            self._restored(slot) if one is _LATER else b"" if one is None else _encode(one)
            for slot, one in enumerate(self._own)
        ]
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), dtype=np.int64)
        return {"bytes": np.frombuffer(b"".join(parts), np.uint8), "ends": ends}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Records", arrays, {"bytes": self._bytes, "ends": self._ends})
        self._bytes, self._ends = own["bytes"], own["ends"]
        if len(self._bytes) != int(self._ends[-1] if len(self._ends) else 0):
            raise InputError("Records: bytes and ends are not of one state: fold the log instead")
        full = np.diff(self._ends, prepend=0) > 0
        self._own = [_LATER if one else None for one in full.tolist()]

    def _restored(self, slot: int) -> bytes:
        start = int(self._ends[slot - 1]) if slot else 0
        return self._bytes[start : int(self._ends[slot])].tobytes()
