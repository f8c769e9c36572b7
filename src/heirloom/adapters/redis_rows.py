"""Redis: the state of features as packed rows, one string a key. Implements core.row_store.

    fs:{marketplace@1a2b3c4d/0}:02000007b000000000000000     a row: its key in 24 hex digits
    fs:{marketplace@1a2b3c4d/0}:mark                         where the shard's rows stand
    fs:{marketplace@1a2b3c4d/0}:changed:81234:17             what turn 17 of run 81234 wrote

What stands in braces decides, in a Redis Cluster, which node has a key: all keys of a shard lie
together, so that a read is one MGET a shard and a write one MSET. Redis needs no persistence: the
log is the truth, and the writer fills an empty store anew (adapters/write_behind.py).

With the rows, a read brings what was written since the reader's last one: fingerprints of keys,
kept for a minute. So a reader may keep rows, and knows at each read which of them still stand.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import redis
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.row_store import EMPTY, Mark, RowsRead, fingerprints

CHANGES_KEPT_S: Final = 60
_AHEAD: Final = 8
"""Turns whose changes are asked for with the rows; what a slower reader missed costs a second
call."""
_MISSED: Final = 600
"""A reader that has missed more turns than this keeps nothing of what it had."""
_SETTLING: Final = 50
"""Reads, a millisecond apart, for the shards to come to one turn."""
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
"""Two hex digits of each byte."""
_DIGITS = 24

_Raw = list[bytes | None]


class RedisRows:
    """Rows of one view in a Redis server. For one thread at a time.

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
            problems.append(f"url: {error}")
        if problems:
            raise ConfigError("redis rows", problems)
        self.shards = shards
        self._connection: Any = None
        self._where = f"Redis rows of {view}"
        self._prefixes = [f"fs:{{{view}/{shard}}}:".encode() for shard in range(shards)]

    def __repr__(self) -> str:
        return self._where

    def get(self, keys: NDArray[np.int64], since: Mark = EMPTY) -> RowsRead:
        """See core.row_store. All shards are asked: what changed may stand in any."""
        places = self._by_shard(keys)
        with self._reaching():
            for _ in range(_SETTLING):
                parts = [self._part(shard, keys[mine], since) for shard, mine in enumerate(places)]
                if len({mark for mark, _, _ in parts}) == 1:
                    break
                time.sleep(0.001)
            else:
                raise StoreError(
                    f"{self._where}: its {self.shards} shards stand at offsets "
                    f"{sorted({mark.n for mark, _, _ in parts})}; see whether its writer runs"
                )
        if self.shards == 1:
            return RowsRead(parts[0][1], parts[0][0], _joined([parts[0][2]]))
        rows: _Raw = [None] * len(keys)
        for mine, (_, found, _) in zip(places, parts, strict=True):
            for place, row in zip(mine.tolist(), found, strict=True):
                rows[place] = row
        return RowsRead(rows, parts[0][0], _joined([changed for _, _, changed in parts]))

    def put(self, keys: NDArray[np.int64], rows: Sequence[bytes], mark: Mark) -> None:
        """See core.row_store. Every shard is told the mark, also one that gets no row."""
        with self._reaching():
            for shard, places in enumerate(self._by_shard(keys)):
                mine, prefix = keys[places], self._prefixes[shard]
                names = self._names(shard, mine)
                values = [rows[place] for place in places.tolist()]
                gone = [name for name, row in zip(names, values, strict=True) if not row]
                told = self._changed(prefix, mark.run, mark.turn)
                written: dict[Any, Any] = {
                    name: row for name, row in zip(names, values, strict=True) if row
                }
                written[told] = fingerprints(mine).tobytes()
                written[prefix + b"mark"] = " ".join(map(str, mark)).encode()
                with self._redis.pipeline(transaction=True) as pipeline:
                    pipeline.mset(written)
                    pipeline.expire(told, CHANGES_KEPT_S)
                    if gone:
                        pipeline.unlink(*gone)
                    pipeline.execute()

    def mark(self) -> Mark:
        """See core.row_store; EMPTY where the shards are not of one turn."""
        with self._reaching():
            found = {_mark(self._redis.get(prefix + b"mark")) for prefix in self._prefixes}
        return found.pop() if len(found) == 1 else EMPTY

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()

    def _by_shard(self, keys: NDArray[np.int64]) -> list[NDArray[np.intp]]:
        """[shards] places in `keys` of those that each shard has."""
        if self.shards == 1:
            return [np.arange(len(keys))]
        shards = fingerprints(keys) % np.uint32(self.shards)
        return [np.flatnonzero(shards == shard) for shard in range(self.shards)]

    def _part(
        self, shard: int, keys: NDArray[np.int64], since: Mark
    ) -> tuple[Mark, _Raw, NDArray[np.uint32] | None]:
        """A shard's mark, the rows under its keys, and what changed in it."""
        prefix, ahead = self._prefixes[shard], 0 if since == EMPTY else _AHEAD
        first = [prefix + b"mark"]
        first += [self._changed(prefix, since.run, since.turn + 1 + i) for i in range(ahead)]
        found = self._mget(shard, first, keys)
        mark, told = _mark(found[0]), found[1 : ahead + 1]
        return mark, found[ahead + 1 :], self._since(shard, since, mark, told)

    def _since(self, shard: int, since: Mark, mark: Mark, told: _Raw) -> NDArray[np.uint32] | None:
        missed = mark.turn - since.turn
        if since == EMPTY or mark.run != since.run or not 0 <= missed <= _MISSED:
            return None
        if missed > len(told):  # what a turn has written does not change: read it afterwards
            turns = range(since.turn + 1 + len(told), mark.turn + 1)
            names = [self._changed(self._prefixes[shard], since.run, turn) for turn in turns]
            told = told + self._mget(shard, names, np.zeros((0, 2), np.int64))
        return _joined(
            [None if part is None else np.frombuffer(part, np.uint32) for part in told[:missed]]
        )

    def _changed(self, prefix: bytes, run: int, turn: int) -> bytes:
        return prefix + b"changed:%d:%d" % (run, turn)

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

    def _mget(self, shard: int, names: Sequence[bytes], keys: NDArray[np.int64]) -> _Raw:
        """What stands under some names and under each of the keys, in one call.

        The command is written by hand (redis.io, RESP: `*N`, then `$LENGTH` and text of each
        part): the client takes half a microsecond a key for it, as long as Redis for its answer.
        """
        prefix = self._prefixes[shard]
        head = b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + len(names) + 1)
        head += b"".join([b"$%d\r\n%s\r\n" % (len(name), name) for name in names])
        length = b"$%d\r\n" % (len(prefix) + _DIGITS)
        command = [head + self._spelled(length + prefix, keys, b"\r\n").tobytes()]
        try:
            return self._answer(command)
        except (redis.ConnectionError, redis.TimeoutError):
            # It may have gone stale while it waited: once more, anew.
            return self._answer(command)

    def _answer(self, command: list[bytes]) -> _Raw:
        if self._connection is None:
            self._connection = self._redis.connection_pool.get_connection()
        try:
            self._connection.send_packed_command(command, check_health=False)
            found: _Raw = self._connection.read_response()
        except redis.ResponseError:
            raise
        except BaseException:  # half an answer may be left in it
            self._connection.disconnect()
            raise
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


def _mark(found: Any) -> Mark:
    """A mark as it is written: its four numbers, and what tells the log."""
    if not found:
        return EMPTY
    n, newest_ms, run, turn, log = found.decode("ascii").split(" ")
    return Mark(int(n), int(newest_ms), int(run), int(turn), log)


def _joined(parts: Sequence[NDArray[np.uint32] | None]) -> NDArray[np.uint32] | None:
    """All of it, or None where a part is not known."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return np.concatenate(known) if known else np.zeros(0, np.uint32)
