"""Workers of a batch: forked when the state is folded, so that it lies in memory once.

The parent alone reads the file of people, and gives each worker one part at a time. A worker whose
parent died ends itself.
"""

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from heirloom.core.batch import PartDone
from heirloom.core.errors import HeirloomError, StoreError

Part = tuple[int, Sequence[str]]
Tell = Callable[[int], None]
Score = Callable[[int, Sequence[str], Tell], PartDone]
"""Number, people, and who is told of progress."""


def scored_by(
    workers: int,
    parts: Iterable[Part],
    score: Score,
    tell: Tell,
    on_fork: Callable[[], None] = lambda: None,
) -> float:
    """Score parts in so many processes; gives the CPU seconds of all of them.

    Args:
        workers: 1: in this process.
        parts: taken one by one, as workers come to them.
        score: what is done with each.
        tell: told of so many more people.
        on_fork: done in each worker first, as to let go of locks that are the parent's.

    Raises:
        HeirloomError: what a worker raised.
        StoreError: a worker died.
    """
    began = time.process_time()
    if workers == 1:
        for number, people in parts:
            score(number, people, tell)
        return time.process_time() - began
    gc.collect()
    gc.freeze()  # what is frozen is not written to by the collector, so its pages stay shared
    crew: list[_Worker] = []
    try:
        for _ in range(workers):
            crew.append(_Worker(score, [one.line for one in crew], on_fork))
        cpu_s = _served(crew, iter(parts), tell)
    finally:
        for one in crew:
            one.end()
        gc.unfreeze()
    return cpu_s + time.process_time() - began


def _served(crew: list["_Worker"], parts: Iterator[Part], tell: Tell) -> float:
    cpu_s = 0.0
    busy = {one.line: one for one in crew if one.give(next(parts, None))}
    while busy:
        for line in wait(list(busy)):
            one = busy[line]  # type: ignore[index]
            heard = one.hear()
            if isinstance(heard, int):
                tell(heard)
                continue
            cpu_s += heard
            if not one.give(next(parts, None)):
                del busy[one.line]
    return cpu_s


class _Worker:
    """A process and the line to it."""

    def __init__(
        self, score: Score, others: Sequence[Connection], on_fork: Callable[[], None]
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.line, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, [*others, self.line], score, on_fork), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, part: Part | None) -> bool:
        """Hand a part over; False where there is none."""
        if part is None:
            return False
        try:
            self.line.send(part)
        except OSError as error:
            raise self._died() from error
        return True

    def hear(self) -> int | float:
        """People scored since, or at the end of a part its CPU seconds."""
        try:
            heard: Any = self.line.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(heard, Exception):
            raise heard
        number: int | float = heard
        return number

    def end(self) -> None:
        """It gets no more parts; one that is under way is dropped."""
        self.line.close()
        self._process.terminate()
        self._process.join()

    def _died(self) -> StoreError:
        self._process.join(1)
        return StoreError(
            f"batch: a worker died (exit code {self._process.exitcode}); where that is -9 memory "
            "may be short, then take fewer --workers; run the same again to go on"
        )


def _work(
    line: Connection, others: Sequence[Connection], score: Score, on_fork: Callable[[], None]
) -> None:
    on_fork()
    for other in others:
        other.close()
    parent = os.getppid()

    def tell(more: int) -> None:
        if os.getppid() != parent:
            os._exit(1)
        line.send(more)

    with suppress(EOFError, OSError, KeyboardInterrupt):  # the parent is gone, or ends it
        while True:
            number, people = line.recv()
            began = time.process_time()
            try:
                score(number, people, tell)
            except HeirloomError as error:
                line.send(StoreError(f"part {number}: {error}"))
                return
            line.send(time.process_time() - began)
