"""Decayed: counts that halve with time, in one number each.

Forward decay: an event at t counts 2^((t - landmark) / half_life), and a sum read at time s is
multiplied by 2^-((s - landmark) / half_life). Nothing is touched as time passes. Source:
Cormode, Shkapenyuk, Srivastava, Xu, "Forward decay: a practical time decay model for streaming
systems", ICDE 2009, definition 3 with g exponential.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.kept import Arrays, Given, alike, object_of, of_object
from heirloom.retrieval.top import at_rows, fitted

_LARGEST_EXPONENT = 400
_LEAST = 2.0**-600
"""Below it a sum reads as 0: the landmark may lie 400 half-lives back, and what is older than
600 would be lost or kept by where it lies, for floats end at 2^-1074."""


_NONE = np.zeros(0)


@njit(cache=True)
def read_at(sums: NDArray[Any], row: int, scale: float) -> float:
    """As `Decayed.read` of one row, of the sums kept and the decay's scale at the time."""
    if row >= len(sums):
        return 0.0
    read = sums[row] * scale
    return read if read >= _LEAST else 0.0


@njit(cache=True)
def read_all(sums: NDArray[Any], size: int, scale: float) -> NDArray[Any]:
    """[size] the same of the first so many rows."""
    read = np.empty(size)
    for row in range(size):
        read[row] = read_at(sums, row, scale)
    return read


class Decay:
    """Weights of moments under one half-life. The landmark moves in whole half-lives.

    `moved(t)` tells by which power of two all sums must shrink before t is counted: an exact
    operation, so sums do not depend on how the events were cut into parts.
    """

    def __init__(self, half_life_ms: int) -> None:
        self.half_life_ms = half_life_ms
        self._landmark: int | None = None

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"landmark": of_object([self.half_life_ms, self._landmark])}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Decay", arrays, self.arrays())
        half_life_ms, landmark = object_of(own["landmark"], tuple[int, int | None])
        if half_life_ms != self.half_life_ms:
            raise InputError(f"Decay: a half-life of {half_life_ms} ms; wanted {self.half_life_ms}")
        self._landmark = landmark

    def moved(self, t: int) -> float:
        """Move the landmark if t is far past it; the factor for all sums kept so far."""
        if self._landmark is None:
            # On a grid, so that its phase does not depend on which event came first.
            self._landmark = t // self.half_life_ms * self.half_life_ms
        halves = (t - self._landmark) // self.half_life_ms
        if halves <= _LARGEST_EXPONENT:
            return 1.0
        self._landmark += halves * self.half_life_ms
        return float(np.ldexp(1.0, -int(min(halves, 2_000))))

    def weight(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        """[events] float64, what an event at each time adds to a sum."""
        part, halves = self._exponent(t)
        weights: NDArray[np.float64] = np.ldexp(np.exp2(part), halves)
        return weights

    def scale(self, t: int) -> float:
        """The factor by which a sum is multiplied to read it at time t."""
        # As `_exponent`, for one time: this is called for every array that a request reads.
        landmark = t if self._landmark is None else self._landmark
        halves, rest = divmod(t - landmark, self.half_life_ms)
        return float(
            np.ldexp(1 / np.exp2(rest / self.half_life_ms), -min(max(halves, -2_000), 2_000))
        )

    def _exponent(self, t: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Half-lives since the landmark, as a part in [0, 1) and whole ones.

        Apart, a moved landmark shifts the binary exponent alone and changes no other bit.
        """
        landmark = t if self._landmark is None else self._landmark
        halves, rest = np.divmod(t - landmark, self.half_life_ms)
        return rest / self.half_life_ms, np.clip(halves, -2_000, 2_000).astype(np.int32)


Name = str | tuple[int | str, ...]


class Decayed:
    """Arrays of decayed sums by key, each [slots], [categories] or the like."""

    def __init__(self, half_life_ms: int) -> None:
        self.decay = Decay(half_life_ms)
        self._sums: dict[Name, NDArray[np.float64]] = {}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        sums = {f"sum.{at}": kept for at, kept in enumerate(self._sums.values())}
        return {"names": of_object(list(self._sums)), **sums, **self.decay.arrays()}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self.decay.restore(arrays)
        names = object_of(arrays["names"], list[str | tuple[int | str, ...]])
        like = {f"sum.{at}": np.zeros(0) for at in range(len(names))}
        self._sums = dict(zip(names, alike("Decayed", arrays, like).values(), strict=True))

    def to(self, t: int) -> bool:
        """Be ready to count events at t. Whether all sums as they are kept changed for it."""
        factor = self.decay.moved(t)
        if factor != 1.0:
            for name in self._sums:
                self._sums[name] *= factor
        return factor != 1.0

    def add(self, name: Name, rows: NDArray[Any], amounts: NDArray[np.float64]) -> None:
        """Add amounts (already weighted by time) at rows, in order."""
        if len(rows) == 1:  # most often; `add.at` takes ten times as long to begin
            row = int(rows[0])
            self._reach(name, row + 1)[row] += amounts[0]
        elif len(rows):
            np.add.at(self._reach(name, int(rows.max()) + 1), rows, amounts)

    def read(self, name: Name, rows: NDArray[Any], t: int) -> NDArray[np.float64]:
        """The sums at rows as of t; 0 where nothing was counted."""
        kept = self._sums.get(name)
        if kept is None or not len(rows):
            return np.zeros(len(rows))
        sums = at_rows(kept, rows) * self.decay.scale(t)
        sums[sums < _LEAST] = 0.0
        return sums

    def kept(self, name: Name) -> NDArray[np.float64]:
        """The sums as they are kept, for `read_at`; none where nothing was counted."""
        return self._sums.get(name, _NONE)

    def forget(self, level: str, rows: NDArray[Any]) -> None:
        """Set rows to zero in all arrays whose name is, or ends in, a level."""
        for name, sums in self._sums.items():
            if name == level or (isinstance(name, tuple) and name[-1] == level):
                sums[rows[rows < len(sums)]] = 0.0

    def _reach(self, name: Name, size: int) -> NDArray[np.float64]:
        kept = fitted(self._sums.get(name, np.zeros(0)), size, 0.0)
        self._sums[name] = kept
        return kept
