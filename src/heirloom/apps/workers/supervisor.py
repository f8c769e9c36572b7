"""Supervisor: starts processes by fork, again those that end or hang, and ends all in order.

It answers nobody, and neither file nor thread is open in it at a fork: what it forks is sound.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Self

from heirloom.apps.workers.board import DOWN, DRAINING, READY, STARTING, Board
from heirloom.core.errors import ConfigError, HeirloomError

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_TICK_S = 0.5
"""So often the board is looked at while no signal comes."""
_SPEAKS_S = 2.0
"""Who lives says so twice a second."""
CLOSING_S = 10.0
"""After its grace a process cancels what is not finished, and closes its files."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long processes are waited for.

    Attributes:
        first_s: before one that died is started again; twice as long each time, up to `longest_s`.
        longest_s: also where it dies again and again.
        steady_s: one that was ready for so long has not died again and again.
        most: so often may the first start of a process fail.
        grace_s: requests under way may take so long once a process is told to end.
        silent_s: one that was ready and has not said for so long that it lives, hangs: it is told
            to end, killed after `grace_s`, and started again. 0: it is waited for.
        catch_up_s: between two calls of `before_fork` while nothing is started.
    """

    first_s: float = 0.1
    longest_s: float = 4.0
    steady_s: float = 30.0
    most: int = 5
    grace_s: float = 5.0
    silent_s: float = 30.0
    catch_up_s: float = 60.0

    def before(self, deaths: int) -> float:
        """Seconds before a process is started again after so many deaths in a row, 1 or more.

        >>> [Patience().before(deaths) for deaths in (1, 2, 5, 50)]
        [0.1, 0.2, 1.6, 4.0]
        """
        return float(min(self.longest_s, self.first_s * 2.0 ** min(deaths - 1, 30)))


@dataclass(slots=True)
class _Child:
    at: int
    pid: int = 0
    deaths: int = 0
    """In a row."""
    began: float = 0.0
    due: float = 0.0
    beats: int = 0
    silent_s: float = 0.0
    """Since it said that it lives, as far as the supervisor ran meanwhile."""
    ended_s: float | None = None
    """As far as it ran since it told this one to end, because it hung."""

    @property
    def runs(self) -> bool:
        return self.pid != 0


class _Signals:
    """Signals that came, to be waited for: a context in which they do nothing else.

    Not blocked and waited for, as signal(7) has it: the threads of libraries do not block them.
    """

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._wakeup = signal.set_wakeup_fd(self._write)
        self._before = {one: signal.signal(one, lambda *_: None) for one in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> set[int]:
        """Those that have come, at the latest after so many seconds."""
        if not select.select([self._read], [], [], seconds)[0]:
            return set()
        return set(os.read(self._read, 4_096))

    def forget(self) -> None:
        """In a forked process: signals are its own."""
        signal.set_wakeup_fd(-1)
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


@dataclass(slots=True)
class Supervisor:
    """Processes by name, ended in order: all but the last group, then that.

    Args:
        board: where they tell their states; its names are theirs.
        run: what a process does, given its place on the board; it is called in the process, and
            what it returns is its exit status.
        last: places of those that are ended when the others are gone.
        before_fork: called before one is started again, and now and then.
        announce: called once, when all are ready.
        closing: called before they are told to end.
        patience: how long they are waited for.
    """

    board: Board
    run: Callable[[int], int]
    last: Sequence[int] = ()
    before_fork: Callable[[], None] = lambda: None
    announce: Callable[[], None] = lambda: None
    closing: Callable[[], None] = lambda: None
    patience: Patience = Patience()
    _children: list[_Child] = field(default_factory=list)
    _alive: tuple[int, int] = (-1, -1)
    _caught_up: float = 0.0
    _signals: _Signals = field(default_factory=_Signals)

    def supervise(self) -> int:
        """Until a signal ends it; gives the exit status.

        SIGTERM and SIGINT end all processes gracefully; SIGHUP is handed on to them.

        Raises:
            ConfigError: threads run here, which a fork would lose.
        """
        check_threads()
        self._children = [_Child(at) for at in range(len(self.board.names))]
        self._alive = os.pipe()
        with _Signals() as self._signals:
            try:
                return self._watch()
            finally:
                self._end(self._children)
                for end in self._alive:
                    os.close(end)

    @property
    def alive(self) -> int:
        """In a process: a descriptor that ends (EOF) when the supervisor does."""
        return self._alive[0]

    def _watch(self) -> int:
        announced, self._caught_up = False, time.monotonic()
        looked = self._caught_up
        for child in self._children:
            self._start(child)
        while True:
            came = self._signals.wait(_TICK_S)
            if came & {signal.SIGTERM, signal.SIGINT}:
                self._drain()
                return 0
            if signal.SIGHUP in came:
                self._tell(self._children, signal.SIGHUP)
            self._reap()
            # Where this process stood still itself (a machine that slept, a paused container), no
            # other could speak either: of a long time only so much counts.
            now, before = time.monotonic(), looked
            looked = now
            self._listen(min(now - before, 2 * _TICK_S))
            self._forgive()
            if (why := self._hopeless()) is not None:
                print(f"error: {why}", file=sys.stderr, flush=True)
                self._drain()
                return 1
            if not announced and all(self.board.was_ready(each.at) for each in self._children):
                announced = True
                self.announce()
            now = time.monotonic()
            due = [child for child in self._children if not child.runs and now >= child.due]
            if due or now - self._caught_up > self.patience.catch_up_s:
                self._catch_up()
            for child in due:
                self._start(child)

    def _listen(self, passed_s: float) -> None:
        """End who hangs: it was ready, and says no more that it lives."""
        for child in self._running(self._children):
            if child.ended_s is not None:
                child.ended_s += passed_s
                if child.ended_s > self.patience.grace_s:
                    self._tell([child], signal.SIGKILL)
                continue
            beats = self.board.beats(child.at)
            child.silent_s += passed_s
            if beats != child.beats or self.board.state(child.at) != READY:
                child.beats, child.silent_s = beats, 0.0
            if 0 < self.patience.silent_s < child.silent_s:
                child.ended_s = 0.0
                self.board.hung(child.at)
                name = self.board.names[child.at]
                log.error("%s hangs: silent for %.1f s; it is ended", name, child.silent_s)
                self._tell([child], signal.SIGTERM)

    def _forgive(self) -> None:
        """Who has been ready for long, and speaks, does not die again and again."""
        for child in self._children:
            ready = (
                child.runs and self.board.state(child.at) == READY and child.silent_s < _SPEAKS_S
            )
            if ready and time.monotonic() - child.began > self.patience.steady_s:
                child.deaths = 0

    def _hopeless(self) -> str | None:
        for child in self._children:
            if not self.board.was_ready(child.at) and child.deaths >= self.patience.most:
                name = self.board.names[child.at]
                return (
                    f"{name} died {child.deaths} times before it was ready; what it said is above"
                )
        return None

    def _catch_up(self) -> None:
        self._caught_up = time.monotonic()
        try:
            self.before_fork()
        except HeirloomError as error:  # who is forked now catches up by itself
            log.warning("%s", error)

    def _start(self, child: _Child) -> None:
        self.board.enter(child.at, STARTING)
        child.began, child.silent_s, child.ended_s = time.monotonic(), 0.0, None
        # A signal that comes before the child has handlers of its own waits for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        child.pid = os.fork()
        if child.pid == 0:
            self._become(child.at)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.board.started(child.at, child.pid)

    def _become(self, at: int) -> NoReturn:
        """In the new process, from which nothing returns to what called the supervisor."""
        status = 1
        try:
            os.close(self._alive[1])
            self._signals.forget()
            # Ctrl-C reaches the supervisor alone, which ends all in order.
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            gc.enable()
            status = self.run(at)
        except HeirloomError as error:
            print(f"{self.board.names[at]}: error: {error}", file=sys.stderr)
        except Exception:
            log.exception("%s failed", self.board.names[at])
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(status)

    def _reap(self) -> None:
        for child in self._running(self._children):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        child.pid = 0
        child.deaths += 1
        wait = self.patience.before(child.deaths)
        child.due = time.monotonic() + wait
        self.board.enter(child.at, DOWN)
        name = self.board.names[child.at]
        how = f"signal {-code}" if code < 0 else f"status {code}"
        log.warning("%s ended with %s; it is started again in %.1f s", name, how, wait)

    def _drain(self) -> None:
        """End all gracefully: first those that send events, then who takes them."""
        self.closing()
        for child in self._children:
            if child.runs:
                self.board.enter(child.at, DRAINING)
        self._end([child for child in self._children if child.at not in self.last])
        self._end([child for child in self._children if child.at in self.last])

    def _end(self, children: Sequence[_Child]) -> None:
        """Ask them to end; those that do not in time are killed."""
        self._tell(children, signal.SIGTERM)
        end = time.monotonic() + self.patience.grace_s + CLOSING_S
        while waiting := list(self._running(children)):
            if time.monotonic() > end:
                self._tell(waiting, signal.SIGKILL)
            for child in waiting:
                pid, _ = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.pid = 0
                    self.board.enter(child.at, DOWN)
            self._signals.wait(0.05)

    @staticmethod
    def _running(children: Sequence[_Child]) -> Iterator[_Child]:
        return (child for child in children if child.runs)

    def _tell(self, children: Sequence[_Child], what: signal.Signals) -> None:
        for child in self._running(children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, what)


def check_threads() -> None:
    """Refuse to fork what a fork would lose.

    Raises:
        ConfigError: naming the threads.
    """
    others = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    if others:
        raise ConfigError(
            "workers",
            [
                f"threads run in the process that is to be forked ({', '.join(sorted(others))}), "
                "and would be missing in its workers; use --workers 1, and readers beside it"
            ],
        )


def freeze() -> None:
    """All that is loaded is there to stay: no collection touches its pages, so they stay shared."""
    gc.collect()
    gc.disable()
    gc.freeze()
