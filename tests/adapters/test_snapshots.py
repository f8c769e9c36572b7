"""Snapshots: whole or not at all, whatever moment the writer dies at."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from heirloom.adapters.snapshots import KEPT, RETIRED_AFTER_MS, Snapshot, Snapshots
from heirloom.core.errors import InputError, StoreError

OF = "view@00000000"


def arrays(n: int) -> dict[str, np.ndarray]:
    """Numbers that tell by themselves which offset they are of."""
    ring = np.zeros((n % 7, 3), [("slot", "<i4"), ("kind", "i1"), ("t", "<i8")])
    ring["t"] = n
    return {
        "features.counts": np.full(1_000 + n, n, np.int32),
        "people.ring": ring,
        "people.hidden": np.zeros((0, 3), np.int64),
    }


class Killed(Exception):
    """Raised at a failpoint."""


def latest(folder: Path, of: str = OF) -> tuple[list[Snapshot], list[str]]:
    refused: list[str] = []
    return list(Snapshots(folder).latest(of, refused.append)), refused


def same(snapshot: Snapshot) -> bool:
    expected = arrays(snapshot.n)
    return snapshot.arrays.keys() == expected.keys() and all(
        snapshot.arrays[name].dtype == array.dtype and np.array_equal(snapshot.arrays[name], array)
        for name, array in expected.items()
    )


def test_what_was_written_is_mapped_back(tmp_path: Path) -> None:
    assert latest(tmp_path) == ([], [])
    Snapshots(tmp_path).write(OF, 12, "mark", arrays(12))
    (snapshot,), refused = latest(tmp_path)
    assert not refused
    assert (snapshot.of, snapshot.n, snapshot.mark) == (OF, 12, "mark")
    assert same(snapshot)
    mapped = snapshot.arrays["features.counts"]
    assert type(mapped) is np.ndarray
    assert isinstance(mapped.base, np.memmap)
    mapped[0] = -1  # private to the reader
    assert same(latest(tmp_path)[0][0])


def test_what_is_read_ahead_is_what_latest_gives(tmp_path: Path) -> None:
    for n in (7, 30):
        Snapshots(tmp_path).write(OF, n, "", arrays(n))
    snapshots, refused = Snapshots(tmp_path), list[str]()
    with snapshots.ahead([OF, "nothing@1"]):
        found = list(snapshots.latest(OF, refused.append))
        assert not list(snapshots.latest("nothing@1", refused.append))
    assert [each.n for each in found] == [30, 7]
    assert all(map(same, found))
    names = [each.name for each in threading.enumerate()]
    assert not [name for name in names if name.startswith("snapshots")], "a fork would lose it"
    damaged = tmp_path / OF / f"{30:020d}" / "features.counts.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x01")
    with snapshots.ahead([OF]):
        assert [each.n for each in snapshots.latest(OF, refused.append)] == [7]
    assert len(refused) == 1
    assert "is not what was written" in refused[0]


def test_the_latest_are_kept_by_state(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    for n in (5, 30, 7, 100):
        snapshots.write(OF, n, "", arrays(n))
        snapshots.write("other@1", n + 1, "", arrays(n + 1))
    assert [each.n for each in latest(tmp_path)[0]] == [100, 30]
    assert [each.n for each in latest(tmp_path, "other@1")[0]] == [101, 31]
    assert len([path for path in (tmp_path / OF).iterdir() if path.is_dir()]) == KEPT


def test_the_same_offset_again_replaces_what_stood_there(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    (snapshots.write(OF, 9, "", arrays(9)) / "manifest.json").write_text("{")
    snapshots.write(OF, 9, "", arrays(9))
    found, refused = latest(tmp_path)
    assert [same(each) for each in found] == [True]
    assert not refused


def steps(folder: Path) -> list[str]:
    """The failpoints that a write comes by, where two snapshots stand and one at its offset."""
    reached: list[str] = []
    prepare(folder)
    Snapshots(folder, reached=reached.append).write(OF, 30, "new", arrays(30))
    shutil.rmtree(folder)
    return reached


def prepare(folder: Path) -> None:
    for n in (10, 20, 30):
        Snapshots(folder).write(OF, n, "old", arrays(n))


def test_a_crash_after_any_step_leaves_whole_snapshots(tmp_path: Path) -> None:
    names = steps(tmp_path / "steps")
    assert {"draft", "manifest", "synced", "hidden", "renamed", "durable", "pruned"} < set(names)
    for at in range(len(names)):
        folder = tmp_path / str(at)
        prepare(folder)
        left = at

        def die(_: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        with pytest.raises(Killed):
            Snapshots(folder, reached=die).write(OF, 30, "new", arrays(30))
        found, refused = latest(folder)
        assert not refused, names[at]
        assert found, names[at]
        assert all(same(each) for each in found), names[at]
        renamed = names.index("renamed") <= at
        assert (found[0].n, found[0].mark) == (30, "new") if renamed else found[0].mark == "old"
        Snapshots(folder).write(OF, 40, "", arrays(40))  # and the next one is written as ever
        found, refused = latest(folder)
        assert found[0].n == 40
        assert not refused
        assert not list((folder / OF).glob(".*"))


NOW_MS = 1_800_000_000_000
OLD = "view@11111111"


def long_ago(folder: Path, ms: int = RETIRED_AFTER_MS) -> None:
    """A state that was used last so long before NOW_MS."""
    snapshots = Snapshots(folder, now_ms=lambda: NOW_MS - ms)
    for n in (10, 20):
        snapshots.write(OLD, n, "old", arrays(n))
    snapshots.close()


def write_now(folder: Path, **options) -> Snapshots:
    snapshots = Snapshots(folder, now_ms=lambda: NOW_MS, **options)
    snapshots.write(OF, 30, "new", arrays(30))
    return snapshots


def test_a_state_that_nobody_used_for_long_goes_when_another_is_written(tmp_path: Path) -> None:
    long_ago(tmp_path / "just", RETIRED_AFTER_MS)
    write_now(tmp_path / "just")
    assert [path.name for path in (tmp_path / "just").iterdir()] == [OF]
    assert [same(each) for each in latest(tmp_path / "just")[0]] == [True]
    long_ago(tmp_path / "not_yet", RETIRED_AFTER_MS - 1)
    write_now(tmp_path / "not_yet")
    assert [each.n for each in latest(tmp_path / "not_yet", OLD)[0]] == [20, 10]


@pytest.mark.parametrize("how", ["read", "written", "read by another process"])
def test_a_state_in_use_is_never_removed(tmp_path: Path, how: str) -> None:
    """By who reads or writes it in this process or another, for as long as that lasts."""
    long_ago(tmp_path)
    before = [(each.n, each.mark) for each in latest(tmp_path, OLD)[0]]
    os.utime(tmp_path / OLD / "in-use", (0, 0))
    holder = Snapshots(tmp_path, now_ms=lambda: 0)
    if how == "read":
        assert next(holder.latest(OLD, lambda _: None)).n == 20
    elif how == "written":
        holder.write(OLD, 20, "old", arrays(20))
    else:
        code = (
            "import sys, pathlib; from heirloom.adapters.snapshots import Snapshots; "
            "s = Snapshots(pathlib.Path(sys.argv[1]), now_ms=lambda: 0); "
            "next(s.latest(sys.argv[2], print)); print('holds', flush=True); input()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), OLD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "holds\n"
    write_now(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [OF, OLD]
    found = list(Snapshots(tmp_path, now_ms=lambda: 0).latest(OLD, lambda _: None))
    assert [(each.n, each.mark) for each in found] == before
    assert all(same(each) for each in found)
    if how.startswith("read by"):
        other.kill()  # the lock goes with the process
        other.communicate()
    holder.close()
    write_now(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [OF]


def test_who_stops_using_a_state_used_it_until_then(tmp_path: Path) -> None:
    """A quiet server that runs for long does not lose its state at its restart."""
    clock = [NOW_MS - 2 * RETIRED_AFTER_MS]
    server = Snapshots(tmp_path, now_ms=lambda: clock[0])
    server.write(OLD, 20, "old", arrays(20))
    clock[0] = NOW_MS - 1
    server.close()
    write_now(tmp_path)
    assert [each.n for each in latest(tmp_path, OLD)[0]] == [20]


def test_a_crash_between_any_steps_of_a_removal_is_safe(tmp_path: Path) -> None:
    """The new snapshot is durable before the first step, and the next write ends what was begun."""
    reached: list[str] = []
    long_ago(tmp_path / "steps")
    write_now(tmp_path / "steps", reached=reached.append)
    assert reached[-3:] == ["pruned", "retired", "removed"]
    for step in reached[-3:]:
        folder = tmp_path / step
        long_ago(folder)

        def die(at: str, step: str = step) -> None:
            if at == step:
                raise Killed

        with pytest.raises(Killed):
            write_now(folder, reached=die)
        assert [same(each) for each in latest(folder)[0]] == [True]
        old, refused = latest(folder, OLD)
        assert [same(each) for each in old] == ([True, True] if step == "pruned" else [])
        assert not refused
        if step == "pruned":  # reading it was a use
            os.utime(folder / OLD / "in-use", (0, 0))
        write_now(folder)
        assert [path.name for path in folder.iterdir()] == [OF]


def test_a_writer_that_waited_for_a_removal_writes_all_the_same(tmp_path: Path) -> None:
    """It waits on the lock of a folder that is gone by the time it has it."""
    long_ago(tmp_path)
    late = Snapshots(tmp_path, now_ms=lambda: NOW_MS)
    held = os.open(tmp_path / OLD / "in-use", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    writer = threading.Thread(target=late.write, args=(OLD, 40, "", arrays(40)))
    writer.start()
    time.sleep(0.05)
    (tmp_path / OLD).rename(tmp_path / ".retired-x")
    os.close(held)
    writer.join()
    assert [each.n for each in latest(tmp_path, OLD)[0]] == [40]
    os.utime(tmp_path / OLD / "in-use", (0, 0))
    write_now(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [OF, OLD]


ARRAY = {"dtype": "<i4", "shape": [1], "size": 1, "xxh64": "0"}


def cut(path: Path) -> None:
    os.truncate(path / "features.counts.npy", 100)


def flip(path: Path) -> None:
    content = bytearray((path / "features.counts.npy").read_bytes())
    content[-1] ^= 1
    (path / "features.counts.npy").write_bytes(content)


def lose(path: Path) -> None:
    (path / "people.ring.npy").unlink()


def garble(path: Path) -> None:
    (path / "manifest.json").write_text('{"format": 1')


def undated(path: Path) -> None:
    (path / "manifest.json").unlink()


def restate(**changed: object):
    def change(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | changed))

    return change


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "not what was written"),
        (flip, "not what was written"),
        (lose, "cannot be read"),
        (garble, "no manifest"),
        (undated, "no manifest"),
        (restate(of="other@1"), "wanted 'view@00000000'"),
        (restate(n=19), "wanted 'view@00000000' at 20"),
        (restate(format=1), "format 1"),
        (restate(arrays={"../x": {**ARRAY, "xxh64": ""}}), "not what was"),
        (restate(arrays={"features.counts": {**ARRAY, "size": 0}}), "not what was"),
        (restate(arrays={"features.counts": {**ARRAY, "size": 1 << 40}}), "not what was"),
    ],
)
def test_the_torn_and_the_foreign_are_refused_and_the_older_one_is_used(
    tmp_path: Path, damage, why: str
) -> None:
    Snapshots(tmp_path).write(OF, 10, "", arrays(10))
    damage(Snapshots(tmp_path).write(OF, 20, "", arrays(20)))
    found, refused = latest(tmp_path)
    assert [each.n for each in found] == [10]
    (sentence,) = refused
    assert why in sentence
    assert "may be deleted" in sentence


def test_room_to_grow_is_kept_and_takes_no_disk(tmp_path: Path) -> None:
    """The zeros at an array's end come back, and nothing but zeros is taken there."""
    grown = np.zeros(1 << 25, np.uint8)
    grown[:10] = 7
    for n in (10, 20):
        where = Snapshots(tmp_path).write(OF, n, "", {"grown": grown}) / "grown.npy"
    assert where.stat().st_size > len(grown)
    if where.stat().st_blocks * 512 > len(grown):
        pytest.skip("this disk keeps holes")
    (found, _), refused = latest(tmp_path)
    assert not refused
    assert found.n == 20
    assert np.array_equal(found.arrays["grown"], grown)
    found.arrays["grown"][-1] = 1  # there is room indeed
    for offset in (-1, -(1 << 20), where.stat().st_size // 2):
        with where.open("r+b") as file:
            at = file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            file.write(b"x")
        ((found, *_), (sentence,)) = latest(tmp_path)
        assert found.n == 10
        assert "not what was written" in sentence
        with where.open("r+b") as file:
            file.seek(at)
            file.write(bytes(1))
        assert not latest(tmp_path)[1]  # zeros again, though the disk keeps them now


def test_names_and_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names"):
        Snapshots(tmp_path).write("../up", 1, "", arrays(1))
    with pytest.raises(InputError, match="objects"):
        Snapshots(tmp_path).write(OF, 1, "", {"x": np.array([None])})
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="nothing is lost"):
        Snapshots(tmp_path / "file").write(OF, 1, "", arrays(1))


WRITER = """
import sys
from pathlib import Path
from tests.adapters.test_snapshots import OF, arrays
from heirloom.adapters.snapshots import Snapshots
n = 0
while True:
    n += 1
    Snapshots(Path(sys.argv[1])).write(OF, n, "", arrays(n))
    print(n, flush=True)
"""


def test_kill_9(tmp_path: Path) -> None:
    """What the writer said is durable is there after kill -9 at any moment, and nothing is torn."""
    for _ in range(2):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(5)]
        time.sleep(0.003 * np.random.default_rng().random())
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        writer.stdout.close()
        found, refused = latest(tmp_path / "s")
        assert not refused
        assert found[0].n >= said[-1]
        assert all(same(each) for each in found)
