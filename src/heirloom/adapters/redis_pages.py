"""Redis: pages of a batch, one string a person, for a lookup in place of a request.

    pg:heirloom:home:current                    which batch is looked up: its run
    pg:heirloom:home:5f0c2a9be1d3a47c:anna      a person's page, as msgpack
    pg:heirloom:home:5f0c2a9be1d3a47c:          a stranger's: for whoever has none

Pages of a batch are written under its own run, and `current` is moved when all of them stand: a
reader never sees half of a batch. Writing it again writes the same. Everything expires. A page is
as old as its batch: who shows it asks availability of each listing first (`Live.standing`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import redis

from heirloom.core.batch import Batch, BatchPage
from heirloom.core.errors import ConfigError, StoreError

_AT_ONCE = 500
"""Pages of one round trip."""


class RedisPages:
    """Pages of one system's surface in a Redis server. For one thread at a time.

    Args:
        url: redis://host:port/number, rediss://… with TLS, unix://path.
        system: its name.
        surface: whose pages.
        timeout_s: how long one answer may take.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, system: str, surface: str, *, timeout_s: float = 5.0) -> None:
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        except ValueError as error:
            raise ConfigError("--publish", [f"{error}; wanted redis://host:port/number"]) from None
        self._prefix = f"pg:{system}:{surface}:"

    def ping(self) -> None:
        """See that it is there, before hours are spent.

        Raises:
            StoreError: it cannot be reached.
        """
        with self._reached("ping"):
            self._redis.ping()

    def publish(
        self, batch: Batch, pages: Iterable[BatchPage], anyone: BatchPage, *, ttl_s: int
    ) -> int:
        """Write a batch's pages and let them be looked up; gives how many.

        Args:
            batch: whose they are.
            pages: of people; those of strangers that are as `anyone`'s are left out.
            anyone: the page of whoever has none.
            ttl_s: seconds after which they are gone.

        Raises:
            StoreError: it cannot be reached; what was looked up before still is.
        """
        count = 0
        waiting = self._redis.pipeline(transaction=False)
        with self._reached("publish"):
            waiting.set(self._key(batch.run, ""), msgspec.msgpack.encode(anyone), ex=ttl_s)
            for page in pages:
                if page.stranger and page.listings == anyone.listings:
                    continue
                key = self._key(batch.run, page.person)
                waiting.set(key, msgspec.msgpack.encode(page), ex=ttl_s)
                count += 1
                if len(waiting) >= _AT_ONCE:
                    waiting.execute()
            waiting.execute()
            self._redis.set(f"{self._prefix}current", batch.run, ex=ttl_s)
        return count

    def page(self, person: str | None) -> BatchPage | None:
        """The page of a person, or a stranger's; None where no batch is published.

        Raises:
            StoreError: it cannot be reached, or holds something else.
        """
        with self._reached("page"):
            run: Any = self._redis.get(f"{self._prefix}current")
            if run is None:
                return None
            keys = [self._key(run.decode(), person or ""), self._key(run.decode(), "")]
            read: Any = self._redis.mget(keys)
            found = next((each for each in read if each is not None), None)
        try:
            return None if found is None else msgspec.msgpack.decode(found, type=BatchPage)
        except msgspec.MsgspecError as error:
            raise StoreError(f"Redis pages {self._prefix}: no page of this version: {error}") from (
                error
            )

    def close(self) -> None:
        """Let the connection go."""
        self._redis.close()

    def _key(self, run: str, person: str) -> str:
        return f"{self._prefix}{run}:{person}"

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise StoreError(
                f"Redis pages {self._prefix}: {what}: {str(error)[:200]}; see whether it runs, and "
                "run the same again"
            ) from error
