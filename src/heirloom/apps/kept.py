"""Kept: a system's snapshots, from which a start goes on instead of from the log's beginning."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from heirloom.adapters.forked import forked
from heirloom.adapters.snapshots import Snapshot, Snapshots
from heirloom.core.errors import StoreError
from heirloom.core.log import EventLog
from heirloom.pipelines import recovery
from heirloom.pipelines.as_of import CutOff
from heirloom.pipelines.live import Live
from heirloom.pipelines.recovery import Folded
from heirloom.retrieval.content import ContentIndex

logger = logging.getLogger(__name__)


class Kept:
    """Snapshots of all that is folded: of a view's state, of what a model's vectors tell, the rest.

    A view's and a model's are kept by their names: those of others are never taken, and stay for a
    return.
    """

    def __init__(self, folder: Path, log: EventLog) -> None:
        self._folder, self._log = folder / "snapshots", log
        self._snapshots = Snapshots(self._folder)

    def begun(
        self, make: Callable[[], Live], log: EventLog | None = None, ahead: Iterable[str] = ()
    ) -> Live:
        """A state that holds what is kept; fold the log on from its `n`.

        Args:
            make: gives one that has folded nothing.
            log: not past its end, if not as far as the log of this.
            ahead: states that are read while `make` is at work, as `recovery.names_of` names them.
        """

        def latest(name: str) -> Iterable[Snapshot]:
            return self._snapshots.latest(name, logger.warning)

        with self._snapshots.ahead(ahead):
            return recovery.begun(make, log or self._log, latest, logger.warning)

    def content(self, make: Callable[[], ContentIndex], n: int) -> tuple[ContentIndex, int]:
        """What is known by another model's vectors, and the offset from which to fold it on.

        Args:
            make: gives one that has folded nothing.
            n: the log is read up to there, and no snapshot of later is taken.
        """

        def latest(name: str) -> Iterable[Snapshot]:
            return self._snapshots.latest(name, logger.warning)

        return recovery.content_begun(make, CutOff(self._log, n), latest, logger.warning)

    def write(self, live: Live) -> None:
        """All of a state as it is; durable when this returns.

        Raises:
            StoreError: the disk refuses.
        """
        _write(self._snapshots, live, recovery.mark_of(self._log, live.n))

    def begin(self, live: Live) -> int:
        """Write it in a child process, as it is now; gives its id, for `ended`.

        Raises:
            StoreError: there is no memory for a child.
        """
        mark = recovery.mark_of(self._log, live.n)
        try:
            # The files that these snapshots hold are closed in the child: it has its own.
            return forked(lambda: _write(Snapshots(self._folder), live, mark))
        except OSError as error:
            raise StoreError(
                f"snapshot: {error}; a start folds more of the log, nothing is lost"
            ) from error

    def newest(self, live: Live) -> tuple[int, int]:
        """(offset, ms since 1970 UTC) of the latest that is kept of features; 0 for none."""
        return self._snapshots.newest(recovery.name_of(live.view))

    def close(self) -> None:
        """Hold no snapshot any longer."""
        self._snapshots.close()


def ended(child: int, seconds: float) -> bool:
    """Wait for a child that writes, but not longer; whether it ended. Its failure is logged."""
    until, status = time.monotonic() + seconds, 0
    with suppress(ChildProcessError):
        while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        status = os.waitstatus_to_exitcode(found[1])
    if status:
        logger.warning(
            "snapshot: process %d, which was to write it, ended with %d; a start folds more of the "
            "log, nothing is lost", child, status,
        )  # fmt: skip
    return True


def _write(snapshots: Snapshots, live: Live, mark: str) -> None:
    folded = Folded(live.features, live.people)
    if folded.n == live.n:  # not where features are read from a store
        snapshots.write(recovery.name_of(live.view), live.n, mark, folded.arrays())
    for name, arrays in recovery.kept_of(live).items():
        snapshots.write(name, live.n, mark, arrays)
