"""Process: what the writer and a worker do, each in its own process, from fork to end."""

from collections.abc import Mapping, Sequence
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
    Sharing,
    admin_of,
    application_of,
    bound_at,
    configured,
)
from heirloom.apps.workers.board import READY, Board
from heirloom.apps.workers.forward import Forward, Sends, ingest_route
from heirloom.apps.workers.gather import Gather, own_route
from heirloom.apps.workers.handing import Box, Giving, moving
from heirloom.apps.workers.shared_visits import SharedVisits
from heirloom.apps.workers.turns import Turns

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
        boxes: of connections that workers give to each other, by their places on the board.
    """

    system: System
    doors: Doors
    board: Board
    history: History
    folder: Path
    key: bytes
    boxes: Mapping[int, Box]

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
    _serve(run, at, alive, configured(app), [Beside(app, inner.public, inner=True)])
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
    shared = Shared(run.visits(at), instead, forward, gather, counts=board.line(at))
    app = application_of(system, run.doors, shared)
    own = Starlette(routes=[own_route(app.state.desk)])
    inner = Beside(own, bound_at(run.path(board.names[at])), inner=True)
    hold = partial(board.hold, at)
    config = run.doors.config(app)
    config.load()
    give = Giving(board, at, run.boxes)
    config.http_protocol_class = moving(config.http_protocol_class, give, partial(hold, -1))
    sharing = partial(
        Turns,
        box=run.boxes[at],
        hold=hold,
        is_turn=partial(board.has_fewest, at, run.workers),
        backlog=config.backlog,
    )
    _serve(run, at, alive, config, [*admin_of(app, run.doors), inner], sharing)
    return 0


def _serve(
    run: Run,
    at: int,
    alive: int,
    config: uvicorn.Config,
    beside: Sequence[Beside],
    sharing: Sharing | None = None,
) -> None:
    """Answer `beside`, and at the public door where `sharing` says how it is shared."""
    system, board = run.system, run.board
    publication = Publication(system)

    def tell() -> None:
        board.beat(at)
        refused = bool(publication.refused)
        board.answers(at, system.live.n, system.policy.bundle, refused=refused)

    server = Announced(
        config,
        lambda: board.enter(at, READY),
        beside=beside,
        publication=publication,
        tick=tell,
        alive=alive,
        sharing=sharing,
    )
    try:
        server.run(sockets=[run.doors.public] if sharing is not None else [])
        system.keep()
    finally:
        publication.close()
        system.close()
