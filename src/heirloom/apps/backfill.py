"""Backfill of a system: a view's state folded from its log and kept for the next start."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from heirloom.adapters.snapshots import Snapshots
from heirloom.apps.parts import open_log, view_of
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import NotFoundError
from heirloom.pipelines.backfill import backfill
from heirloom.pipelines.recovery import mark_of, name_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What was folded: the view's version, offsets, keys with state, its bytes, seconds."""

    of: str
    from_offset: int
    to_offset: int
    keys: int
    nbytes: int
    late: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.of}: folded from offset {self.from_offset:,} to {self.to_offset:,} in "
            f"{self.seconds:.1f} s: {self.keys:,} keys, {self.nbytes / 1e6:,.1f} MB, "
            f"{self.late:,} late counts dropped. Serving goes on from there when it next starts"
        )


def run(
    settings: Settings,
    *,
    registry: Registry | None = None,
    view: str | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Report:
    """Fold a view to the log's present end and keep its state; a server may run meanwhile.

    Args:
        settings: of the system.
        registry: what names stand for; default: what is installed.
        view: the view's name; default: the policy's.
        progress: told (entries folded, of).

    Raises:
        ConfigError: there is no such view.
        NotFoundError: the log is empty.
        StoreError: a file is damaged, or the disk refuses.
    """
    began = time.monotonic()
    folder = settings.system.folder
    wanted = view_of(settings, registry or Registry.installed(), view)
    store = Snapshots(folder / "snapshots")
    with open_log(folder, read_only=True) as log:
        if not log.end():
            raise NotFoundError(f"backfill: the log in {folder} is empty; ingest something first")
        kept = store.latest(name_of(wanted), logger.warning)
        done = backfill(wanted, log, kept, refuse=logger.warning, progress=progress)
        if done.to_offset > done.from_offset:
            mark = mark_of(log, done.to_offset)
            store.write(name_of(wanted), done.to_offset, mark, done.folded.arrays())
    features = done.folded.features
    return Report(
        of=name_of(wanted),
        from_offset=done.from_offset,
        to_offset=done.to_offset,
        keys=features.keys,
        nbytes=features.nbytes,
        late=features.late,
        seconds=time.monotonic() - began,
    )
