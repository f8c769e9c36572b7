"""SharedVisits: orders and words of slates, in files that all processes of a system read.

    RUN/orders-2/SLATE      an order that process 2 has kept, whole or not at all: it is renamed
    RUN/searches-2          what process 2 answered searches for: one line for each, appended

RUN is a folder in memory where the machine has one, for this run alone. Each process writes what
bears its own number, so that nothing is locked; one that is started again goes on with it.
"""

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heirloom.apps.visits import ORDERS_KEPT, SEARCHES_KEPT, put

log = logging.getLogger(__name__)

JOURNAL = 4 << 20
"""Bytes of what was searched for, before a process begins another file."""


class SharedVisits:
    """Visits of processes that share a folder. Implements apps.visits.Visits.

    Args:
        run: the folder.
        here: the number of this process; below 0: it answers no slate, and reads alone.
        of: the numbers of all that answer.
        key: one for all.
        orders: so many are kept by each process.
        searches: so many are remembered of all.
        journal: bytes, as JOURNAL.
    """

    def __init__(
        self,
        run: Path,
        here: int,
        of: Sequence[int],
        key: bytes,
        *,
        orders: int = ORDERS_KEPT,
        searches: int = SEARCHES_KEPT,
        journal: int = JOURNAL,
    ) -> None:
        self.key = key
        self.here = here
        self._run = run
        self._most = orders, searches
        self._journal = journal
        self._words: OrderedDict[str, str] = OrderedDict()
        self._others = [_Followed(_searches(run, one)) for one in of if one != here]
        self._kept: OrderedDict[str, None] = OrderedDict()
        self._file = -1
        if here >= 0:
            self._own()

    def keep(self, slate_id: str, order: bytes) -> None:
        """See Visits.keep. Where there is no room, the order is not kept."""
        folder = self._orders(self.here)
        draft = folder / f".{slate_id}"
        try:
            draft.write_bytes(order)
            draft.rename(folder / slate_id)
        except OSError as error:
            draft.unlink(missing_ok=True)
            log.warning("the order of a slate is not kept: %s", error)
            return
        put(self._kept, slate_id, None, self._most[0] + 1)
        if len(self._kept) > self._most[0]:
            oldest, _ = self._kept.popitem(last=False)
            (folder / oldest).unlink(missing_ok=True)

    def order(self, slate_id: str, by: int) -> bytes | None:
        """See Visits.order."""
        try:
            return (self._orders(by) / slate_id).read_bytes()
        except OSError:
            return None

    def searched(self, slate_id: str, text: str) -> None:
        """See Visits.searched."""
        put(self._words, slate_id, text, self._most[1])
        line = msgspec.json.encode((slate_id, text)) + b"\n"
        try:
            if os.fstat(self._file).st_size + len(line) > self._journal:
                self._begin_again()
            os.write(self._file, line)
        except OSError as error:
            log.warning("what was searched for is not remembered: %s", error)

    def refresh(self) -> None:
        """See Visits.refresh."""
        for other in self._others:
            for slate_id, text in other.new():
                put(self._words, slate_id, text, self._most[1])

    def words(self, slate_id: str) -> str | None:
        """See Visits.words."""
        return self._words.get(slate_id)

    def _orders(self, by: int) -> Path:
        return self._run / f"orders-{by}"

    def _own(self) -> None:
        """Take over what this number wrote before."""
        folder = self._orders(self.here)
        folder.mkdir(exist_ok=True)
        found = [(each.stat().st_mtime_ns, each.name) for each in folder.iterdir()]
        for _, name in sorted(found):
            if name.startswith("."):  # half of one, of a process that died
                (folder / name).unlink()
            else:
                self._kept[name] = None
        path = _searches(self._run, self.here)
        written = path.read_bytes() if path.exists() else b""
        for slate_id, text in _parsed(written.split(b"\n")):
            put(self._words, slate_id, text, self._most[1])
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self._file, b"\n")  # an end to half a line, if there is one

    def _begin_again(self) -> None:
        """Another file in place of a full one, which those who follow it read to its end first."""
        path = _searches(self._run, self.here)
        draft = path.with_suffix(".next")
        new = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        draft.rename(path)
        os.close(self._file)
        self._file = new


@dataclass(slots=True)
class _Followed:
    """A journal that another process appends to, and replaces when it is full."""

    path: Path
    _file: int = -1
    _rest: bytes = b""

    def new(self) -> list[tuple[str, str]]:
        """(slate id, words) that came since the last call."""
        lines = self._read()
        while self._is_replaced():
            # What came between the read and the replacement is still in the old one.
            lines += self._read()
            self._reopen()
            lines += self._read()
        return _parsed(lines)

    def _read(self) -> list[bytes]:
        if self._file < 0:
            return []
        while more := os.read(self._file, 1 << 16):
            self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        return lines

    def _is_replaced(self) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return self._file < 0 or not os.path.samestat(there, os.fstat(self._file))

    def _reopen(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._rest = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC), b""


def _parsed(lines: Sequence[bytes]) -> list[tuple[str, str]]:
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError):  # empty, or half of one
            found.append(msgspec.json.decode(line, type=tuple[str, str]))
    return found


def _searches(run: Path, by: int) -> Path:
    return run / f"searches-{by}"
