"""Catalogue: the listings by slot, their live state, and the columns that filters need."""

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import Event, Kind
from heirloom.core.facts import LISTING_ROW
from heirloom.core.kept import (
    Arrays,
    Given,
    alike,
    joined,
    object_of,
    of_object,
    of_texts,
    texts_of,
    within,
)
from heirloom.core.listing import Listing, Status
from heirloom.core.query import Filters
from heirloom.core.records import Records
from heirloom.core.vocabulary import Vocabulary

DAY_MS = 86_400_000

CODED = ("seller", "brand", "category", "size", "colour", "condition", "material", "country")
"""Listing fields kept as vocabulary codes, one int32 column each."""

_STATUS_AFTER = {
    Kind.RESERVED: Status.RESERVED,
    Kind.RELEASED: Status.LIVE,
    Kind.SOLD: Status.SOLD,
    Kind.REMOVED: Status.REMOVED,
}


_LIVE = int(Status.LIVE)  # to compare with the enum's member takes as long as a hundred slots


class Catalogue:
    """Listings by slot. One writer; `status` is the authority on availability.

    A slot is reused `retire_after_ms` after its listing was sold or removed; then
    `generation[slot]` grows by one, and every column is written anew, so that the new listing
    inherits nothing. All columns have the length `len(catalogue)`, slots of no listing included
    (their status is REMOVED).

    Attributes:
        written: how often a listing was written to a slot.
    """

    def __init__(self, vocabulary: Vocabulary, *, retire_after_ms: int = 30 * DAY_MS) -> None:
        self.vocabulary = vocabulary
        self.retire_after_ms = retire_after_ms
        self._slots: dict[str, int] = {}
        self._listings = Records()
        self._ids: NDArray[np.object_] = np.zeros(0, np.object_)  # of the listings, None for none
        self._retiring: deque[tuple[int, int, int]] = deque()  # (t of the end, slot, generation)
        self._retired: dict[str, bytes] = {}  # one LISTING_ROW without slot, as it last stood
        self._size = 0
        self.written = 0
        self._columns: dict[str, NDArray[Any]] = {
            "status": np.zeros(0, np.uint8),
            "generation": np.zeros(0, np.int32),
            "price_minor": np.zeros(0, np.int64),
            "first_price_minor": np.zeros(0, np.int64),
            "listed_at": np.zeros(0, np.int64),
            "photos": np.zeros(0, np.int16),
            **{name: np.zeros(0, np.int32) for name in CODED},
        }
        self._under: dict[tuple[str, int], NDArray[np.bool_]] = {}
        self._stems: dict[tuple[int, int], NDArray[np.int32]] = {}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {
            "known": of_object(self.vocabulary.sizes()),
            "slots": np.array(list(self._slots.values()), np.int32),
            "retiring": np.array(self._retiring, np.int64).reshape(-1, 3),
            "rows": np.frombuffer(b"".join(self._retired.values()), LISTING_ROW),
            "size": np.array([self._size], np.int64),
            **joined({
                "column": self._columns,
                "ids": of_texts(self._slots),
                "retired": of_texts(self._retired),
                "listings": self._listings.arrays(),
            }),
        }  # fmt: skip

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Catalogue", arrays, self.arrays())
        for field, size in object_of(own["known"], dict[str, int]).items():
            self.vocabulary.know(field, size - 1)
            if self.vocabulary.size(field) < size:
                raise InputError(
                    f"Catalogue: {size} codes of {field}; the log has {self.vocabulary.size(field)}"
                )
        self._slots = dict(zip(texts_of(within(own, "ids")), own["slots"].tolist(), strict=True))
        self._retiring = deque(map(tuple, own["retiring"].tolist()))
        rows = map(bytes, own["rows"])
        self._retired = dict(zip(texts_of(within(own, "retired")), rows, strict=True))
        self._columns, self._size = within(own, "column"), int(own["size"][0])
        self.written += 1
        self._listings.restore(within(own, "listings"))
        if own["slots"].max(initial=-1) >= self._size:
            raise InputError("Catalogue: slots beyond its size: fold the log instead")
        self._ids = np.full(len(self._columns["status"]), None, np.object_)
        self._ids[own["slots"]] = np.fromiter(self._slots, np.object_, len(self._slots))

    def __len__(self) -> int:
        return self._size

    def column(self, name: str) -> NDArray[Any]:
        """A view [slots] of a column.

        They are status, generation, price_minor, first_price_minor, listed_at (ms), photos, and
        the vocabulary codes named in CODED.
        """
        return self._columns[name][: self._size]

    def text(self, field: str, slot: int) -> str:
        """A field of CODED of the listing in a slot; empty where its seller says nothing."""
        code: int = self._columns[field].item(slot)
        return self.vocabulary.text(field, code)

    @property
    def live(self) -> NDArray[np.bool_]:
        """[slots] bool, True where a listing may be shown now."""
        live: NDArray[np.bool_] = self.column("status") == Status.LIVE
        return live

    def slot_of(self, listing_id: str) -> int:
        """The slot of a listing; -1 if it is unknown or retired."""
        return self._slots.get(listing_id, -1)

    def knows(self, listing_id: str) -> bool:
        """Whether this listing was ever listed, also where its slot is another's by now."""
        return listing_id in self._slots or listing_id in self._retired

    def knows_any(self, listing_ids: Sequence[str]) -> bool:
        """Whether one of these listings was ever listed: most often the first was."""
        slots, retired = self._slots, self._retired
        for listing_id in listing_ids:  # noqa: SIM110 - any() over a generator takes twice as long
            if listing_id in slots or listing_id in retired:
                return True
        return False

    def slots_of(self, listing_ids: Sequence[str]) -> NDArray[np.int32]:
        """[ids] int32, -1 for those unknown."""
        found = map(self._slots.get, listing_ids, itertools.repeat(-1))
        return np.fromiter(found, np.int32, len(listing_ids))

    def ids_of(self, slots: NDArray[np.integer]) -> list[str]:
        """Ids of the listings in slots; each holds one."""
        found: list[str] = self._ids[slots].tolist()
        return found

    def listing(self, slot: int) -> Listing:
        """The listing in a slot, with its present price."""
        listing = self._listings[slot]
        if listing is None:
            raise IndexError(f"slot {slot} holds no listing")
        return listing

    def status(self, slot: int) -> Status:
        """What has become of the listing in a slot."""
        return Status(int(self._columns["status"][slot]))

    def refusal(self, event: Event) -> str | None:
        """Why a stock event contradicts what is known, as a sentence; None if it does not.

        The listing must be known, or the event be `listed`.
        """
        slot = self.slot_of(event.listing or "")
        kind = Kind(event.kind)
        if slot < 0:
            ended = kind in (Kind.RESERVED, Kind.RELEASED, Kind.SOLD)
            if ended and self.knows(event.listing or ""):
                return f"listing {event.listing!r} ended long ago: it cannot be {kind}"
            return None
        status = self.status(slot)
        if kind is Kind.LISTED and status is not Status.REMOVED:
            return f"listing {event.listing!r} is already listed; send `edited`"
        if kind is Kind.SOLD and status is Status.SOLD:
            return f"listing {event.listing!r} was sold before; a listing sells once"
        if kind in (Kind.RESERVED, Kind.RELEASED, Kind.SOLD) and status in (
            Status.SOLD,
            Status.REMOVED,
        ):
            return f"listing {event.listing!r} is {status.name}: it cannot be {kind}"
        return None

    def retires_by(self, t: int) -> bool:
        """Whether `allocate` at this time takes the slot of a listing that ended."""
        return bool(self._retiring) and self._retiring[0][0] + self.retire_after_ms <= t

    def allocate(self, listing_id: str, t: int) -> int:
        """A slot for a new listing: a retired one if there is one, else the next. Writer only.

        A listing gives up its slot when another takes it, and not before: what is known at an
        offset must follow from the log alone.
        """
        known = self._slots.get(listing_id)
        if known is not None:
            return known
        while self.retires_by(t):
            _, slot, generation = self._retiring.popleft()
            vacant = self._listings[slot] is None  # sold, then removed: two ends, one slot
            if not vacant and self._columns["generation"][slot] == generation:
                self._vacate(slot)
                return slot
        return self._size

    def apply(self, event: Event, slot: int) -> None:
        """Take over a stock event about the listing in `slot`, as the log stamped it."""
        kind = Kind(event.kind)
        if slot < 0:
            return
        if kind is Kind.LISTED:
            self._occupy(slot, event)
        elif self._listings[slot] is None:
            return
        elif kind is Kind.EDITED and event.data is not None:
            self._write(slot, event.data)
        elif kind is Kind.PRICE_CHANGED and event.price_minor is not None:
            price = event.price_minor
            self._columns["price_minor"][slot] = price
            self._listings[slot] = msgspec.structs.replace(self.listing(slot), price_minor=price)
        elif kind in _STATUS_AFTER:
            self._set_status(slot, _STATUS_AFTER[kind], event.t)

    def rows(self, slots: NDArray[np.int32]) -> NDArray[Any]:
        """[slots] of LISTING_ROW, to stamp on an event; a slot of -1 gives codes of 0."""
        rows = np.zeros(len(slots), LISTING_ROW)
        rows["slot"] = slots
        if not self._size:
            return rows
        known = slots >= 0
        for name in ("seller", "brand", "category", "size", "colour", "condition", "price_minor"):
            rows[name] = self._columns[name].take(slots, mode="clip")
        if not known.all():
            for name in ("seller", "brand", "category", "size", "colour", "condition"):
                rows[name][~known] = 0
            rows["price_minor"][~known] = 0
        return rows

    def rows_of(self, listing_ids: Sequence[str]) -> NDArray[Any]:
        """[ids] of LISTING_ROW; a retired listing gives its last row with slot -1."""
        rows = self.rows(self.slots_of(listing_ids))
        for i in np.flatnonzero(rows["slot"] < 0).tolist():
            if (row := self._retired.get(listing_ids[i])) is not None:
                rows[i] = np.frombuffer(row, LISTING_ROW)[0]
        return rows

    def mask(self, filters: Filters, slots: NDArray[np.integer] | None = None) -> NDArray[np.bool_]:
        """[slots] bool: live and as the filters ask; of all slots, or of these."""

        def column(name: str) -> NDArray[Any]:
            whole = self.column(name)
            return whole if slots is None else whole.take(slots)  # [slots] takes four times as long

        keep: NDArray[np.bool_] = column("status") == _LIVE
        if filters.category:
            keep = keep & self.under(filters.category)[column("category")]
        for field, wanted in (
            ("brand", filters.brands),
            ("size", filters.sizes),
            ("colour", filters.colours),
            ("condition", filters.conditions),
            ("country", filters.countries),
            ("seller", filters.sellers),
        ):
            if wanted:
                allowed = np.zeros(self.vocabulary.size(field), np.bool_)
                allowed[[self.vocabulary.find(field, text) for text in wanted]] = True
                allowed[0] = False
                keep = keep & allowed[column(field)]
        if filters.price_min_minor is not None:
            keep = keep & (column("price_minor") >= filters.price_min_minor)
        if filters.price_max_minor is not None:
            keep = keep & (column("price_minor") <= filters.price_max_minor)
        if filters.listed_since is not None:
            keep = keep & (column("listed_at") >= filters.listed_since)
        return keep

    def under(self, path: str) -> NDArray[np.bool_]:
        """[category codes] bool: the categories at or below a path."""
        texts = self.vocabulary.texts("category")
        key = (path.strip("/"), len(texts))
        if key not in self._under:
            self._under[key] = np.array(
                [text == key[0] or text.startswith(key[0] + "/") for text in texts], np.bool_
            )
        return self._under[key]

    def stem(self, steps: int) -> NDArray[np.int32]:
        """[category codes] int32: one number for all categories that share their first steps."""
        texts = self.vocabulary.texts("category")
        key = (steps, len(texts))
        if key not in self._stems:
            numbers: dict[str, int] = {}
            stems = ("/".join(text.split("/")[:steps]) for text in texts)
            self._stems[key] = np.array(
                [numbers.setdefault(stem, len(numbers)) for stem in stems], np.int32
            )
        return self._stems[key]

    def _occupy(self, slot: int, event: Event) -> None:
        if event.data is None:
            return
        self._grow(slot + 1)
        if self._listings[slot] is not None:
            self._vacate(slot)
        self._columns["generation"][slot] += 1
        self._write(slot, event.data)
        self._columns["first_price_minor"][slot] = event.data.price_minor
        self._columns["listed_at"][slot] = event.data.listed_at or event.t
        self._columns["status"][slot] = Status.LIVE
        self._slots[event.data.listing_id] = slot
        self._retired.pop(event.data.listing_id, None)

    def _write(self, slot: int, listing: Listing) -> None:
        self.written += 1
        for field in CODED:
            self._columns[field][slot] = self.vocabulary.code(field, getattr(listing, field))
        self._columns["price_minor"][slot] = listing.price_minor
        self._columns["photos"][slot] = min(listing.photos, 32_767)
        self._listings[slot] = listing
        self._ids[slot] = listing.listing_id

    def _set_status(self, slot: int, status: Status, t: int) -> None:
        self._columns["status"][slot] = status
        if status in (Status.SOLD, Status.REMOVED):
            generation = int(self._columns["generation"][slot])
            self._retiring.append((t, slot, generation))

    def _vacate(self, slot: int) -> None:
        listing = self._listings[slot]
        if listing is not None and self._slots.get(listing.listing_id) == slot:
            row = self.rows(np.array([slot], np.int32))
            row["slot"] = -1
            self._retired[listing.listing_id] = row.tobytes()
            del self._slots[listing.listing_id]
        self._listings[slot] = self._ids[slot] = None
        self._columns["status"][slot] = Status.REMOVED

    def _grow(self, size: int) -> None:
        capacity = len(self._columns["status"])
        if size > capacity:
            capacity = max(1024, capacity * 2, size)
            for name, column in self._columns.items():
                grown = np.zeros(capacity, column.dtype)
                grown[: self._size] = column[: self._size]
                self._columns[name] = grown
            ids = np.full(capacity, None, np.object_)
            ids[: self._size] = self._ids[: self._size]
            self._ids = ids
            self._columns["status"][self._size :] = Status.REMOVED
        if size > self._size:
            self._listings.reach(size)
            self._size = size
