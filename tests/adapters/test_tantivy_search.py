"""Tantivy's index under the laws, and what is its own: visibility, lag, and a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heirloom.adapters.tantivy_search import TantivyIndex
from heirloom.core.errors import StoreError
from heirloom.retrieval.lexical import LexicalIndex, Synonyms, fields_of, search
from heirloom.retrieval.word_index import WordIndex
from heirloom.testing.lexical import LexicalIndexLaws, listing

ALL = np.ones(50, np.bool_)


class TestTantivyIndex(LexicalIndexLaws):
    def make(self, synonyms: Synonyms) -> LexicalIndex:
        return TantivyIndex(synonyms)


def test_what_matches_some_is_the_same_looked_for_in_small_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("heirloom.retrieval.lexical._AT_FIRST", 1)
    TestTantivyIndex().test_finds_what_a_naive_reader_finds()
    titles = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("dress", "coat", "hat", "bag")]
    index, plain = TantivyIndex(), WordIndex()
    for slot in range(400):
        for each in (index, plain):
            each.upsert(slot, fields_of(listing(titles[slot * 7 % 12])))
    for allowed in (np.ones(400, np.bool_), np.arange(400) % 29 == 0):
        for least in (1, 10, 50, 399):
            one, two = (i.match("red hat scarf ", allowed, least) for i in (index, plain))
            assert (one[0].tolist(), one[1].tolist()) == (two[0].tolist(), two[1].tolist())


def found(index: LexicalIndex, text: str) -> list[int]:
    return search(index, text, ALL, 50)[0].tolist()


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_with_a_lag_a_listing_waits_no_longer_and_former_words_find_nothing() -> None:
    clock = Clock()
    index = TantivyIndex(lag_ms=500, clock=clock)
    index.upsert(0, fields_of(listing("red dress")))
    assert found(index, "dress") == [0]  # nothing was committed lately
    index.upsert(0, fields_of(listing("blue coat")))
    index.upsert(1, fields_of(listing("red hat")))
    assert found(index, "dress") == []
    assert found(index, "coat") == []
    clock.s += 0.5
    assert found(index, "coat") == [0]
    assert found(index, "red") == [1]
    index.remove(1)
    assert found(index, "red") == []


def test_a_folder_is_taken_up_again(tmp_path: Path) -> None:
    index = TantivyIndex(folder=tmp_path)
    for slot in range(9):
        index.upsert(slot, fields_of(listing(f"red coat number{slot}", brand="Alba")))
    index.remove(3)
    index.advance(10)
    before = index.match("red coat", ALL, 20)
    index.close()
    again = TantivyIndex(folder=tmp_path)
    assert again.n == 10
    after = again.match("red coat", ALL, 20)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    # The counts that idf rests on are those of a writer that never stopped.
    again.upsert(5, fields_of(listing("blue hat")))
    never = TantivyIndex()
    for slot in (0, 1, 2, 4, 6, 7, 8):
        never.upsert(slot, fields_of(listing(f"red coat number{slot}", brand="Alba")))
    never.upsert(5, fields_of(listing("blue hat")))
    for text in ("red hat", "alba", "numbr7"):
        one, two = again.match(text, ALL, 20), never.match(text, ALL, 20)
        assert (one[0].tolist(), one[1].tolist()) == (two[0].tolist(), two[1].tolist())


_WRITER = """
import sys
from pathlib import Path
from heirloom.adapters.tantivy_search import TantivyIndex
from heirloom.retrieval.lexical import fields_of
from heirloom.testing.lexical import listing

index = TantivyIndex(folder=Path(sys.argv[1]))
for slot in range(10_000):
    index.upsert(slot, fields_of(listing(f"coat number{slot}")))
    index.advance(slot + 1)
    if slot % 5 == 4:
        index.flush()
        print(slot + 1, flush=True)
"""


def test_after_kill_9_the_folder_holds_exactly_what_its_offset_says(tmp_path: Path) -> None:
    """And what came after it in the log, given again, changes nothing that was there."""
    folder = tmp_path / "index"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, env={**os.environ}
    )
    assert writer.stdout is not None
    said = 0
    for line in writer.stdout:
        said = int(line)
        if said >= 20:
            break
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    index = TantivyIndex(folder=folder)
    assert index.n >= said
    allowed = np.ones(index.n + 50, np.bool_)
    slots, _ = index.match("coat", allowed, 1)
    assert slots.tolist() == list(range(index.n))
    for slot in range(index.n - 3, index.n + 5):  # from an earlier offset on: once more
        index.upsert(slot, fields_of(listing(f"coat number{slot}")))
    slots, scores = index.match("coat", allowed, 1)
    assert slots.tolist() == list(range(index.n + 5))
    assert set(scores.tolist()) == {2.0}
    index.close()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    index = TantivyIndex(folder=tmp_path)
    with pytest.raises(StoreError, match="if no other process has it open"):
        TantivyIndex(folder=tmp_path)
    index.close()


def test_a_damaged_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    index = TantivyIndex(folder=tmp_path)
    index.upsert(0, fields_of(listing("coat")))
    index.close()
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(StoreError, match="delete the folder"):
        TantivyIndex(folder=tmp_path)


def test_a_folder_of_another_format_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = TantivyIndex(folder=tmp_path)
    index.upsert(0, fields_of(listing("coat")))
    index.advance(5)
    index.close()
    monkeypatch.setattr("heirloom.adapters.tantivy_search.FORMAT", 2)
    again = TantivyIndex(folder=tmp_path)
    assert again.n == 0
    assert found(again, "coat") == []
    again.upsert(1, fields_of(listing("coat")))
    assert found(again, "coat") == [1]
    again.close()
