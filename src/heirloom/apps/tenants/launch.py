"""Launch: the front and the processes of all tenants, until a signal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from heirloom.apps.security.addresses import Addresses
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.opening import OF_ADDRESSES
from heirloom.apps.security.rate import Buckets
from heirloom.apps.server import Announced, Doors, announce_on_stdout, bound
from heirloom.apps.tenants.directory import Directory
from heirloom.apps.tenants.front import Front
from heirloom.apps.tenants.listed import read
from heirloom.apps.tenants.processes import Tenant
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
    being served.

    Raises:
        ConfigError: the TOML, or a system's.
        StoreError: the port is taken.
    """
    listed, settings = read(toml)
    http = listed.http
    with run_folder() as folder:
        tenants = [
            Tenant(
                name,
                ["--system", str(toml.parent / part.system), "--folder", str(part.folder),
                 *(("--workers", str(part.workers)) if part.workers else ())],
                folder / f"{name}.sock",
            )
            for name, part in listed.tenants.items()
        ]  # fmt: skip
        buckets = Buckets(folder / OF_ADDRESSES)
        front = Front(
            Directory(settings),
            {tenant.name: tenant.path for tenant in tenants},
            max_body=http.max_body_bytes,
            addresses=Addresses(buckets, free=http.addresses.free, wrong=http.addresses.wrong),
        )
        doors = Doors(
            bound(host or http.host, http.port if port is None else port, "--port"),
            Guard(),
            http=http,
        )
        try:
            app = front.application()
            app.router.lifespan_context = partial(_kept, tenants)
            server = Announced(doors.config(app), partial(announce, doors.address))
            server.run(sockets=[doors.public])
        finally:
            doors.close()
            buckets.close()


@asynccontextmanager
async def _kept(tenants: list[Tenant], app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
    running = [asyncio.create_task(tenant.keep()) for tenant in tenants]
    try:
        await asyncio.gather(*(tenant.told.wait() for tenant in tenants))
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*(tenant.end() for tenant in tenants))
