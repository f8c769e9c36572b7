"""Where online features live when more than one process answers: settings into a store of rows."""

import os
from dataclasses import dataclass

from heirloom.apps.settings import Settings
from heirloom.core.errors import ConfigError
from heirloom.core.facts import Facts
from heirloom.core.log import EventLog
from heirloom.core.row_store import RowStore
from heirloom.features.view import FeatureView
from heirloom.pipelines.recovery import mark_of

URL_VARIABLE = "HEIRLOOM_REDIS_URL"
"""In the environment: goes before the TOML's url, which is no place for a password."""


def row_store(settings: Settings, view: FeatureView) -> RowStore | None:
    """The store of the view's rows; None where features are embedded.

    Rows stand under the system's name and the view's version, so that two systems may share a
    server, and a new version never reads the rows of an old one.

    Raises:
        ConfigError: the extra is not installed, or the URL is none.
    """
    part = settings.features
    if part.store == "embedded":
        return None
    try:
        from heirloom.adapters.redis_rows import RedisRows
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ConfigError(
            "[features]",
            ['store = "redis" needs the extra `redis`: pip install "heirloom[redis]"'],
        ) from None
    return RedisRows(
        os.environ.get(URL_VARIABLE) or part.url,
        f"{settings.system.name}:{view.name}@{view.version}",
        shards=part.shards,
        timeout_s=part.timeout_ms / 1_000,
    )


def check_reader(settings: Settings) -> None:
    """Refuse a process that is to answer beside the writer, and could not.

    Raises:
        ConfigError: with all that is wrong.
    """
    problems = []
    if settings.system.impressions == "server":
        problems.append(
            '[system] impressions is "server", but a reader writes no events; let the client send '
            'them to the writer: impressions = "client"'
        )
    if problems:
        raise ConfigError("reader", problems)


@dataclass(frozen=True, slots=True)
class FoldedLog:
    """The log as adapters.write_behind asks it."""

    log: EventLog

    def mark(self, n: int) -> str:
        """What tells its first n entries, 1 or more, from another log's."""
        return mark_of(self.log, n)

    def facts(self, from_offset: int, to_offset: int) -> Facts:
        """Entries of a range of offsets."""
        return self.log.facts(from_offset, to_offset)
