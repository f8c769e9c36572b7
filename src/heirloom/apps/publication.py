"""Publication: a running system answers with the bundle that was published last, by anyone."""

import logging
import os
import threading
from pathlib import Path
from typing import Protocol

log = logging.getLogger(__name__)


class Follows(Protocol):
    """A system that can answer with what was published."""

    folder: Path

    def follow_published(self) -> str:
        """Answer with it; why not, if not."""


class Publication:
    """Looks at the pointer to the bundle, and has the system follow it.

    A bundle is loaded in a thread of its own, and answers from one request to the next. One that is
    refused is not tried again until another is published, or `again` asks for it.
    """

    def __init__(self, system: Follows) -> None:
        self._system = system
        self._pointer = system.folder / "current.txt"
        self._seen: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self.refused = ""

    def look(self) -> None:
        """Follow what has changed, in the background; 3 µs where nothing has."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            there = os.stat(self._pointer)
        except FileNotFoundError:
            return
        mark = there.st_mtime_ns, there.st_ino
        if mark != self._seen:
            self._seen = mark
            self._thread = threading.Thread(target=self._follow, name="publication")
            self._thread.start()

    def again(self) -> None:
        """Look at it as if it had changed."""
        self._seen = None
        self.look()

    def close(self) -> None:
        """Finish what is being loaded."""
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        self.refused = self._system.follow_published()
        if self.refused:
            log.error("what was published is refused: %s", self.refused)
