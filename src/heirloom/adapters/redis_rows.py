"""Redis: the state of features as packed rows, one string a key. Implements core.row_store.

    fs:{marketplace@1a2b3c4d/0}:02000007b000000000000000     a row: its key in 24 hex digits
    fs:{marketplace@1a2b3c4d/0}:n                            the log offset of the shard's rows

What stands in braces decides, in a Redis Cluster, which node has a key: all keys of a shard lie
together, so that a read is one MGET a shard and a write one MSET. Redis needs no persistence: the
log is the truth, and the writer fills an empty store anew (adapters/write_behind.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.row_store import RowsRead

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
"""Two hex digits of each byte."""
_DIGITS = 24


class RedisRows:
    """Rows of one view in a Redis server.

    Args:
        url: redis://host:port/number, rediss://… with TLS, unix://path.
        view: name@version: rows of other views and versions lie under other keys.
        shards: into how many parts the keys are divided; 1 for one server. Writer and readers must
            agree.
        timeout_s: how long one answer may take.

    Raises:
        ConfigError: the URL is none, or there is no shard.
    """

    def __init__(self, url: str, view: str, *, shards: int = 1, timeout_s: float = 1.0) -> None:
        problems = [] if 1 <= shards <= 1 << 14 else [f"{shards} shards; wanted 1 to 16384"]
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        except ValueError as error:
            problems.append(f"url {url!r}: {error}")
        if problems:
            raise ConfigError("redis rows", problems)
        self.shards = shards
        self._where = f"Redis rows of {view}"
        self._prefixes = [f"fs:{{{view}/{shard}}}:".encode() for shard in range(shards)]

    def get(self, keys: NDArray[np.int64]) -> RowsRead:
        """See core.row_store."""
        rows: list[bytes | None] = [None] * len(keys)
        offsets: list[int] = []
        with self._reaching():
            for shard, places in self._by_shard(keys):
                found = self._mget(shard, keys if places is None else keys[places])
                offsets.append(int(found[0] or 0))
                if places is None:
                    rows = found[1:]
                else:
                    for place, row in zip(places.tolist(), found[1:], strict=True):
                        rows[place] = row
        return RowsRead(rows, min(offsets), max(offsets))

    def put(self, keys: NDArray[np.int64], rows: Sequence[bytes], n: int) -> None:
        """See core.row_store. Every shard is told n, also one that gets no row."""
        with self._reaching():
            parts = dict(self._by_shard(keys))
            for shard in range(self.shards):
                places = parts.get(shard, np.zeros(0, np.intp))
                mine = keys if places is None else keys[places]
                values = rows if places is None else [rows[place] for place in places.tolist()]
                named = dict(zip(self._names(shard, mine), values, strict=True))
                gone = [name for name, row in named.items() if not row]
                written: dict[Any, Any] = {name: row for name, row in named.items() if row}
                written[self._prefixes[shard] + b"n"] = n
                with self._redis.pipeline(transaction=bool(gone)) as pipeline:
                    pipeline.mset(written)
                    if gone:
                        pipeline.unlink(*gone)
                    pipeline.execute()

    def offset(self) -> int:
        """See core.row_store."""
        with self._reaching():
            found = [self._redis.get(prefix + b"n") for prefix in self._prefixes]
        return min(int(n or 0) for n in found)

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()

    def _by_shard(self, keys: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp] | None]]:
        """(shard, places in `keys`) of each shard that has some; None for all places."""
        if self.shards == 1:
            yield 0, None
            return
        mixed = (keys[:, 0] ^ keys[:, 1] << 32).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        shards = (mixed >> np.uint64(40)) % np.uint64(self.shards)
        for shard in np.unique(shards).tolist():
            yield int(shard), np.flatnonzero(shards == shard)

    def _names(self, shard: int, keys: NDArray[np.int64]) -> list[bytes]:
        """[keys] the names that Redis knows."""
        names = self._spelled(self._prefixes[shard], keys, b"")
        return names.view(f"S{names.shape[1]}").ravel().tolist()

    def _spelled(self, before: bytes, keys: NDArray[np.int64], after: bytes) -> NDArray[np.uint8]:
        """[keys, bytes] each key in hex digits, with something before and after."""
        end = len(before) + _DIGITS
        spelled = np.empty((len(keys), end + len(after)), np.uint8)
        spelled[:, : len(before)] = np.frombuffer(before, np.uint8)
        plain = np.empty(len(keys), [("first", ">i8"), ("second", ">i4")])
        plain["first"], plain["second"] = keys[:, 0], keys[:, 1]
        digits = _HEX[plain.view(np.uint8).reshape(-1, _DIGITS // 2)]
        spelled[:, len(before) : end] = digits.view(np.uint8)
        spelled[:, end:] = np.frombuffer(after, np.uint8)
        return spelled

    def _mget(self, shard: int, keys: NDArray[np.int64]) -> list[bytes | None]:
        """The shard's n, and what stands under each of the keys.

        The command is written by hand (redis.io, RESP: `*N`, then `$LENGTH` and text of each
        part): the client takes half a microsecond a key for it, as long as Redis for its answer.
        """
        prefix = self._prefixes[shard]
        offset = prefix + b"n"
        head = b"*%d\r\n$4\r\nMGET\r\n$%d\r\n%s\r\n" % (len(keys) + 2, len(offset), offset)
        length = b"$%d\r\n" % (len(prefix) + _DIGITS)
        command = [head, self._spelled(length + prefix, keys, b"\r\n").tobytes()]
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            found = _answer(connection, command)
        except (redis.ConnectionError, redis.TimeoutError):
            connection.disconnect()  # type: ignore[no-untyped-call]  # it may have gone stale while it waited: once more, anew
            found = _answer(connection, command)
        finally:
            pool.release(connection)
        return found

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise StoreError(
                f"{self._where}: {type(error).__name__}: {error}; see whether the server runs and "
                "has memory, then try again: nothing is lost, the log has it all"
            ) from error


def _answer(connection: Any, command: list[bytes]) -> list[bytes | None]:
    connection.send_packed_command(command)
    found: list[bytes | None] = connection.read_response()
    return found
