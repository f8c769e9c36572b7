"""Progress bars on a terminal; plain lines where there is none."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

T = TypeVar("T")


class Bars:
    """One bar a step, made when a step first reports.

    `progress(step, done, of)` is what pipelines call.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def progress(self, step: str, done: int, of: int) -> None:
        """Show a step as `done` of `of`."""
        if not self._tasks:
            self._progress.start()
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=of or None)
        self._progress.update(self._tasks[step], completed=done, total=of or None)

    def counted(self, step: str, arrivals: Iterable[T]) -> Iterator[T]:
        """What arrives, counted as it passes; how much will come is not known."""
        done = 0
        for done, arrival in enumerate(arrivals, 1):
            if done % 1_000 == 0:
                self.progress(step, done, 0)
            yield arrival
        self.progress(step, done, done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tasks:  # else it would print an empty line
            self._progress.stop()


class Silent:
    """The same calls, nothing shown: for tests and scripts."""

    def progress(self, step: str, done: int, of: int) -> None:
        """Show nothing."""
