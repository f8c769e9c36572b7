"""Facts: events as arrays, the form in which features fold them and training reads them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DECLARED = 8

EVENT_ROW = np.dtype(
    [
        ("seq", "<i8"),
        ("t", "<i8"),
        ("kind", "i1"),
        ("surface", "i1"),
        ("person", "<i4"),
        ("seller", "<i4"),
        ("slate", "<u8"),
        ("declared", "<i4", (MAX_DECLARED,)),
        ("query", "<i4"),
    ]
)
"""One event. `kind` and `surface` are codes of core.event; `person` and `seller` (of a follow or
block) are vocabulary codes; `slate` a 64-bit hash of the slate's id, 0 for none; `declared` the
codes of the system's declared attributes, in its order, 0 where not stated; `query` the code of
the words asked (`core.words.query_key`), 0 for none."""

LISTING_ROW = np.dtype(
    [
        ("slot", "<i4"),
        ("seller", "<i4"),
        ("brand", "<i4"),
        ("category", "<i4"),
        ("size", "<i4"),
        ("colour", "<i4"),
        ("condition", "<i4"),
        ("position", "<i2"),
        ("price_minor", "<i8"),
    ]
)
"""One listing that an event names, as it stood at ingestion. `slot` is -1 where the listing has
no slot any more (or, in an impression, was never listed); the attribute codes are stamped, so a
later edit cannot change history. `position` is -1 where the event does not state it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Events and the listings they name, in log order.

    Attributes:
        events: [events] of EVENT_ROW.
        listings: [mentions] of LISTING_ROW; those of event i are
            `listings[starts[i]:starts[i + 1]]`.
        starts: [events + 1] int64.
    """

    events: NDArray[Any]
    listings: NDArray[Any]
    starts: NDArray[np.int64]
    _kinds: list[int] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def kinds(self) -> int:
        """Bit k is set where some event is of the kind with code k; found when first asked for.

        Who folds other kinds alone has nothing to do, and few events are folded at once by far
        the most often.

        >>> Facts.empty().kinds
        0
        """
        if not self._kinds:
            codes = np.bincount(self.events["kind"]).nonzero()[0].tolist()
            self._kinds.append(sum(1 << code for code in codes))
        return self._kinds[0]

    @classmethod
    def empty(cls) -> "Facts":
        """No facts."""
        return cls(np.zeros(0, EVENT_ROW), np.zeros(0, LISTING_ROW), np.zeros(1, dtype=np.int64))

    @classmethod
    def unpack(cls, event_rows: list[bytes], listing_rows: list[bytes]) -> "Facts":
        """From the bytes that the log keeps, one pair per event."""
        lengths = np.array([len(row) for row in listing_rows], dtype=np.int64)
        starts = np.zeros(len(listing_rows) + 1, dtype=np.int64)
        np.cumsum(lengths // LISTING_ROW.itemsize, out=starts[1:])
        return cls(
            np.frombuffer(b"".join(event_rows), EVENT_ROW),
            np.frombuffer(b"".join(listing_rows), LISTING_ROW),
            starts,
        )

    @classmethod
    def joined(cls, parts: Sequence["Facts"]) -> "Facts":
        """Consecutive parts as one."""
        if len(parts) < 2:
            return parts[0] if parts else cls.empty()
        before = np.cumsum([0] + [len(part.listings) for part in parts])
        starts = [part.starts[:-1] + n for part, n in zip(parts, before[:-1], strict=True)]
        return cls(
            np.concatenate([part.events for part in parts]),
            np.concatenate([part.listings for part in parts]),
            np.concatenate([*starts, before[-1:]]).astype(np.int64),
        )

    def of_events(self, *names: str) -> tuple[NDArray[Any], ...]:
        """Columns [events] of EVENT_ROW as arrays of their own, for a compiled loop.

        A column of one row lies together and one of more does not, and what the log gives cannot
        be written to: each would be compiled for anew.
        """
        return tuple(self.events[name].copy() for name in names)

    def of_listings(self, *names: str) -> tuple[NDArray[Any], ...]:
        """Columns [mentions] of LISTING_ROW, in the same way."""
        return tuple(self.listings[name].copy() for name in names)

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, part: slice) -> "Facts":
        start, stop, step = part.indices(len(self.events))
        if step != 1:
            raise ValueError("Facts are sliced in log order, with step 1")
        stop = max(start, stop)
        first, last = self.starts[start], self.starts[stop]
        return Facts(
            self.events[start:stop],
            self.listings[first:last],
            self.starts[start : stop + 1] - first,
        )
