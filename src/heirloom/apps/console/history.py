"""History: what each process counted in the last five minutes, in memory that all of them map.

Every two seconds each process writes one row of its own. The array is made before the fork, so that
any process can tell the history of all, also of one that was killed meanwhile. It never grows.
"""

import mmap
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from heirloom.apps.console.numbers import Labels, Numbers
from heirloom.apps.metrics import SECONDS
from heirloom.core.event import Surface
from heirloom.pipelines.ladder import RUNGS

STEP_S: Final = 2
SLOTS: Final = 150
"""Five minutes."""

STATUSES = ("2xx", "3xx", "4xx", "429", "503", "5xx")
SURFACES = tuple(surface.value for surface in Surface)
OUTCOMES = ("taken", "duplicate", "held", "quarantined", "lost")
STAGES = ("retrieve", "features", "score", "compose", "reasons")
TIMED = ("a page of a slate", "events taken in", *STAGES)
"""What times are told of: two kinds of request as a whole, and the stages of a slate."""
_PAGES = frozenset(("/v1/recommend", "/v1/search"))
_EVENTS = "/v1/events"
_APART = ("/console", "/metrics", "/healthz", "/readyz", "/static")
"""Routes of those who watch: no traffic."""
GAUGES = ("started", "waiting", "events waiting", "behind")
BUCKETS = len(SECONDS) + 1

_COUNTED = len(STATUSES) + len(SURFACES) + len(RUNGS) + len(OUTCOMES) + len(TIMED) * BUCKETS
FIELDS = len(GAUGES) + _COUNTED


def row_of(told: Numbers) -> NDArray[np.float64]:
    """[FIELDS] the gauges, then all that is counted, as of now."""
    statuses = dict.fromkeys(STATUSES, 0.0)
    for labels, value in told.samples("heirloom_requests_total"):
        if not labels["route"].startswith(_APART):
            statuses[_class_of(labels["status"])] += value
    surfaces = told.by("heirloom_slates_total", "surface")
    rungs = told.by("heirloom_rung_total", "rung")
    outcomes = told.by("heirloom_events_total", "outcome")
    behind = told.total("heirloom_log_acknowledged") - told.total("heirloom_log_offset")
    return np.concatenate(
        [
            [told.total("process_start_time_seconds"), told.total("heirloom_waiting"),
             told.total("heirloom_events_waiting"), max(behind, 0.0)],
            list(statuses.values()),
            [surfaces.get(name, 0.0) for name in SURFACES],
            [rungs.get(name, 0.0) for name in RUNGS],
            [outcomes.get(name, 0.0) for name in OUTCOMES],
            *(_times(told, name) for name in TIMED),
        ]
    )  # fmt: skip


def _class_of(status: str) -> str:
    """A status as STATUSES has it; 0 is an answer that never began.

    >>> [_class_of(status) for status in ("200", "404", "429", "503", "500", "0")]
    ['2xx', '4xx', '429', '503', '5xx', '5xx']
    """
    kind = status if status in ("429", "503") else f"{status[0]}xx"
    return kind if kind in STATUSES else "5xx"


def _times(told: Numbers, name: str) -> NDArray[np.float64]:
    if name in STAGES:
        return told.buckets("heirloom_stage_seconds", SECONDS, lambda of: of["stage"] == name)

    def asked(of: Labels) -> bool:
        return of["route"] in _PAGES if name == TIMED[0] else of["route"] == _EVENTS

    return told.buckets("heirloom_request_seconds", SECONDS, asked)


class Counted:
    """A row of counts, or what they grew by, with names for its parts.

    Args:
        values: [..., FIELDS - gauges] float64, as `row_of` orders them.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        ends = np.cumsum([len(STATUSES), len(SURFACES), len(RUNGS), len(OUTCOMES)])
        parts = np.split(values, ends, axis=-1)
        self.statuses, self.surfaces, self.rungs, self.outcomes = parts[:4]
        self.times = parts[4].reshape(*values.shape[:-1], len(TIMED), BUCKETS)


class History:
    """Rows of some processes, by the two seconds in which they were written.

    Args:
        names: of the processes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        mapped = mmap.mmap(-1, 8 * len(names) * SLOTS * (1 + FIELDS))
        self._rows: NDArray[np.float64] = np.frombuffer(mapped, np.float64).reshape(
            len(names), SLOTS, 1 + FIELDS
        )

    def put(self, at: int, now_s: float, row: NDArray[np.float64]) -> None:
        """A process writes its row of now; once every STEP_S is enough."""
        step = int(now_s // STEP_S)
        mine = self._rows[at, step % SLOTS]
        mine[0] = 0.0  # who reads meanwhile takes none of it
        mine[1:] = row
        mine[0] = step

    def rows(self, at: int, now_s: float) -> NDArray[np.float64]:
        """[SLOTS, FIELDS] of the last five minutes, oldest first; NaN where nothing was written."""
        steps = int(now_s // STEP_S) - np.arange(SLOTS - 1, -1, -1)
        rows: NDArray[np.float64] = self._rows[at, steps % SLOTS]
        rows[rows[:, 0] != steps] = np.nan
        return rows[:, 1:]

    def grown(self, at: int, now_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[SLOTS, gauges] the gauges, and [SLOTS, counts] by how much a process counted more.

        What was counted while no row was written is told with the next one. A process that was
        started within the five minutes began at 0.
        """
        rows = self.rows(at, now_s)
        gauges, counts = rows[:, : len(GAUGES)], rows[:, len(GAUGES) :]
        grown = np.zeros_like(counts)
        before: NDArray[np.float64] | None = None
        started = -1.0
        for slot in np.flatnonzero(~np.isnan(gauges[:, 0])):
            if gauges[slot, 0] != started:
                started = gauges[slot, 0]
                is_young = started > now_s - SLOTS * STEP_S
                before = np.zeros(counts.shape[1]) if is_young else None
            if before is not None:
                grown[slot] = np.maximum(counts[slot] - before, 0.0)
            before = counts[slot]
        return gauges, grown
