"""Gather: the metrics of all processes on one page, each with the label of its process."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heirloom.apps.console.history import History
from heirloom.apps.desk import Desk
from heirloom.apps.workers.board import Board, Told
from heirloom.apps.workers.upstream import AwayError, Upstream

METRICS = "/metrics"
SCRAPE_S = 1.0
"""So long another process may take to tell its own."""
_FAMILY = re.compile(r"^# (?:HELP|TYPE|UNIT) (\S+)")


def gathered(texts: Mapping[str, str]) -> str:
    r"""The metrics of several processes as one text, in Prometheus's text format.

    Args:
        texts: by process, what its own registry says in that format.

    >>> one = '# HELP a_total A.\n# TYPE a_total counter\na_total{b="c"} 1.0\n'
    >>> print(gathered({"x": one, "y": one.replace('{b="c"}', "")}), end="")
    # HELP a_total A.
    # TYPE a_total counter
    a_total{process="x",b="c"} 1.0
    a_total{process="y"} 1.0
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process, text in texts.items():
        family, mine = "", set[str]()
        for line in text.splitlines():
            if found := _FAMILY.match(line):
                family = found[1]
                if family not in heads or family in mine:
                    mine.add(family)
                    heads.setdefault(family, []).append(line)
            elif line and not line.startswith("#"):
                samples.setdefault(family, []).append(_labelled(line, process))
    lines = [line for family, head in heads.items() for line in (*head, *samples.get(family, ()))]
    return "".join(f"{line}\n" for line in lines)


def _labelled(sample: str, process: str) -> str:
    brace, space = sample.find("{"), sample.find(" ")
    if 0 <= brace < space:
        return f'{sample[:brace]}{{process="{process}",{sample[brace + 1 :]}'
    return f'{sample[:space]}{{process="{process}"}}{sample[space:]}'


def own_route(desk: Desk) -> Route:
    """Where a process tells the others its own metrics."""

    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(await asyncio.to_thread(desk.exposition))

    return Route(METRICS, metrics)


class Gather:
    """A handler of `/metrics` that asks all processes. Implements console.processes.Processes.

    Args:
        board: which processes there are.
        path: the socket of each, by name.
        history: of them all.
        here: the place of this process on the board.
        writer: that of the writer; None where it is none of them.
    """

    def __init__(
        self,
        board: Board,
        path: Callable[[str], Path],
        history: History,
        *,
        here: int,
        writer: int | None = 0,
    ) -> None:
        self.history = history
        self.here = here
        self.writer = writer
        self._board = board
        self._processes = {name: Upstream(path(name), timeout_s=SCRAPE_S) for name in board.names}

    async def __call__(self, request: Request) -> Response:  # noqa: ARG002
        """What they tell; one that does not is down in `heirloom_process_up`."""
        told = await self.texts()
        text = gathered({name: text for name, text in told.items() if text is not None})
        lines = [
            "# HELP heirloom_process_up Whether a process of this system answers.",
            "# TYPE heirloom_process_up gauge",
            *(f'heirloom_process_up{{process="{name}"}} {float(text is not None)}'
              for name, text in told.items()),
            "# HELP heirloom_process_starts_total How often a process was started.",
            "# TYPE heirloom_process_starts_total counter",
            *(f'heirloom_process_starts_total{{process="{one.name}"}} {float(one.starts)}'
              for one in self._board.told()),
            "# HELP heirloom_process_hung_total How often a process was ended because it hung.",
            "# TYPE heirloom_process_hung_total counter",
            *(f'heirloom_process_hung_total{{process="{one.name}"}} {float(one.hung)}'
              for one in self._board.told()),
        ]  # fmt: skip
        text += "".join(f"{line}\n" for line in lines)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    async def texts(self) -> dict[str, str | None]:
        """See Processes.texts."""
        asked = {name: self._ask(process) for name, process in self._processes.items()}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    def told(self) -> list[Told]:
        """See Processes.told."""
        return self._board.told()

    @staticmethod
    async def _ask(process: Upstream) -> str | None:
        try:
            answer = await process.ask("GET", METRICS.encode(), [(b"host", b"localhost")])
        except AwayError:
            return None
        return answer.body.decode() if answer.status == 200 else None
