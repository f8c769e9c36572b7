"""The supervisor over processes that do next to nothing, each case in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heirloom.apps.workers.supervisor import Patience

SET_UP = """
import os, signal, sys, threading, time
from heirloom.apps.workers.board import READY, Board
from heirloom.apps.workers.supervisor import Patience, Supervisor

board = Board(["writer", "worker-1", "worker-2"])
patience = Patience(first_s=0.01, longest_s=0.05, most=3, grace_s=0.1, catch_up_s=3600)
said = lambda *words: os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait(at, on_term=None):
    signal.signal(signal.SIGTERM, on_term or (lambda *_: (said("ends", at), os._exit(0))))
    signal.signal(signal.SIGHUP, lambda *_: said("hup", at))
    board.enter(at, READY)
    said("ready", at, os.getpid())
    while True:
        time.sleep(60)
"""


def run(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SET_UP + body], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def lines(process: subprocess.Popen[str], count: int) -> list[list[str]]:
    assert process.stdout is not None
    return [process.stdout.readline().split() for _ in range(count)]


def rest(process: subprocess.Popen[str]) -> tuple[list[list[str]], str]:
    out, err = process.communicate(timeout=60)
    return [line.split() for line in out.splitlines()], err


PLAIN = """
announce = lambda: said("announced")
sys.exit(Supervisor(board, wait, last=(0,), announce=announce, closing=lambda: said("closing"),
                    before_fork=lambda: said("catches up"), patience=patience).supervise())
"""


def test_all_are_started_announced_once_and_ended_in_order() -> None:
    process = run(PLAIN)
    said = lines(process, 4)
    assert sorted(words[:2] for words in said[:3]) == [
        ["ready", "0"],
        ["ready", "1"],
        ["ready", "2"],
    ]
    assert said[3] == ["announced"]
    process.send_signal(signal.SIGHUP)
    assert sorted(lines(process, 3)) == [["hup", "0"], ["hup", "1"], ["hup", "2"]]
    process.terminate()
    said, _ = rest(process)
    assert said[0] == ["closing"]
    assert sorted(said[1:3]) == [["ends", "1"], ["ends", "2"]]
    assert said[3:] == [["ends", "0"]], "who takes what the others send is the last to go"
    assert process.returncode == 0


def test_one_that_is_killed_is_started_again_in_a_state_that_was_caught_up() -> None:
    process = run(PLAIN)
    pids = {words[1]: int(words[2]) for words in lines(process, 4)[:3]}
    os.kill(pids["1"], signal.SIGKILL)
    caught_up, (ready, which, pid) = lines(process, 2)
    assert (caught_up, ready, which) == (["catches", "up"], "ready", "1")
    assert int(pid) != pids["1"]
    process.terminate()
    said, err = rest(process)
    assert ["announced"] not in said, "once is enough"
    assert "worker-1 ended with signal 9" in err


def test_one_that_never_becomes_ready_is_given_up_and_all_end() -> None:
    process = run("""
def dies(at):
    if at == 1:
        said("dies")
        return 7
    wait(at)
sys.exit(Supervisor(board, dies, patience=patience).supervise())
""")
    said, err = rest(process)
    assert process.returncode == 1
    assert said.count(["dies"]) == 3
    assert {"ends"} == {words[0] for words in said if words[0] not in ("ready", "dies")}
    assert "worker-1 died 3 times before it was ready" in err


def test_one_that_was_ready_once_is_never_given_up() -> None:
    """Its disk may be full for an hour: the others answer meanwhile."""
    process = run("""
def dies(at):
    if at == 0:
        board.enter(at, READY)
        said("dies")
        os._exit(3)
    wait(at)
patience = Patience(first_s=0.01, longest_s=0.02, most=1, grace_s=0.1)
sys.exit(Supervisor(board, dies, patience=patience).supervise())
""")
    deaths = 0
    while deaths < 3:
        deaths += lines(process, 1) == [["dies"]]
    assert process.poll() is None
    process.terminate()
    rest(process)
    assert process.returncode == 0


def test_one_that_does_not_end_in_time_is_killed() -> None:
    process = run("""
from heirloom.apps.workers import supervisor
supervisor.CLOSING_S = 0.1
sys.exit(Supervisor(board, lambda at: wait(at, lambda *_: said("no", at)), patience=patience)
         .supervise())
""")
    lines(process, 3)
    process.terminate()
    said, _ = rest(process)
    assert sorted(words[0] for words in said) == ["no"] * 3
    assert process.returncode == 0


BEATS = """
def beats(at):
    signal.signal(signal.SIGTERM, lambda *_: (said("ends", at), os._exit(0)))
    board.enter(at, READY)
    said("ready", at, os.getpid())
    while at != MUTE:
        board.beat(at)
        time.sleep(0.05)
    time.sleep(60)
patience = Patience(first_s=0.01, longest_s=0.05, grace_s=0.2, silent_s=SILENT_S)
try:
    sys.exit(Supervisor(board, beats, patience=patience).supervise())
finally:
    said("hung", *(each.hung for each in board.told()))
"""


def beating(silent_s: float, mute: int = -1) -> subprocess.Popen[str]:
    return run(f"SILENT_S, MUTE = {silent_s}, {mute}\n{BEATS}")


def test_one_that_hangs_is_killed_and_started_again() -> None:
    process = beating(5.0)
    pids = {words[1]: int(words[2]) for words in lines(process, 3)}
    os.kill(pids["1"], signal.SIGSTOP)  # no signal but SIGKILL ends it
    ((ready, which, pid),) = lines(process, 1)
    assert (ready, which) == ("ready", "1")
    assert int(pid) != pids["1"]
    process.terminate()
    said, err = rest(process)
    assert said[-1] == ["hung", "0", "1", "0"]
    assert re.search(r"worker-1 hangs: silent for \d", err)
    assert "worker-1 ended with signal 9" in err


def test_one_that_hangs_and_can_end_is_let_end() -> None:
    process = beating(1.0, mute=2)
    assert sorted(words[:2] for words in lines(process, 3)) == [["ready", str(i)] for i in range(3)]
    assert lines(process, 1) == [["ends", "2"]]
    assert lines(process, 1)[0][:2] == ["ready", "2"]
    process.terminate()
    _, err = rest(process)
    assert "worker-2 ended with status 0" in err


def test_who_hangs_again_and_again_is_started_later_each_time() -> None:
    """Each life is longer than a steady one, and silent: what counts is that it speaks."""
    set_up = "from heirloom.apps.workers import supervisor\nsupervisor._SPEAKS_S = 0.6\n"
    patience = "first_s=0.2, longest_s=9.0, steady_s=1.0, grace_s=0.2, silent_s=1.2"
    known = "first_s=0.01, longest_s=0.05, grace_s=0.2, silent_s=SILENT_S"
    assert known in BEATS
    process = run(f"{set_up}MUTE = 1\n{BEATS.replace(known, patience)}")
    lives = 0
    while lives < 4:
        lives += lines(process, 1)[0][:2] == ["ready", "1"]
    process.terminate()
    _, err = rest(process)
    waits = re.findall(r"worker-1 ended with status 0; it is started again in (\S+) s", err)
    assert waits[:3] == ["0.2", "0.4", "0.8"]


def test_nobody_hangs_who_could_not_speak_because_all_stood_still() -> None:
    """As in a container that is paused; and nobody is ended where that is switched off."""
    for silent_s, all_stop in ((2.0, True), (0.0, False)):
        process = beating(silent_s)
        pids = [int(words[2]) for words in lines(process, 3)]
        stopped = [process.pid, *pids] if all_stop else pids[1:2]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.6)  # the supervisor looks once more
        process.terminate()
        said, err = rest(process)
        assert said[-1] == ["hung", "0", "0", "0"]
        assert "hangs" not in err


def test_processes_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    process = run("""
def reads(at):
    said("ready", at, os.getpid())
    os.read(supervisor.alive, 1)
    said("left alone", at)
    return 0
supervisor = Supervisor(board, reads, patience=patience)
supervisor.supervise()
""")
    lines(process, 3)
    process.kill()
    said, _ = rest(process)  # ends when the last process has closed its end
    assert sorted(words[-1] for words in said) == ["0", "1", "2"]


def test_what_runs_threads_is_not_forked() -> None:
    process = run("""
threading.Thread(target=time.sleep, args=(60,), name="beater", daemon=True).start()
sys.exit(Supervisor(board, wait).supervise())
""")
    said, err = rest(process)
    assert not said
    assert "beater" in err
    assert "use --workers 1" in err


@pytest.mark.parametrize("deaths", [1, 3, 100, 10_000])
def test_a_pause_is_bounded(deaths: int) -> None:
    patience = Patience(first_s=0.5, longest_s=8.0)
    assert patience.before(deaths) == min(0.5 * 2.0 ** min(deaths - 1, 60), 8.0)
