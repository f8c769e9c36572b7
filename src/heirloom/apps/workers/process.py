"""Process: what the writer and a worker do, each in its own process, from fork to end."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from heirloom.apps import api as a
from heirloom.apps import logs
from heirloom.apps.build import System
from heirloom.apps.console.history import History
from heirloom.apps.http import Shared
from heirloom.apps.publication import Publication
from heirloom.apps.security.guard import Guard
from heirloom.apps.server import (
    Announced,
    Beside,
    Doors,
    admin_of,
    application_of,
    bound_at,
    configured,
)
from heirloom.apps.workers.board import READY, Board
from heirloom.apps.workers.forward import Forward, Sends, ingest_route
from heirloom.apps.workers.gather import Gather, own_route
from heirloom.apps.workers.shared_visits import SharedVisits
from heirloom.apps.workers.turns import Turns, leaving

WRITER = "writer"


@dataclass(frozen=True, slots=True)
class Run:
    """What the processes of a system have in common.

    Attributes:
        system: loaded, and closed again; each process goes on with it.
        doors: the workers' own.
        board: where each tells its state; the writer first, if there is one.
        history: what each counted in the last minutes.
        folder: of sockets and visits, for this run alone.
        key: signs the tokens of pages.
    """

    system: System
    doors: Doors
    board: Board
    history: History
    folder: Path
    key: bytes

    @property
    def writer(self) -> int | None:
        """The writer's place on the board; None: it is no process of this run."""
        return 0 if self.board.names[0] == WRITER else None

    @property
    def workers(self) -> list[int]:
        """The workers' places on the board."""
        return [at for at in range(len(self.board.names)) if at != self.writer]

    def path(self, name: str) -> Path:
        """The socket of a process."""
        return self.folder / f"{name}.sock"

    def gather(self, here: int) -> Gather:
        """The numbers of all processes, as process `here` asks for them."""
        return Gather(self.board, self.path, self.history, here=here, writer=self.writer)

    def visits(self, here: int) -> SharedVisits:
        """As process `here` knows them; the writer has answered none."""
        return SharedVisits(self.folder, here, self.workers, self.key)


def write(run: Run, at: int, alive: int) -> int:
    """Take events in until it is told to end; gives the exit status."""
    logs.begin(run.system.settings.log, process=run.board.names[at])
    run.doors.close()
    system = run.system
    system.resume(reader=False)
    inner = Doors(bound_at(run.path(run.board.names[at])), Guard())
    app = application_of(
        system, inner, Shared(run.visits(-1), {}, processes=run.gather(at), is_behind=True)
    )
    app.router.routes.insert(0, ingest_route(app.state.desk))
    _serve(run, at, alive, configured(app), [], [Beside(app, inner.public, inner=True)])
    return 0


def work(run: Run, at: int, alive: int) -> int:
    """Answer until it is told to end; gives the exit status."""
    system, board = run.system, run.board
    logs.begin(system.settings.log, process=board.names[at])
    system.resume(reader=True)
    system.beside = lambda: {f"process.{one.name}": str(one) for one in board.told()}
    gather, forward = run.gather(at), None
    instead: dict[a.Endpoint, a.Handler] = {a.METRICS: gather}
    if run.writer is not None:
        system.sends = Sends(run.path(WRITER))
        forward = Forward(run.path(WRITER), max_body=system.settings.http.max_body_bytes)
        instead[a.EVENTS] = forward
    shared = Shared(run.visits(at), instead, forward, gather)
    app = application_of(system, run.doors, shared)
    own = Starlette(routes=[own_route(app.state.desk)])
    inner = Beside(own, bound_at(run.path(board.names[at])), inner=True)
    _serve(
        run, at, alive, run.doors.config(app), [run.doors.public],
        [*admin_of(app, run.doors), inner],
    )  # fmt: skip
    return 0


def _serve(
    run: Run,
    at: int,
    alive: int,
    config: uvicorn.Config,
    doors: list[socket.socket],
    beside: Sequence[Beside],
) -> None:
    system, board = run.system, run.board
    publication = Publication(system)

    def tell() -> None:
        board.beat(at)
        refused = bool(publication.refused)
        board.answers(at, system.live.n, system.policy.bundle, refused=refused)

    hold = partial(board.hold, at)
    config.load()
    config.http_protocol_class = leaving(config.http_protocol_class, partial(hold, -1))
    server = Announced(
        config,
        lambda: board.enter(at, READY),
        beside=beside,
        publication=publication,
        tick=tell,
        alive=alive,
        sharing=partial(
            Turns,
            hold=hold,
            is_turn=partial(board.has_fewest, at, run.workers),
            backlog=config.backlog,
        ),
    )
    try:
        server.run(sockets=doors)
        system.keep()
    finally:
        publication.close()
        system.close()
