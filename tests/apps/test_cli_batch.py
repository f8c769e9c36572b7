"""`heirloom batch` as a person calls it, published to a real Redis."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.adapters.conftest import Server
from typer.testing import CliRunner

from heirloom.adapters.redis_pages import RedisPages
from heirloom.apps.cli import app
from heirloom.core.errors import StoreError

from .batch_system import PEOPLE, history, publish_linear, system_in
from .conftest import LAPTOP

TOML = LAPTOP.read_text().replace('ranker = "expected"', 'ranker = "linear"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    built = system_in(folder / "data")
    built.ingest_history(history(), source="test")
    publish_linear(built, 1)
    built.close()
    (folder / "system.toml").write_text(TOML)
    (folder / "people.csv").write_text("user\n" + "\n".join([*PEOPLE, "nobody"]) + "\n")
    return folder


def called(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        "batch", "--people", str(folder / "people.csv"), "--out", str(out), "--k", "5",
        "--rows-per-part", "6", "--system", str(folder / "system.toml"),
        "--folder", str(folder / "data"), *more,
    ]  # fmt: skip


@pytest.mark.engine("redis")
def test_a_batch_is_written_and_published(folder: Path, tmp_path: Path, server: Server) -> None:
    ask = called(folder, tmp_path / "out", "--publish", server.url, "--json")
    first = CliRunner().invoke(app, ask)
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    counted = [told[name] for name in ("persons", "strangers", "scored", "published")]
    assert counted == [13, 1, 13, 12]
    assert told["cpu_s"] > 0
    pages = RedisPages(server.url, "heirloom", "home")
    written = pq.read_table(tmp_path / "out").to_pylist()
    for person in (*PEOPLE, "nobody"):
        page = pages.page(person)
        assert page is not None
        mine = [row for row in written if row["person"] == person]
        assert list(page.listings) == [row["listing"] for row in mine]
        assert page.scores == tuple(row["score"] for row in mine)
    anyone = pages.page("never listed")
    assert anyone is not None
    assert (anyone.stranger, len(anyone.listings)) == (True, 5)
    again = json.loads(CliRunner().invoke(app, ask).stdout)
    assert {**again, "scored": 13, "wall_s": 0, "cpu_s": 0} == {**told, "wall_s": 0, "cpu_s": 0}
    pages.close()


def test_what_was_done_is_told_in_words(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, called(folder, tmp_path / "out", "--workers", "2"))
    assert done.exit_code == 0, done.output
    assert "13 people, 65 rows" in done.stderr
    assert "1 unknown here (a stranger's page), 0 empty, 0 degraded" in done.stderr
    assert "13 scored now" in done.stderr


def test_a_lookup_that_is_not_there_is_told_before_the_work(folder: Path, tmp_path: Path) -> None:
    ask = called(folder, tmp_path / "out", "--publish", "redis://127.0.0.1:1/0")
    done = CliRunner().invoke(app, ask)
    assert isinstance(done.exception, StoreError)
    assert not (tmp_path / "out").exists()


def test_a_surface_that_needs_words_is_refused(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, called(folder, tmp_path / "out", "--surface", "search"))
    assert done.exit_code == 2
    assert "anchor" in done.output
