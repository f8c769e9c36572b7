"""Publishing: a finished batch's pages to Redis, for lookup."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom.adapters.batch_files import BatchFolder
from heirloom.apps.batch import Made
from heirloom.apps.settings import Settings
from heirloom.core.batch import BatchPage
from heirloom.core.errors import ConfigError

if TYPE_CHECKING:
    from heirloom.adapters.redis_pages import RedisPages


def pages_at(url: str, settings: Settings, surface: str) -> "RedisPages":
    """Where a system's pages are looked up; asked whether it is there.

    Raises:
        ConfigError: the extra is not installed, or the URL is none.
        StoreError: nobody answers.
    """
    try:
        from heirloom.adapters.redis_pages import RedisPages
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        problem = 'it needs the extra `redis`: pip install "heirloom[redis]"'
        raise ConfigError("--publish", [problem]) from None
    pages = RedisPages(url, settings.system.name, surface)
    pages.ping()
    return pages


def published(lookup: "RedisPages", out: Path, made: Made, *, ttl_s: int) -> int:
    """Publish a finished batch; gives how many people's pages. Done again, it does the same."""
    folder = BatchFolder(out)

    def all_pages() -> Iterator[BatchPage]:
        for number in range(made.batch.parts):
            yield from folder.pages(number)

    try:
        return lookup.publish(made.batch, all_pages(), made.totals.anyone, ttl_s=ttl_s)
    finally:
        folder.close()
        lookup.close()
