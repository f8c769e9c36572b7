"""History: somebody's tables, read by a mapping, as events in the order in which they happened."""

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from heirloom.adapters import files
from heirloom.apps.mapping import EventsPart, ListingsPart, Mapping, Source, check_columns
from heirloom.apps.typed import Typed
from heirloom.core.errors import InputError
from heirloom.core.event import Event, Kind, derived_id
from heirloom.core.listing import Listing
from heirloom.core.log import Rejected

_SLICE = 10_000
_T, _LINE, _PART = "#t", "#line", "#part"
_ORDER = [_T, _LINE, _PART]
_NUMBERS = ("position", "photos")
_TEXTS_OF_EVENT = (
    "event_id", "user", "session", "surface", "text", "slate", "listing", "seller",
)  # fmt: skip
_TEXTS_OF_LISTING = (
    "listing_id", "seller", "title", "description", "category", "brand", "size", "colour",
    "condition", "material", "country", "image",
)  # fmt: skip


def events_from(
    listings: Path | None, events: Path | None, mapping: Mapping
) -> Iterator[Event | Rejected]:
    """The events of two tables by time; at one moment, what is listed first, then by row.

    Rows that cannot be read come first, as Rejected. Event ids are made of content, so that
    reading the same rows again gives the same ids. The mapped columns of both tables are held in
    memory, the events are not.

    Raises:
        ConfigError: the mapping does not fit the tables; before any event.
        InputError: a table cannot be read; before any event.
    """
    check_columns(mapping, listings=listings, events=events)
    tables = _Tables(mapping)
    if listings is not None and mapping.listings and mapping.listings.table == "listings":
        tables.read_listings(listings)
    if events is not None:
        tables.read_events(events)
    return tables.stream()


def listings_from(listings: Path, mapping: Mapping) -> list[Listing]:
    """The listings of a table, as a stock for a simulation.

    Raises:
        ConfigError: the mapping does not fit the table.
        InputError: the table cannot be read, or a row of it gives no valid listing.
    """
    stock = Mapping(
        timezone=mapping.timezone,
        currency=mapping.currency,
        delimiter=mapping.delimiter,
        listings=mapping.listings,
    )
    found, problems = [], []
    for event in events_from(listings, None, stock):
        if isinstance(event, Rejected):
            problems.append(f"{event.source}: {event.reason}")
        elif event.data is not None and (why := event.data.problem()):
            problems.append(f"{event.listing!r}: {why}")
        elif event.data is not None:
            found.append(event.data)
    if problems:
        raise InputError(f"{listings}: {len(problems)} rows give no listing: {problems[:5]}")
    return found


class _Tables:
    """The mapped columns of the tables read so far."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.rejected: list[Rejected] = []
        self.listed: list[pl.DataFrame] = []
        self.events: list[pl.DataFrame] = []

    def read_listings(self, path: Path) -> None:
        part = self.mapping.listings
        if part is None:
            return
        for typed in self._batches(path):
            kept = self._add_listings(typed, part)
            if part.sold_at is not None:
                self.events.append(_sold(kept))

    def read_events(self, path: Path) -> None:
        part = self.mapping.listings
        for typed in self._batches(path):
            if part is not None and part.table == "events":
                self._add_listings(typed.again(), part)
                self.listed = [_first_of_each(self.listed)]
            for i, events in enumerate(self.mapping.events):
                self._add_events(typed.again(), events, i)

    def _batches(self, path: Path) -> Iterator[Typed]:
        for batch in files.read_table(path, delimiter=self.mapping.delimiter):
            self.rejected += batch.rejected
            yield Typed(path.name, batch.frame, batch.lines, self.mapping.timezone)

    def _add_listings(self, typed: Typed, part: ListingsPart) -> pl.DataFrame:
        typed.keep(part.where)
        columns = {
            name: typed.text(name, source, required=name in ("listing_id", "seller"))
            for name in _TEXTS_OF_LISTING
            if (source := getattr(part, name)) is not None
        }
        columns["currency"] = typed.text("currency", part.currency or self._currency())
        if part.hashtags is not None:
            columns["hashtags"] = typed.texts("hashtags", part.hashtags)
        if part.price is not None:
            columns["price_minor"] = typed.whole("price", part.price)
        if part.photos is not None:
            columns["photos"] = typed.whole("photos", part.photos)
        if part.listed_at is not None:
            required = part.listed == "listed_at"
            columns["listed_at"] = typed.time("listed_at", part.listed_at, required=required)
        if part.sold_at is not None:
            columns["sold_at"] = typed.time("sold_at", part.sold_at)
        at = columns.get("listed_at") if part.listed == "listed_at" else None
        columns[_T] = typed.nothing(pl.Int64) if at is None else at
        return self._keep(typed, columns, self.listed)

    def _add_events(self, typed: Typed, part: EventsPart, number: int) -> None:
        typed.keep(part.where)
        columns = {
            "kind": typed.text("kind", part.kind, required=True),
            _T: typed.time("t", part.t, required=True),
        }
        for name in _TEXTS_OF_EVENT:
            if (source := getattr(part, name)) is not None:
                columns[name] = typed.text(name, source)
        if part.listings is not None:
            columns["listings"] = typed.texts("listings", part.listings)
        if part.positions is not None:
            columns["positions"] = typed.wholes("positions", part.positions)
        if part.position is not None:
            columns["position"] = typed.whole("position", part.position)
        if part.price is not None:
            columns["price_minor"] = typed.whole("price", part.price)
            columns["currency"] = typed.text("currency", part.currency or self._currency())
        for name, source in self.mapping.declared.items():
            columns[f"declared.{name}"] = typed.label(f"declared.{name}", source)
        columns[_PART] = typed.nothing(pl.Int32).fill_null(number)
        self._keep(typed, columns, self.events)

    def _keep(
        self, typed: Typed, columns: dict[str, pl.Series], into: list[pl.DataFrame]
    ) -> pl.DataFrame:
        frame, rejected = typed.sorted_out({**columns, _LINE: typed.lines})
        self.rejected += rejected
        into.append(frame)
        return frame

    def _currency(self) -> Source:
        return Source(constant=self.mapping.currency)

    # ── in order ───────────────────────────────────────────────────────────────────────────

    def stream(self) -> Iterator[Event | Rejected]:
        yield from self.rejected
        events = _together(self.events)
        if len(events):
            events = events.sort(_ORDER)
            content = [name for name in events.columns if not name.startswith("#") or name == _T]
            keys = [
                pl.col(name).list.eval(pl.element().cast(pl.String)).list.join("\x1f").alias(name)
                if isinstance(events.schema[name], pl.List)
                else pl.col(name)
                for name in content
            ]
            again = events.select(keys).select(pl.int_range(pl.len()).over(content).alias("#again"))
            events = events.hstack(again)
        beginning = events[_T].min() if len(events) else None
        listed = _together(self.listed)
        if len(listed):
            at = pl.coalesce(pl.col(_T), pl.lit(beginning, pl.Int64))
            listed = listed.with_columns(at).sort(_T, _LINE)
        for _, event in heapq.merge(
            _listed_events(listed, self._derived), _people_events(events), key=lambda pair: pair[0]
        ):
            yield event

    @property
    def _derived(self) -> bool:
        part = self.mapping.listings
        return part is not None and part.table == "events"


_Timed = tuple[tuple[int, int], Event]


def _listed_events(listed: pl.DataFrame, derived: bool) -> Iterator[_Timed]:
    """((time, 0), event); the id of a listing derived from events is made of its id alone."""
    for row in _rows(listed):
        t = row.pop(_T)
        row.pop(_LINE)
        row.pop("sold_at", None)
        row.setdefault("title", "")
        row.setdefault("listed_at", t)
        row["hashtags"] = tuple(row.get("hashtags", ()))
        listing = Listing(**row)
        content = () if derived else [f"{name}={value}" for name, value in sorted(row.items())]
        event_id = derived_id("listed", listing.listing_id, *content)
        yield (
            (t, 0),
            Event(event_id=event_id, kind="listed", t=t, listing=listing.listing_id, data=listing),
        )


def _people_events(events: pl.DataFrame) -> Iterator[_Timed]:
    for row in _rows(events):
        t, again = row.pop(_T), row.pop("#again")
        for name in (_LINE, _PART):
            row.pop(name, None)
        given = row.pop("event_id", None)
        content = [f"{name}={value}" for name, value in sorted(row.items())]
        attributes = {
            name.removeprefix("declared."): row.pop(name)
            for name in list(row)
            if name.startswith("declared.")
        }
        for name in ("listings", "positions"):
            if name in row:
                row[name] = tuple(row[name])
        event_id = given or derived_id(t, again, *content)
        yield (t, 1), Event(event_id=event_id, t=t, attributes=attributes, **row)


def _rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows without the columns in which they have no value."""
    for part in frame.iter_slices(_SLICE):
        for row in part.iter_rows(named=True):
            yield {name: value for name, value in row.items() if value is not None}


def _together(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    frames = list(frames)
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def _first_of_each(listed: list[pl.DataFrame]) -> pl.DataFrame:
    """Of the rows that describe one listing, the earliest; of equal ones the first."""
    rows = _together(listed).sort(_T, _LINE, nulls_last=True)
    return rows.unique("listing_id", keep="first", maintain_order=True)


def _sold(listed: pl.DataFrame) -> pl.DataFrame:
    sold = listed.filter(pl.col("sold_at").is_not_null())
    return sold.select(
        pl.lit(Kind.SOLD.value).alias("kind"),
        pl.col("listing_id").alias("listing"),
        pl.col("sold_at").alias(_T),
        _LINE,
        pl.lit(-1, pl.Int32).alias(_PART),
    )
