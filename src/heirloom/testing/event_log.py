"""The laws of core.log.EventLog and core.log.Anteroom. Subclass, say how to open yours, run pytest.

class TestMyLog(EventLogLaws):
    def open_log(self, folder):
        return MyLog(folder / "log")
"""

import itertools
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heirloom.core.event import (
    KIND_CODE,
    LISTING_KINDS,
    STOCK_KINDS,
    SURFACE_CODE,
    Event,
    Kind,
    Scalar,
    named,
)
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.listing import Listing
from heirloom.core.log import Entry, EventLog, Rejected
from heirloom.core.vocabulary import Vocabulary

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS

_law = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1,
               max_size=12)  # fmt: skip
_prices = st.integers(0, 10**15)
_scalars = st.one_of(_texts, st.integers(-(2**53), 2**53), st.booleans(),
                     st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
_attributes = st.dictionaries(_texts, _scalars | st.lists(_texts, max_size=3), max_size=3)
_filters: st.SearchStrategy[dict[str, Scalar | list[str]]] = st.fixed_dictionaries(
    {"price_max_minor": _prices},
    optional={"brands": st.lists(_texts, max_size=3), "category": _texts},
)


@st.composite
def listings(draw: st.DrawFn, listing_id: str | None = None) -> Listing:
    """Any listing that core takes."""
    return Listing(
        listing_id=listing_id or draw(_ids),
        seller=draw(_ids),
        title=draw(_texts),
        description=draw(_texts),
        hashtags=tuple(draw(st.lists(_texts, max_size=3))),
        category=draw(st.sampled_from(["", "women", "women/dresses", "men/été"])),
        brand=draw(_texts),
        size=draw(_texts),
        price_minor=draw(_prices),
        photos=draw(st.integers(0, 40)),
        listed_at=draw(st.sampled_from([0, START_MS])),
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event that core.event.problem takes at START_MS + 3 days, of any kind."""
    kind = draw(st.sampled_from(Kind))
    listing = draw(_ids) if kind in STOCK_KINDS | LISTING_KINDS else None
    shown = tuple(draw(st.lists(_ids, min_size=1, max_size=5))) if kind == Kind.IMPRESSION else ()
    at = st.lists(st.integers(0, 32_767), min_size=len(shown), max_size=len(shown))
    follows = kind in (Kind.FOLLOW, Kind.UNFOLLOW)
    searched = follows and draw(st.booleans())
    return Event(
        event_id=draw(_ids),
        kind=kind.value,
        t=START_MS + draw(st.integers(0, 3 * DAY_MS)),
        user=draw(_ids) if kind not in STOCK_KINDS else draw(st.none() | _ids),
        session=draw(st.none() | _ids),
        surface=draw(st.none() | st.sampled_from(list(SURFACE_CODE))),
        text=draw(st.none() | _texts),
        slate=draw(st.none() | _ids),
        listing=listing,
        listings=shown,
        positions=tuple(draw(at)) if draw(st.booleans()) else (),
        position=draw(st.none() | st.integers(0, 32_767)),
        seller=draw(_ids) if kind == Kind.BLOCK or (follows and not searched) else None,
        price_minor=draw(_prices) if kind == Kind.PRICE_CHANGED else draw(st.none() | _prices),
        currency=draw(st.none() | st.just("EUR")),
        attributes=draw(_filters) if searched else draw(_attributes),
        data=draw(listings(listing)) if kind in (Kind.LISTED, Kind.EDITED) else None,
    )


def entry(event: Event, vocabulary: Vocabulary, ingested_at: int | None = None) -> Entry:
    """An entry as ingestion would stamp it, with made-up slots."""
    row = np.zeros(1, EVENT_ROW)
    row["seq"], row["t"], row["kind"] = -1, event.t, KIND_CODE[event.kind]
    row["person"] = vocabulary.code("person", event.user)
    rows = np.zeros(len(named(event)), LISTING_ROW)
    rows["slot"] = np.arange(len(rows))
    rows["seller"] = [vocabulary.code("seller", listing_id) for listing_id in named(event)]
    return Entry(
        event=event,
        ingested_at=event.t if ingested_at is None else ingested_at,
        event_row=row.tobytes(),
        listing_rows=rows.tobytes(),
    )


def content(log: EventLog, from_offset: int = 0, to_offset: int | None = None) -> list[bytes]:
    """The log as bytes, entry by entry, to be compared."""
    return [msgspec.msgpack.encode(entry) for entry in log.read(from_offset, to_offset)]


def words(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """All codes of the vocabulary's fields used here."""
    return {field: list(vocabulary.texts(field)) for field in ("person", "seller")}


def _cut(items: Sequence[Any], cuts: Sequence[int]) -> Iterator[Sequence[Any]]:
    bounds = [0, *sorted(cut % (len(items) + 1) for cut in cuts), len(items)]
    for start, stop in itertools.pairwise(bounds):
        yield items[start:stop]


_streams = st.lists(events(), max_size=12, unique_by=lambda event: event.event_id)
_cuts = st.lists(st.integers(0, 100), max_size=4)


class EventLogLaws:
    """What holds for every event log."""

    def open_log(self, folder: Path) -> Any:
        """An EventLog that is a context manager too; what it holds stands in `folder`."""
        raise NotImplementedError

    def settle(self, log: Any) -> None:
        """Called after every append: compact here, or do nothing."""

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """An empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    @contextmanager
    def filled(self, stream: Sequence[Event], cuts: Sequence[int] = ()) -> Iterator[Any]:
        """A log of these events, appended in parts."""
        with self.fresh() as folder, self.open_log(folder) as log:
            vocabulary = Vocabulary()
            for part in _cut(stream, cuts):
                log.append([entry(event, vocabulary) for event in part], vocabulary)
                self.settle(log)
            yield log

    def test_an_empty_log_holds_nothing(self) -> None:
        with self.filled([]) as log:
            assert (log.end(), list(log.read()), len(log.facts())) == (0, [], 0)
            assert log.seen(["a"]) == set()
            assert len(log.vocabulary()) == 0

    @_law
    @given(_streams, _cuts)
    def test_what_went_in_comes_out_byte_for_byte(
        self, stream: list[Event], cuts: list[int]
    ) -> None:
        vocabulary, expected = Vocabulary(), []
        for seq, event in enumerate(stream):
            made = entry(event, vocabulary)
            row = np.frombuffer(made.event_row, EVENT_ROW).copy()
            row["seq"] = seq
            numbered = msgspec.structs.replace(made, seq=seq, event_row=row.tobytes())
            expected.append(msgspec.msgpack.encode(numbered))
        with self.filled(stream, cuts) as log:
            assert content(log) == expected
            assert words(log.vocabulary()) == words(vocabulary)

    @_law
    @given(_streams, st.lists(st.integers(0, 100), max_size=30), _cuts, _cuts)
    def test_batching_and_sending_again_make_no_difference(
        self, stream: list[Event], again: list[int], cuts: list[int], other: list[int]
    ) -> None:
        sent = [*stream, *(stream[i % len(stream)] for i in again if stream)]
        sent.sort(key=lambda event: event.t)
        once = list({event.event_id: event for event in sent}.values())
        with self.filled(sent, cuts) as log, self.filled(once, other) as twin:
            assert content(log) == content(twin)

    @_law
    @given(_streams, st.lists(st.integers(0, 100), max_size=30), _cuts)
    def test_offsets_are_dense_and_none_for_what_was_there(
        self, stream: list[Event], again: list[int], cuts: list[int]
    ) -> None:
        sent = [*stream, *(stream[i % len(stream)] for i in again if stream)]
        offsets: list[int | None] = []
        with self.fresh() as folder, self.open_log(folder) as log:
            vocabulary = Vocabulary()
            for part in _cut(sent, cuts):
                offsets += log.append([entry(event, vocabulary) for event in part], vocabulary)
                self.settle(log)
            assert log.end() == len(stream)
            assert log.seen([event.event_id for event in sent] + ["never" * 9]) == {
                event.event_id for event in stream
            }
        assert offsets == [*range(len(stream)), *[None] * (len(sent) - len(stream))]

    @_law
    @given(_streams, _cuts, st.integers(0, 13), st.integers(0, 13))
    def test_facts_are_what_is_read_in_arrays(
        self, stream: list[Event], cuts: list[int], start: int, stop: int
    ) -> None:
        with self.filled(stream, cuts) as log:
            read = list(log.read(start, stop))
            facts = log.facts(start, stop)
            whole = content(log)
            assert content(log, start, stop) == whole[start:stop]
        twin = Facts.unpack([e.event_row for e in read], [e.listing_rows for e in read])
        assert facts.events.tobytes() == twin.events.tobytes()
        assert facts.listings.tobytes() == twin.listings.tobytes()
        assert facts.starts.tolist() == twin.starts.tolist()

    @_law
    @given(_streams, _streams)
    def test_opening_again_changes_nothing_and_goes_on(
        self, stream: list[Event], more: list[Event]
    ) -> None:
        known = {event.event_id for event in stream}
        more = [event for event in more if event.event_id not in known]
        with self.filled([*stream, *more]) as log:
            expected, expected_words = content(log), words(log.vocabulary())
        with self.fresh() as folder:
            for part in (stream, more, stream):
                with self.open_log(folder) as log:
                    vocabulary = log.vocabulary()
                    log.append([entry(event, vocabulary) for event in part], vocabulary)
                    self.settle(log)
            with self.open_log(folder) as log:
                assert content(log) == expected
                assert words(log.vocabulary()) == expected_words

    def test_many_threads_append_to_one_order(self) -> None:
        vocabulary = Vocabulary()
        parts = [
            [
                entry(Event(event_id=f"{i}-{j}", kind="search", t=START_MS, user="u"), vocabulary)
                for j in range(20)
            ]
            for i in range(8)
        ]
        given_offsets: dict[str, int | None] = {}
        with self.fresh() as folder, self.open_log(folder) as log:

            def send(part: list[Entry]) -> None:
                for one in part:
                    (given_offsets[one.event.event_id],) = log.append([one], vocabulary)

            threads = [threading.Thread(target=send, args=(part,)) for part in parts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert {e.event.event_id: e.seq for e in log.read()} == given_offsets
        assert sorted(map(int, map(str, given_offsets.values()))) == list(range(160))


class AnteroomLaws:
    """What holds for every anteroom."""

    def open_anteroom(self, folder: Path) -> Any:
        """An Anteroom that is a context manager too; what it holds stands in `folder`."""
        raise NotImplementedError

    def test_a_refusal_is_kept_once_and_the_latest_comes_first(self, tmp_path: Path) -> None:
        first = Rejected(raw=b"\xff\x00raw", reason="t is 3", source="file.csv:2", at=1)
        second = Rejected(raw=b"\xff\x00raw", reason="kind", source="file.csv:2", at=2)
        with self.open_anteroom(tmp_path) as room:
            room.quarantine([first, second, first])
            room.quarantine([msgspec.structs.replace(first, at=9)])
        with self.open_anteroom(tmp_path) as room:
            assert room.quarantined() == [second, first]
            assert room.quarantined(limit=1) == [second]
            assert room.counts() == (2, 0)

    def test_what_came_is_cut_at_64_kib_and_bad_text_is_kept(self, tmp_path: Path) -> None:
        with self.open_anteroom(tmp_path) as room:
            room.quarantine(
                [Rejected(raw=b"x" * 10_000_000, reason="\ud800", source="\udcff", at=0)]
            )
            (kept,) = room.quarantined()
        assert (len(kept.raw), kept.reason, kept.source) == (65_536, "\\ud800", "\\udcff")

    @settings(_law, suppress_health_check=list(HealthCheck))
    @given(st.lists(events(), max_size=12, unique_by=lambda e: e.event_id), st.data())
    def test_held_until_released_in_the_order_they_came(
        self, stream: list[Event], data: st.DataObject
    ) -> None:
        names = sorted({name for event in stream for name in named(event)})
        asked = data.draw(st.lists(st.sampled_from(names)) if names else st.just([]))
        gone = {event.event_id for event in stream if data.draw(st.booleans())}
        with tempfile.TemporaryDirectory() as folder:
            with self.open_anteroom(Path(folder)) as room:
                room.hold(stream)
                room.hold(stream[::-1])
            with self.open_anteroom(Path(folder)) as room:
                wanted = [event for event in stream if set(named(event)) & set(asked)]
                assert room.held_for(asked) == wanted
                assert room.held_for(asked) == wanted, "they stay held"
                room.release(sorted(gone))
                assert room.held_for(asked) == [e for e in wanted if e.event_id not in gone]
                assert room.counts() == (0, len(stream) - len(gone))
