"""Snapshot: all that a log tells, kept for the next start; beside a server or without one."""

import time
from dataclasses import dataclass

from heirloom.apps.kept import Kept
from heirloom.apps.parts import empty_live, open_log
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Report:
    """What was kept: from and to which offset the log was folded for it, listings, seconds."""

    from_offset: int
    to_offset: int
    listings: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"kept at offset {self.to_offset:,}, {self.listings:,} live listings: folded from "
            f"{self.from_offset:,} on, {self.seconds:.1f} s. The next start goes on from there"
        )


def run(settings: Settings, *, registry: Registry | None = None) -> Report:
    """Fold the log to its present end and keep what was folded; a server may run meanwhile.

    Raises:
        ConfigError, BundleError: as when the system starts.
        NotFoundError: there is no log, or it is empty.
        StoreError: a file is damaged, or the disk refuses.
    """
    began, folder = time.monotonic(), settings.system.folder
    found = registry or Registry.installed()
    with open_log(folder, read_only=True) as log:
        end = log.end()
        if not end:
            raise NotFoundError(f"snapshot: the log in {folder} is empty; ingest something first")
        kept = Kept(folder, log)
        try:
            live = kept.begun(lambda: empty_live(settings, found, log))
            start = live.n
            live.replay(log.read(start, end))
            if start < end:
                kept.write(live)
        finally:
            kept.close()
    return Report(start, end, int(live.catalogue.live.sum()), time.monotonic() - began)
