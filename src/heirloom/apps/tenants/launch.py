"""Launch: the front and the processes of all tenants, until a signal."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from heirloom.apps.security.addresses import Addresses
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.hosts import Hosts
from heirloom.apps.security.opening import OF_ADDRESSES
from heirloom.apps.security.rate import Buckets
from heirloom.apps.server import Announced, Doors, announce_on_stdout, bound
from heirloom.apps.settings import Settings
from heirloom.apps.tenants.front import Front
from heirloom.apps.tenants.listed import Tenants, read
from heirloom.apps.tenants.roll import Roll
from heirloom.apps.workers.launch import run_folder


def serve(
    toml: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    announce: Callable[[str], None] = announce_on_stdout,
) -> None:
    """Serve the tenants that a TOML lists until a signal.

    It answers when each tenant has, or has ended once: one that cannot start keeps no other from
    being served. From then on it follows the file.

    Raises:
        ConfigError: the TOML, or a system's.
        StoreError: the port is taken.
    """
    listed, settings = read(toml)
    http = listed.http
    with run_folder() as folder:
        buckets = Buckets(folder / OF_ADDRESSES)
        front = Front(
            max_body=http.max_body_bytes,
            addresses=Addresses(buckets, free=http.addresses.free, wrong=http.addresses.wrong),
            hosts=Hosts(http.hosts) if http.hosts else None,
        )
        doors = Doors(
            bound(host or http.host, http.port if port is None else port, "--port"),
            Guard(),
            http=http,
        )
        try:
            app = front.application()
            app.router.lifespan_context = partial(
                _kept, Roll(toml, folder, front), listed, settings
            )
            server = Announced(doors.config(app), partial(announce, doors.address))
            server.run(sockets=[doors.public])
        finally:
            doors.close()
            buckets.close()


@asynccontextmanager
async def _kept(
    roll: Roll,
    listed: Tenants,
    settings: Mapping[str, Settings],
    app: Starlette,  # noqa: ARG001
) -> AsyncIterator[None]:
    async with roll.kept(listed, settings):
        yield
