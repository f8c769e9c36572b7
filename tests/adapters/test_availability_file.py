"""What one process announces, every other reads: laws against a plain dictionary, and damage."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.adapters import availability_file
from heirloom.adapters.availability_file import AvailabilityFile
from heirloom.core.errors import StoreError

FIRST = 8_192  # slots a new file has room for
PLACES = (0, 1, 2, FIRST - 1, FIRST, FIRST + 1, 5 * FIRST)
"""Slots on both sides of the file's first end, and past its second."""


def some(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def announce(writer: AvailabilityFile, slot: int, generation: int, live: bool, n: int = 0) -> None:
    writer.announce(some(slot), some(generation), np.array([live]), n)


facts = st.tuples(st.sampled_from(PLACES), st.integers(1, 3), st.booleans())


@given(
    parts=st.lists(st.dictionaries(st.sampled_from(PLACES), facts, max_size=4), max_size=8),
    opened_at=st.integers(0, 8),
)
def test_a_reader_says_what_was_announced_last(
    parts: list[dict[int, tuple[int, int, bool]]],
    opened_at: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whenever it was opened, however far the file grew since; slots and generations apart."""
    path = tmp_path_factory.mktemp("law") / "availability"
    known: dict[int, tuple[int, bool]] = {}
    ended: dict[tuple[int, int], int] = {}  # the epoch from which a listing cannot be shown
    with AvailabilityFile(path, writes=True) as writer:
        writer.restate(some(), np.zeros(0, np.bool_), 0)
        early = AvailabilityFile(path)
        for at, part in enumerate(parts):
            if at == opened_at:
                early.close()
                early = AvailabilityFile(path)
            slots = sorted(part)
            generations = [max(part[s][1], known.get(s, (0, False))[0]) for s in slots]
            live = [part[s][2] for s in slots]
            writer.announce(some(*slots), some(*generations), np.array(live, np.bool_), 10 * at)
            for slot, generation, stands in zip(slots, generations, live, strict=True):
                for other in range(1, generation + (not stands)):
                    ended.setdefault((slot, other), writer.epoch)
                if stands:
                    ended.pop((slot, generation), None)
                known[slot] = generation, stands
            assert (early.n, early.epoch) == (10 * at, writer.epoch)
        late = AvailabilityFile(path)
        for reader in (writer, early, late):
            for slot in PLACES:
                for generation in (1, 2, 3):
                    stands = known.get(slot) == (generation, True)
                    assert reader.stands(slot, generation) is stands
                    assert reader.standing(some(slot), some(generation)).tolist() == [stands]
                    gone = reader.gone(some(slot), some(generation), reader.epoch)
                    assert gone.tolist() == [(slot, generation) in ended]
            assert reader.standing(some(*PLACES, 9 * FIRST), np.ones(8, np.int32)).tolist() == [
                *(known.get(slot) == (1, True) for slot in PLACES), False,
            ]  # fmt: skip
        early.close()
        late.close()


def test_what_ended_later_than_it_was_asked_for_is_no_leak(tmp_path: Path) -> None:
    with AvailabilityFile(tmp_path / "availability", writes=True) as writer:
        writer.restate(some(1, 1), np.array([True, True]), 2)
        begun = writer.epoch
        announce(writer, 0, 1, False, 3)
        assert writer.gone(some(0, 1), some(1, 1), begun).tolist() == [False, False]
        assert writer.gone(some(0, 1), some(1, 1), writer.epoch).tolist() == [True, False]
        ended = writer.epoch
        writer.restate(some(1, 1), np.array([False, True]), 3)  # a start says nothing new of it
        assert writer.gone(some(0), some(1), ended).tolist() == [True]


def test_a_reader_goes_on_when_the_writer_ends_and_follows_the_next(tmp_path: Path) -> None:
    path = tmp_path / "availability"
    writer = AvailabilityFile(path, writes=True)
    writer.restate(some(1, 1, 1), np.ones(3, np.bool_), 3)
    with AvailabilityFile(path) as reader:
        assert reader.written()
        writer.close()
        assert not reader.written()
        assert reader.stands(2, 1)
        with AvailabilityFile(path, writes=True) as again:
            assert reader.stands(2, 1)  # nothing is taken back while the log is read
            again.restate(some(1, 2), np.array([True, True]), 4)
            assert reader.written()
            with pytest.raises(StoreError, match="another process writes it"):
                AvailabilityFile(path, writes=True)
            assert [reader.stands(slot, 1) for slot in range(3)] == [True, False, False]
            assert reader.stands(1, 2)


def test_a_file_taken_away_is_left_for_the_one_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "availability"
    with AvailabilityFile(path, writes=True) as writer:
        writer.restate(some(1), np.ones(1, np.bool_), 1)
        reader = AvailabilityFile(path)
    path.unlink()
    assert reader.n == 1
    with AvailabilityFile(path, writes=True) as writer:
        writer.restate(some(1), np.zeros(1, np.bool_), 2)
        assert reader.n == 2
        assert not reader.stands(0, 1)
    reader.close()


def _nothing(path: Path) -> None:
    path.unlink()


def _another(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [(_nothing, "start the system's writer"), (_another, "no availability file"),
     (_empty, "no availability file")],
)  # fmt: skip
def test_a_reader_refuses_what_is_none(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "availability"
    AvailabilityFile(path, writes=True).close()
    damage(path)
    with pytest.raises(StoreError, match=said):
        AvailabilityFile(path)


def test_a_file_of_before_the_machine_started_is_refused_until_it_is_restated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "availability"
    with AvailabilityFile(path, writes=True) as writer:
        writer.restate(some(1), np.ones(1, np.bool_), 1)
    monkeypatch.setattr(availability_file, "_boot", lambda: 7)
    with AvailabilityFile(path, writes=True) as writer:
        with pytest.raises(StoreError, match="before this machine started"):
            AvailabilityFile(path)
        writer.restate(some(1), np.zeros(1, np.bool_), 1)
        with AvailabilityFile(path) as reader:
            assert not reader.stands(0, 1)


def test_a_full_disk_is_an_error_and_not_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with AvailabilityFile(tmp_path / "availability", writes=True) as writer:
        writer.restate(some(1), np.ones(1, np.bool_), 1)
        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match="No space left"):
            announce(writer, FIRST, 1, True, 2)
        announce(writer, 0, 1, False, 2)
        assert (writer.stands(0, 1), writer.n) == (False, 2)
