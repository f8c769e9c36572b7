"""A child that writes holds nothing of the process that began it but its memory."""

import fcntl
import os
from pathlib import Path

from heirloom.adapters.forked import NICE, forked
from heirloom.core.errors import StoreError


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_sees_the_moment_at_which_it_was_begun(tmp_path: Path) -> None:
    state = [1]
    read, write = os.pipe()
    child = forked(lambda: (tmp_path / "seen").write_text(str(state)) and None)
    state[0] = 2
    assert wait(child) == 0
    assert (tmp_path / "seen").read_text() == "[1]"
    os.close(write)
    assert os.read(read, 1) == b""  # the child held no end of the pipe
    os.close(read)


def test_a_child_holds_no_lock_and_no_file(tmp_path: Path) -> None:
    """Who began it may die: another takes its place though the child still writes."""
    (tmp_path / "lock").touch()
    held = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.mkfifo(tmp_path / "go")

    def work() -> None:
        (tmp_path / "files").write_text(" ".join(os.listdir("/proc/self/fd")))
        (tmp_path / "nice").write_text(str(os.nice(0)))
        (tmp_path / "go").read_text()

    child = forked(work)
    with (tmp_path / "go").open("w"):  # it is there once it reads
        os.close(held)
        other = os.open(tmp_path / "lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    assert wait(child) == 0
    assert {int(each) for each in (tmp_path / "files").read_text().split()} <= {0, 1, 2, 3, 4}
    assert int((tmp_path / "nice").read_text()) == min(os.nice(0) + NICE, 19)


def test_what_fails_is_said_by_the_status() -> None:
    def full() -> None:
        raise StoreError("the disk is full")

    def broken() -> None:
        raise ZeroDivisionError

    assert wait(forked(full)) == 1
    assert wait(forked(broken)) == 1
