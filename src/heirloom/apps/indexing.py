"""Which index a system searches listings by: settings into one of this process or of a server."""

import hashlib
import os
import threading
from collections.abc import Callable

from heirloom.adapters.shared_index import Rows, Server, SharedIndex
from heirloom.apps.row_stores import FoldedLog
from heirloom.apps.settings import IndexPart
from heirloom.core.errors import ConfigError
from heirloom.core.log import EventLog


def table_of(part: IndexPart, model_id: str) -> str:
    """The name of a model's index: vectors of two models never share a table.

    >>> table_of(IndexPart(), "hashed-2-64")
    'listings_bfc18a71'
    """
    digest = hashlib.blake2b(model_id.encode(), digest_size=4).hexdigest()
    return f"{part.table}_{digest}"


def shared_index(
    part: IndexPart,
    log: EventLog,
    rows: Callable[[], Rows],
    n: Callable[[], int],
    lock: "threading.Lock | threading.RLock",
    *,
    model_id: str,
    dim: int,
    writes: bool,
    tell: Callable[[str], None],
) -> SharedIndex | None:
    """The server's index that the settings name, not begun; None where it is embedded.

    Raises:
        ConfigError: the extra is not installed, or the address is none.
    """
    if part.kind == "embedded":
        return None
    try:
        from heirloom.adapters.pgvector import PgVectorIndex
        from heirloom.adapters.pgvector_table import checked_url
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise ConfigError(
            "[index]",
            ['kind = "pgvector" needs the extra `postgres`: pip install "heirloom[postgres]"'],
        ) from None
    url = checked_url(_url(part))

    def opened() -> Server:
        name, timeout_s = table_of(part, model_id), part.timeout_ms / 1_000
        return PgVectorIndex(url, model_id, dim, name=name, timeout_s=timeout_s)

    return SharedIndex(
        opened, rows, FoldedLog(log), n, lock, model_id=model_id, dim=dim, writes=writes, tell=tell
    )


def _url(part: IndexPart) -> str:
    """The address, from the environment where the TOML says so."""
    dsn = part.dsn.get_secret_value()
    if not dsn:
        raise ConfigError("[index]", ['kind = "pgvector" needs a dsn: postgresql://…, or $NAME'])
    if not dsn.startswith("$"):
        return dsn
    url = os.environ.get(dsn[1:], "")
    if not url:
        raise ConfigError("[index]", [f"dsn is {dsn}, which the environment does not have; set it"])
    return url
