"""The log and the anteroom in memory keep the laws of those on disk."""

from collections import defaultdict
from pathlib import Path

from heirloom.testing.event_log import AnteroomLaws, EventLogLaws
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

LOGS: defaultdict[Path, MemoryLog] = defaultdict(MemoryLog)
ANTEROOMS: defaultdict[Path, MemoryAnteroom] = defaultdict(MemoryAnteroom)


class TestMemoryLog(EventLogLaws):
    def open_log(self, folder: Path) -> MemoryLog:
        return LOGS[folder]


class TestMemoryAnteroom(AnteroomLaws):
    def open_anteroom(self, folder: Path) -> MemoryAnteroom:
        return ANTEROOMS[folder]
