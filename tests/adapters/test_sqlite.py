"""The event log on SQLite: laws, one writer, hostile text, failures, kill -9."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from heirloom.adapters import sqlite
from heirloom.adapters.sqlite import SqliteLog
from heirloom.core.errors import InputError, ShapeError, StoreError
from heirloom.core.event import Event
from heirloom.core.log import EventLog
from heirloom.core.vocabulary import Vocabulary
from heirloom.testing.event_log import START_MS, EventLogLaws, content, entry, words


def search(event_id: str, user: str = "u", text: str | None = None) -> Event:
    return Event(event_id=event_id, kind="search", t=START_MS, user=user, text=text)


class TestSqliteLog(EventLogLaws):
    def open_log(self, folder: Path) -> SqliteLog:
        return SqliteLog(folder / "log.sqlite")


def test_it_is_an_event_log(tmp_path):
    with SqliteLog(tmp_path / "log") as opened:
        log: EventLog = opened
        assert log.end() == 0


def test_one_writer_many_readers(tmp_path):
    path = tmp_path / "ordner ü #1?" / "log"
    with SqliteLog(path) as log, SqliteLog(path, read_only=True) as reader:
        vocabulary = Vocabulary()
        log.append([entry(search("a"), vocabulary)], vocabulary)
        assert content(reader) == content(log)
        with pytest.raises(StoreError, match="open for writing already"):
            SqliteLog(path)
        with pytest.raises(StoreError, match="only the writer appends"):
            reader.append([], vocabulary)
        with pytest.raises(StoreError, match="compact first"):
            reader.forget_before(1)
    with SqliteLog(path, read_only=True) as reader, SqliteLog(path) as log:
        assert reader.end() == log.end() == 1


def test_another_process_cannot_write(tmp_path):
    path = tmp_path / "log"
    code = f"from heirloom.adapters.sqlite import SqliteLog; SqliteLog({str(path)!r})"
    with SqliteLog(path):
        child = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
    assert child.returncode == 1
    assert "StoreError" in child.stderr
    assert "an event log has one writer" in child.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_does_not_start_a_log(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        SqliteLog(tmp_path / "log", read_only=True)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"seq,event_id\n" * 1000)
    with pytest.raises(StoreError, match="damaged or is no SQLite database"):
        SqliteLog(path)
    assert path.read_bytes() == b"seq,event_id\n" * 1000


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "log"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of something else"):
        SqliteLog(path)
    assert path.read_bytes() == before


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "log"
    SqliteLog(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(StoreError, match="written as version 7"):
        SqliteLog(path)


def test_a_damaged_page_is_told(tmp_path):
    path = tmp_path / "log"
    vocabulary = Vocabulary()
    with SqliteLog(path) as log:
        log.append([entry(search(f"e{i}"), vocabulary) for i in range(2_000)], vocabulary)
    content_before = bytearray(path.read_bytes())
    for page in range(8, len(content_before) // 4096):
        content_before[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(content_before)
    with pytest.raises(StoreError, match="damaged"), SqliteLog(path) as log:
        list(log.read())


def test_a_missing_row_is_told(tmp_path):
    path = tmp_path / "log"
    vocabulary = Vocabulary()
    with SqliteLog(path) as log:
        log.append([entry(search(f"e{i}"), vocabulary) for i in range(5)], vocabulary)
        other = sqlite3.connect(path)
        other.execute("DELETE FROM events WHERE seq = 3")
        other.commit()
        assert len(list(log.read(0, 3))) == 3
        with pytest.raises(StoreError, match="offsets 0 … 4 are not all there"):
            list(log.read())
        other.execute("DELETE FROM stamps")
        other.commit()
        other.close()
        with pytest.raises(StoreError, match="are not all there"):
            log.facts()


def indexed(path: Path) -> int:
    """How many ids stand in the tree."""
    with sqlite3.connect(path) as db:
        return int(db.execute("SELECT count(*) FROM ids").fetchone()[0])


@pytest.mark.parametrize("filtering", [1, 10_000], ids=["filtered", "not filtered"])
@pytest.mark.parametrize("looks", [True, False], ids=["seen first", "not looked for"])
def test_an_id_is_taken_once_wherever_it_is_kept(tmp_path, monkeypatch, looks, filtering):
    """In memory or in the tree, before and after a start; a set says what is to come."""
    monkeypatch.setattr(sqlite, "_RECENT", 16)
    monkeypatch.setattr(sqlite, "_WORTH_FILTERING", filtering)
    monkeypatch.setattr(sqlite, "_FILTERED_AT_ONCE", 100)
    filtered: list[int] = []
    path, rng = tmp_path / "log", np.random.default_rng(7)
    taken: set[str] = set()
    both = 0
    for _ in range(12):
        with SqliteLog(path) as log, SqliteLog(path, read_only=True) as reader:
            vocabulary = log.vocabulary()
            for _ in range(int(rng.integers(1, 6))):
                sent = [f"e{i}" for i in rng.integers(0, 400, rng.choice([1, 3, 9, 40]))]
                if looks:
                    assert log.seen(sent) == reader.seen(sent) == taken & set(sent)
                end, offsets = log.end(), []
                for event_id in sent:
                    offsets.append(None if event_id in taken else end)
                    end += event_id not in taken
                    taken.add(event_id)
                got = log.append([entry(search(i), vocabulary) for i in sent], vocabulary)
                assert got == offsets
                both += 0 < indexed(path) < log.end()
                assert log.end() - indexed(path) < 16
            if log._id_filter.upto is None:
                filtered.append(indexed(path))
    assert both > 5
    assert (max(filtered, default=0) > 100) == (looks and filtering == 1)
    assert len(taken) > 200


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_as_many_rows_as_come_stand_in_their_order(tmp_path, monkeypatch, count):
    """Also with some that came before and twice, and ids that go into the tree together."""
    monkeypatch.setattr(sqlite, "_RECENT", 100)
    vocabulary = Vocabulary()
    sent = [entry(search(f"e{i * 7 % count}"), vocabulary) for i in range(count)] * 2
    with SqliteLog(tmp_path / "log") as log:
        before = entry(search("e0", text="first"), vocabulary)
        assert log.append([before], vocabulary) == [0]
        wanted = list(dict.fromkeys(each.event.event_id for each in sent))
        wanted.remove("e0")
        offsets = log.append(sent, vocabulary)
        assert [seq for seq in offsets if seq is not None] == list(range(1, len(wanted) + 1))
        got = list(log.read())
        assert [each.event.event_id for each in got] == ["e0", *wanted]
        assert [each.seq for each in got] == list(range(len(got)))
        assert got[0].event == before.event
        assert log.seen([*wanted, "e0", "absent"]) == {*wanted, "e0"}


def test_threads_that_look_and_append_the_same_take_each_id_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_RECENT", 8)
    vocabulary = Vocabulary()
    sent = [entry(search(f"e{i}"), vocabulary) for i in range(150)]
    taken: list[str] = []

    def send() -> None:
        for each in sent:
            event_id = each.event.event_id
            if not log.seen([event_id]) and log.append([each], vocabulary) != [None]:
                taken.append(event_id)

    with SqliteLog(tmp_path / "log") as log:
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(e.event.event_id for e in sent)
        assert log.end() == len(sent) == len(list(log.read()))


def test_a_failed_commit_takes_no_id_whether_it_indexes_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_RECENT", 600)
    path, vocabulary = tmp_path / "log", Vocabulary()
    sent = [entry(search(f"e{i}", text="x" * 500), vocabulary) for i in range(900)]
    ids = [each.event.event_id for each in sent]
    with SqliteLog(path) as log:
        for upto in (100, 900):  # into memory, then all into the tree
            kept = log.end()
            pages = log._db.execute("PRAGMA page_count").fetchone()[0]
            log._db.execute(f"PRAGMA max_page_count = {pages + 1}")
            assert log.seen(ids) == set(ids[:kept])
            with pytest.raises(StoreError, match="free some disk space"):
                log.append(sent[:upto], vocabulary)
            assert log.seen(ids) == set(ids[:kept])
            log._db.execute("PRAGMA max_page_count = 1000000")
            expected = [None] * kept + list(range(kept, upto))
            assert log.append(sent[:upto], vocabulary) == expected
            assert indexed(path) == (900 if upto == 900 else 0)
            assert log.seen(ids) == set(ids[:upto])


def test_a_log_of_before_is_gone_on_with(tmp_path):
    """Of version 1, where all ids stand in the tree; as soon as one does not, it is no such log."""
    path, vocabulary = tmp_path / "log", Vocabulary()

    def version() -> int:
        with sqlite3.connect(path) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    sent = [entry(search(f"e{i}"), vocabulary) for i in range(30)]
    with SqliteLog(path) as log:
        assert version() == 1
        log.append(sent[:20], vocabulary)
        assert version() == 2
    with sqlite3.connect(path) as db:  # as it was written then
        digests = [(sqlite._digest(each.event.event_id),) for each in sent[:20]]
        db.executemany("INSERT INTO ids VALUES (?)", digests)
        db.execute("PRAGMA user_version = 1")
    with SqliteLog(path, read_only=True) as reader:
        assert reader.seen(["e3", "e25"]) == {"e3"}
    with SqliteLog(path) as log:
        assert version() == 1
        assert log.append(sent, vocabulary) == [None] * 20 + list(range(20, 30))
        assert (version(), indexed(path)) == (2, 20)


def test_hostile_text_comes_back_as_it_went_in(tmp_path):
    ids = ["a/b//../c", "🙂👗", "\u202eمعطف\u202c", "' OR 1=1 --", "%00", "é", "e\u0301", " ", "\n"]
    vocabulary = Vocabulary()
    with SqliteLog(tmp_path / "log") as log:
        sent = [entry(search(i, user=i, text=f"\x00{i}"), vocabulary) for i in ids]
        assert log.append(sent, vocabulary) == list(range(len(ids)))
        assert [e.event for e in log.read()] == [e.event for e in sent]
        assert log.vocabulary().texts("person") == ["", *ids]
        assert log.seen([*ids, "E"]) == set(ids)


def test_what_cannot_be_written_is_refused_and_harms_nobody_else(tmp_path):
    vocabulary = Vocabulary()
    good = entry(search("a"), vocabulary)
    with SqliteLog(tmp_path / "log") as log:
        for bad in (search("\ud800"), search("b", text="\udcff"), search("b", text="x")):
            sent = entry(bad, Vocabulary())
            if bad.text == "x":
                sent = msgspec.structs.replace(sent, event=msgspec.structs.replace(bad, t=2**70))
            with pytest.raises(InputError, match="nothing of this call was kept"):
                log.append([good, sent], vocabulary)
        for field in ("event_row", "listing_rows"):
            with pytest.raises(ShapeError, match="wanted one EVENT_ROW of 70"):
                log.append([msgspec.structs.replace(good, **{field: b"short"})], vocabulary)
        assert log.end() == 0
        assert log.append([good], vocabulary) == [0]


def test_a_failed_append_keeps_nothing_and_loses_no_code(tmp_path):
    vocabulary = Vocabulary()
    many = [entry(search(f"e{i}", user=f"user {i}"), vocabulary) for i in range(3_000)]
    with SqliteLog(tmp_path / "log") as log:
        pages = log._db.execute("PRAGMA page_count").fetchone()[0]
        log._db.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StoreError, match="free some disk space"):
            log.append(many, vocabulary)
        assert (log.end(), len(log.vocabulary())) == (0, 0)
        log._db.execute("PRAGMA max_page_count = 1000000")
        assert log.append(many[:1], vocabulary) == [0]
        assert words(log.vocabulary()) == words(vocabulary)
        assert log.append(many, vocabulary) == [None, *range(1, 3_000)]
    with SqliteLog(tmp_path / "log") as log:
        assert words(log.vocabulary()) == words(vocabulary)


def test_a_vocabulary_of_another_log_is_refused(tmp_path):
    with SqliteLog(tmp_path / "log") as log:
        own = Vocabulary()
        log.append([entry(search("a", user="anna"), own)], own)
        other = Vocabulary()
        with pytest.raises(StoreError, match=r"person code 1 came as 'bert', but is 'anna' here"):
            log.append([entry(search("b", user="bert"), other)], other)
        ahead = Vocabulary([("person", 1, "anna"), ("person", 2, "bert")])
        with pytest.raises(StoreError, match="person code 3 came as 'carl', but is None here"):
            log.append([entry(search("c", user="carl"), ahead)], ahead)
        assert log.append([entry(search("d", user="dora"), own)], own) == [1]
        assert log.vocabulary().texts("person") == ["", "anna", "dora"]


def test_waiting_appends_share_a_commit(tmp_path):
    vocabulary = Vocabulary()
    sent = [entry(search(f"e{i}"), vocabulary) for i in range(16)]
    with SqliteLog(tmp_path / "log") as log:
        commits = []
        log._db.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        threads = [threading.Thread(target=log.append, args=([e], vocabulary)) for e in sent]
        with log._commit_lock:
            for thread in threads:
                thread.start()
            while len(log._queue) < len(sent) - 1:  # the first is on its way
                pass
        for thread in threads:
            thread.join()
        assert (log.end(), len(commits)) == (16, 2)


def test_small_appends_are_read_as_one_array_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_MERGE_STAMPS", 8)
    monkeypatch.setattr(sqlite, "_PAGE_STAMPS", 3)
    monkeypatch.setattr(sqlite, "_PAGE", 64)
    vocabulary, rng = Vocabulary(), np.random.default_rng(5)
    with SqliteLog(tmp_path / "log") as log, SqliteLog(tmp_path / "twin") as twin:
        sent = [entry(search(f"e{i}"), vocabulary) for i in range(300)]
        at = 0
        while at < len(sent):
            size = int(rng.choice([1, 1, 1, 1, 1, 2, 40]))
            log.append(sent[at : at + size], vocabulary)
            at += size
        own = Vocabulary([("person", 1, "u")])
        own.give_back([("person", 1, "u")])
        twin.append(sent, own)
        assert content(log) == content(twin)
        for start, stop in ((0, 300), (7, 9), (100, 299), (299, 300), (300, 300)):
            facts = log.facts(start, stop)
            assert facts.events["seq"].tolist() == list(range(start, stop))
        rows = log._db.execute("SELECT count(*) FROM stamps").fetchone()[0]
        assert rows < 100


def test_a_negative_offset_is_refused(tmp_path):
    with SqliteLog(tmp_path / "log") as log:
        with pytest.raises(InputError, match="wanted 0 or more"):
            log.read(-1)
        assert list(log.read(5, 3)) == []


_WRITER = """
import sys
from heirloom.adapters.sqlite import SqliteLog
from heirloom.core.event import Event
from heirloom.core.facts import EVENT_ROW
from heirloom.core.log import Entry
import numpy as np
path, start, t = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def entry(event, vocabulary):
    row = np.zeros(1, EVENT_ROW)
    row["person"] = vocabulary.code("person", event.user)
    return Entry(event=event, ingested_at=t, event_row=row.tobytes(), listing_rows=b"")
log = SqliteLog(path)
vocabulary = log.vocabulary()
for batch in range(100_000):
    events = [
        Event(event_id=f"e{start + batch * 7 + i}", kind="search", t=t,
              user=f"user {start + batch * 7 + i}")
        for i in range(7)
    ]
    log.append([entry(event, vocabulary) for event in events], vocabulary)
    print(*(event.event_id for event in events), flush=True)
"""


def test_kill_9_loses_nothing_acknowledged_and_counts_nothing_twice(tmp_path):
    path, random_ms = tmp_path / "log", random.Random(3)
    acknowledged: list[str] = []
    for run in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(run * 1_000_000), str(START_MS)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        acknowledged += child.stdout.readline().split()
        timer = threading.Timer(random_ms.uniform(0.01, 0.3), os.kill, (child.pid, signal.SIGKILL))
        timer.start()
        for line in child.stdout:
            if line.endswith("\n"):
                acknowledged += line.split()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        timer.join()
    assert len(acknowledged) > 4 * 7
    with SqliteLog(path) as log:
        there = [e.event.event_id for e in log.read()]
        assert len(set(there)) == len(there) == log.end() == len(log.facts())
        assert set(acknowledged) <= set(there)
        assert len(there) <= len(acknowledged) + 4 * 7, "at most one unacknowledged batch a run"
        vocabulary = log.vocabulary()
        people = log.facts().events["person"]
        assert [vocabulary.text("person", code) for code in people] == [
            f"user {event_id[1:]}" for event_id in there
        ]
        again = [entry(search(i, user=f"user {i[1:]}"), vocabulary) for i in acknowledged]
        assert set(log.append(again, vocabulary)) == {None}
        assert log.end() == len(there)


def test_rows_of_another_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    vocabulary = Vocabulary()
    with SqliteLog(path) as log:
        log.append([entry(search("a"), vocabulary)], vocabulary)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE stamps SET event_rows = substr(event_rows, 5)")
    with SqliteLog(path) as log, pytest.raises(StoreError, match="another version of heirloom"):
        log.facts()
