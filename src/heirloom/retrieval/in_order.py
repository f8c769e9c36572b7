"""InOrder: slots in the order of a number each, kept so while listings come."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike
from heirloom.retrieval.retriever import Passes

_Part = tuple[NDArray[np.int64], NDArray[np.int32]]
_NOTHING: _Part = np.zeros(0, np.int64), np.zeros(0, np.int32)
_LATE = 1_024
_SHARE = 16
_PIECE = 512


class InOrder:
    """Slots by one key each, ascending.

    A long sorted part and a short one of what came since the two were last merged: to take in a
    listing costs its share of a merge, and to find those with the greatest keys, or with one key,
    does not grow with the stock.
    """

    def __init__(self) -> None:
        self._whole, self._late = _NOTHING, _NOTHING

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        (keys, slots), (late_keys, late_slots) = self._whole, self._late
        return {"keys": keys, "slots": slots, "late.keys": late_keys, "late.slots": late_slots}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("InOrder", arrays, self.arrays())
        self._whole = own["keys"], own["slots"]
        self._late = own["late.keys"], own["late.slots"]

    def put(self, slots: NDArray[np.integer], keys: NDArray[np.integer]) -> None:
        """Take slots in, each with its key from now on; of a slot that comes twice the last."""
        if not len(slots):
            return
        _, last = np.unique(slots[::-1], return_index=True)
        rows = len(slots) - 1 - last
        new = keys[rows].astype(np.int64), slots[rows].astype(np.int32)
        self._late = _merged(self._late, new)
        if len(self._late[0]) > max(_LATE, len(self._whole[0]) // _SHARE):
            self._whole, self._late = _merged(self._whole, self._late), _NOTHING

    def of(self, wanted: Collection[int], keys: NDArray[np.integer]) -> NDArray[np.int32]:
        """The slots with any of these keys, ascending.

        Args:
            wanted: keys, few.
            keys: [slots] the present key of each.
        """
        found = [_NOTHING[1]]
        for known, slots in (self._whole, self._late):
            ends = zip(
                np.searchsorted(known, list(wanted), "left").tolist(),
                np.searchsorted(known, list(wanted), "right").tolist(),
                strict=True,
            )
            for start, stop in ends:
                some = slots[start:stop]
                found.append(some[keys[some] == known[start:stop]])
        return np.unique(np.concatenate(found))

    def since(self, least: int, keys: NDArray[np.integer]) -> NDArray[np.int32]:
        """The slots with keys from `least` on, ascending; `keys` as for `of`."""
        found = []
        for known, slots in (self._whole, self._late):
            start = np.searchsorted(known, least, "left")
            found.append(slots[start:][keys[slots[start:]] == known[start:]])
        return np.unique(np.concatenate(found))

    def greatest(self, keys: NDArray[np.integer], passes: Passes, k: int) -> NDArray[np.int32]:
        """Slots that pass, ascending, all with the k greatest keys of such among them.

        Args:
            keys: [slots] the present key of each.
            passes: asked of some slots.
            k: how many are wanted; where fewer pass, all come out.
        """
        found = [_NOTHING[1]]
        for known, slots in (self._whole, self._late):
            stop, piece, passed = len(known), max(_PIECE, 2 * k), 0
            while stop and passed < k:
                start = int(np.searchsorted(known, known[max(stop - piece, 0)], "left"))
                some = slots[start:stop]
                some = some[keys[some] == known[start:stop]]
                some = some[passes(some)]
                found.append(some)
                passed, stop, piece = passed + len(some), start, 2 * piece
        return np.unique(np.concatenate(found))


def _merged(part: _Part, new: _Part) -> _Part:
    """Both in one order; a slot of both has the new key."""
    (keys, slots), (new_keys, new_slots) = part, new
    if len(slots):
        again = np.zeros(1 + max(int(slots.max()), int(new_slots.max())), np.bool_)
        again[new_slots] = True
        kept = ~again[slots]
        keys, slots = keys[kept], slots[kept]
    order = np.argsort(new_keys, kind="stable")
    at = np.searchsorted(keys, new_keys[order], "right")
    return np.insert(keys, at, new_keys[order]), np.insert(slots, at, new_slots[order])
