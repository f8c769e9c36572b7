"""A system whose TOML names a real PostgreSQL as its index, beside one with an index of its own."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from heirloom.apps.build import System
from heirloom.apps.indexing import table_of
from heirloom.apps.settings import IndexPart, Settings, load
from heirloom.core.errors import ConfigError
from heirloom.core.event import Event
from heirloom.core.query import Filters, Query

from .conftest import LAPTOP, START_MS, Clock, listings

NOWHERE = "postgresql://nobody:secret@/nowhere?host=/nowhere"
_numbers = count()


def settings(folder: Path, dsn: str = "", **index: Any) -> Settings:
    chosen = load(LAPTOP, folder=folder)
    part = IndexPart(kind="pgvector", dsn=dsn, **index) if dsn else IndexPart()
    return chosen.model_copy(update={"index": part})


@contextmanager
def opened(chosen: Settings) -> Iterator[System]:
    system = System(chosen, clock=Clock())
    try:
        yield system
    finally:
        system.close()


def stock(system: System) -> None:
    system.ingest(
        [
            Event(
                event_id=f"listed {each.listing_id}", kind="listed", t=START_MS - 3_600_000,
                listing=each.listing_id, data=each,
            )
            for each in listings()
        ]
    )  # fmt: skip


def sold(listing: str) -> Event:
    return Event(event_id=f"sold {listing}", kind="sold", t=START_MS, listing=listing)


def shown(system: System) -> list[list[str]]:
    queries = (
        Query(t=START_MS, surface="similar", anchor="l10", k=12),
        Query(t=START_MS, surface="similar", anchor="l11", k=12, filters=Filters(brands=("cos",))),
        Query(t=START_MS, surface="search", text="wool coat", k=12),
        Query(t=START_MS, k=12),
    )
    slates = [system.recommend(query) for query in queries]
    assert any("similar" in each.sources for each in slates[0].shown)
    return [[each.listing for each in slate.shown] for slate in slates]


def degraded(system: System) -> list[str]:
    steps = system.recommend(Query(t=START_MS, surface="similar", anchor="l10")).degraded
    return [each.reason for each in steps if each.step == "index"]


def until(condition: Any) -> None:
    """Wait for another thread, at most as long as the whole test may take."""
    while not condition():
        time.sleep(0.02)


def stored(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"select count(*) from vectors_{table}").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.engine("postgres")
def test_it_answers_as_one_with_an_index_of_its_own(postgres_url: str, tmp_path: Path) -> None:
    chosen = settings(tmp_path / "server", postgres_url, table=f"served_{next(_numbers)}")
    with opened(chosen) as served, opened(settings(tmp_path / "own")) as own:
        for system in (served, own):
            stock(system)
        assert shown(served) == shown(own)
        table = table_of(chosen.index, served.encoders.listings.model_id)
        until(lambda: not degraded(served) and stored(postgres_url, table) == len(listings()))
        assert shown(served) == shown(own)
        for system in (served, own):
            system.ingest([sold("l12"), sold("l13")])
        assert shown(served) == shown(own)
        assert all("l12" not in slate for slate in shown(served))
        until(lambda: stored(postgres_url, table) == len(listings()) - 2)
        assert shown(served) == shown(own)
    with opened(chosen) as again, opened(settings(tmp_path / "own")) as own:
        assert not degraded(again)  # it stands where the log ends
        assert again.ready()["index"] == "pgvector"
        assert shown(again) == shown(own)


def test_without_its_server_it_answers_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg")
    caplog.set_level(logging.DEBUG)
    chosen = settings(tmp_path / "server", NOWHERE)
    with opened(chosen) as served, opened(settings(tmp_path / "own")) as own:
        for system in (served, own):
            stock(system)
        assert shown(served) == shown(own)
        (reason,) = degraded(served)
        assert "see whether the server runs" in reason
        assert "listings were compared in this process" in reason
        assert "see whether the server runs" in str(served.ready()["index"])
        assert degraded(own) == []
        assert "index" not in own.ready()
    assert "compared in this process until it answers" in caplog.text
    assert "secret" not in caplog.text + reason + repr(chosen)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ('kind = "pgvector"\ndsn = "mysql://u:secret@h/d"', "wanted postgresql://user@host"),
        ('kind = "pgvector"\ndsn = 5', "index.dsn"),
        ('dsn = "postgresql://u:secret@h/d"', 'set kind = "pgvector", or leave it out'),
        ('kind = "pgvector"\ndsn = "$X"\ntable = "Listings;"', "index.table"),
        ('kind = "qdrant"', "index.kind"),
        ('kind = "pgvector"\ntimeout_ms = 1', "index.timeout_ms"),
    ],
)
def test_settings_that_mean_nothing_are_refused(index: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text(LAPTOP.read_text() + f"\n[index]\n{index}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "system.toml")
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("", "needs a dsn: postgresql"),
        ("$HEIRLOOM_TEST_DSN", "dsn is $HEIRLOOM_TEST_DSN, which the environment does not have"),
        ("postgresql://u:sec:ret@h:port:5/d?x", "its address cannot be read; wanted postgresql"),
    ],
)
def test_an_address_that_is_none_is_refused_at_the_start(
    dsn: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.delenv("HEIRLOOM_TEST_DSN", raising=False)
    part = IndexPart(kind="pgvector", **({"dsn": dsn} if dsn else {}))
    chosen = load(LAPTOP, folder=tmp_path / "x").model_copy(update={"index": part})
    for _ in range(2):  # nothing is held on to
        with pytest.raises(ConfigError) as caught:
            System(chosen)
        assert told in str(caught.value)
        assert "sec:ret" not in str(caught.value)


def test_the_address_may_stand_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("HEIRLOOM_TEST_DSN", NOWHERE)
    with opened(settings(tmp_path, "$HEIRLOOM_TEST_DSN")) as system:
        assert system.index is not None
        assert "see whether the server runs" in system.index.trouble


def test_without_its_extra_one_is_told_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("heirloom.adapters.pgvector")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r'pip install "heirloom\[postgres\]"'):
        System(settings(tmp_path, NOWHERE))
