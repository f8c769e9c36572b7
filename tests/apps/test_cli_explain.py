"""`heirloom explain`: where a listing stands, what keeps it away, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heirloom.apps.build import System
from heirloom.apps.cli import app
from heirloom.apps.cli_explain import HALF, _bars, console
from heirloom.apps.settings import load
from heirloom.core.errors import HeirloomError, NotFoundError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.pipelines.explain import Contribution

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"
T0 = 1_750_000_000_000


def events() -> Iterator[Event]:
    for i in range(6):
        listing = Listing(listing_id=f"l{i}", seller=f"s{i}", title=f"Coat {i}", brand="cos",
                          category="women/coats", price_minor=5_000)  # fmt: skip
        yield Event(event_id=f"e{i}", kind=Kind.LISTED, t=T0 + i, listing=f"l{i}", data=listing)
    yield Event(event_id="c", kind=Kind.CLICK, t=T0 + 10, user="anna", listing="l1")
    yield Event(event_id="s", kind=Kind.SOLD, t=T0 + 11, listing="l2")
    yield Event(event_id="h", kind=Kind.HIDE, t=T0 + 12, user="anna", listing="l3")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log and no bundle. Tests only read it."""
    folder = tmp_path_factory.mktemp("explain")
    system = System(load(LAPTOP, folder=folder), answering=False)
    assert system.ingest_history(events(), source="test").taken == 9
    system.close()
    return folder


def run(folder: Path, *arguments: str) -> str:
    where = ["--system", str(LAPTOP), "--folder", str(folder)]
    result = CliRunner().invoke(app, ["explain", *arguments, *where], env={"COLUMNS": "120"})
    if isinstance(result.exception, HeirloomError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def told(folder: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(run(folder, *arguments, "--json"))


def test_without_a_bundle_it_says_who_found_it_and_that_nothing_was_ranked(shop: Path) -> None:
    found = told(shop, "l0", "--person", "anna")
    assert (found["place"] is not None, found["candidates"]) == (True, 4)
    assert found["contributions"] == []
    assert {each["source"] for each in found["found"]} >= {"recent"}
    assert "no ranker is loaded" in found["degraded"][0]
    printed = run(shop, "l0", "--person", "anna")
    assert f"Number {found['place'] + 1} of 4 candidates" in printed
    assert "Found by recent, as number" in printed
    assert "━" not in printed


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("l2", "--person", "anna"), "it is sold"),
        (("l3", "--person", "anna"), "hidden"),
        (("l0", "--surface", "similar", "--anchor", "l0"), "the anchor"),
    ],
)
def test_what_keeps_a_listing_away_is_said(shop: Path, asked: tuple[str, ...], why: str) -> None:
    found = told(shop, *asked)
    assert (found["place"], found["score"]) == (None, None)
    assert why in found["kept_away"]
    assert "Not among the" in run(shop, *asked)


def test_what_nobody_knows_is_refused(shop: Path) -> None:
    with pytest.raises(NotFoundError, match="listing 'l9' is not known"):
        run(shop, "l9")
    with pytest.raises(NotFoundError, match="anchor 'l8' is not known"):
        run(shop, "l1", "--surface", "similar", "--anchor", "l8")
    with pytest.raises(NotFoundError, match="person 'nobody' has done nothing yet"):
        run(shop, "l1", "--person", "nobody")


def test_bars_go_to_both_sides_of_one_line() -> None:
    values = {"its price": 2.0, "your sizes": 0.5, "its seller": 0.0, "how new it is": -1.0}
    table = _bars(tuple(Contribution(about, about, value) for about, value in values.items()))
    with console.capture() as capture:
        console.print(table)
    lines = [line for line in capture.get().splitlines() if "│" in line]
    assert len(lines) == 3  # what adds nothing has no bar
    assert len({line.index("│") for line in lines}) == 1
    assert [line.count("━") for line in lines] == [HALF, HALF // 4, HALF // 2]
    assert lines[2].index("━") < lines[2].index("│") < lines[0].index("━")
    assert ["+2.000" in lines[0], "-1.000" in lines[2]] == [True, True]
