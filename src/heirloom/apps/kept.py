"""Kept: a system's snapshots, from which a start goes on instead of from the log's beginning."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from heirloom.adapters.snapshots import Snapshots
from heirloom.core.log import EventLog
from heirloom.pipelines import recovery
from heirloom.pipelines.live import Live
from heirloom.pipelines.recovery import Folded

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Copies:
    """What is to be kept, as of log offset n."""

    n: int
    view: str
    folded: Arrays
    model: str
    content: Arrays


class Kept:
    """Snapshots of features and people, and of the listings' vectors, in two folders.

    Vectors are kept by their model: those of another are never taken, and stay for a return.
    """

    def __init__(self, folder: Path, log: EventLog) -> None:
        self._log = log
        self._folded = Snapshots(folder / "snapshots")
        self._vectors = Snapshots(folder / "vectors")

    def restore(self, live: Live) -> int:
        """Give a state that has folded nothing what is kept; gives features' offset, 0 for none."""
        self.restore_vectors(live, self._log.end())
        found = recovery.fitting(
            live.view,
            self._log,
            self._folded.latest(recovery.name_of(live.view), logger.warning),
            logger.warning,
        )
        if found:
            live.restore(found.features, found.people)
        return found.n if found else 0

    def restore_vectors(self, live: Live, end: int) -> int:
        """The vectors alone, of an offset up to `end`; gives their offset, 0 for none."""
        kept = self._vectors.latest(recovery.name_of_content(live.content), logger.warning)
        return recovery.restore_content(live.content, self._log, kept, logger.warning, end)

    def copies(self, live: Live) -> Copies:
        """Of all that is to be kept, for `write` to write while the state goes on."""
        folded, content = Folded(live.features, live.people), live.content
        return Copies(
            folded.n, recovery.name_of(live.view), folded.arrays(),
            recovery.name_of_content(content), content.arrays(),
        )  # fmt: skip

    def write(self, copies: Copies) -> None:
        """Durable when this returns.

        Raises:
            StoreError: the disk refuses.
        """
        mark = recovery.mark_of(self._log, copies.n)
        self._folded.write(copies.view, copies.n, mark, copies.folded)
        self._vectors.write(copies.model, copies.n, mark, copies.content)

    def newest(self, live: Live) -> tuple[int, int]:
        """(offset, ms since 1970 UTC) of the latest that is kept of features; 0 for none."""
        return self._folded.newest(recovery.name_of(live.view))

    def close(self) -> None:
        """Hold no snapshot any longer."""
        self._folded.close()
        self._vectors.close()
