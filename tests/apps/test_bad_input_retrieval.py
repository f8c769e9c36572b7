"""Bad input at the doors of retrieval: a clear error or a fair result, and the index unharmed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heirloom.apps.build import System
from heirloom.apps.cli import app as cli
from heirloom.apps.http import application
from heirloom.apps.settings import load

from .conftest import START_MS, Client, Clock, Door
from .test_http_search import settings_with

MEGABYTE = "silk " * 200_000
THAI = "ชุดเดรสผ้าไหม สีแดง"
STOCK = (
    ("silk", "Red silk dress", {"brand": "Prada", "category": "women/dresses", "colour": "red"}),
    ("wool", "Grey wool coat", {"brand": "Cos", "category": "women/coats", "colour": "grey"}),
    ("boots", "Black leather boots", {"brand": "Arket", "category": "men/shoes"}),
    ("bag", "Leather tote bag", {"brand": "Coach", "category": "women/bags"}),
)


@pytest.fixture(params=["search", "lexical", "tantivy"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    """A shop of four listings, under each retriever that answers searches."""
    clock = Clock()
    toml = settings_with(request.param, tmp_path, synonyms="")
    system = System(load(toml, folder=tmp_path / "shop"), clock=clock)
    app = application(system)
    made = Door(system, clock, app, Client(app))
    for listing_id, title, fields in STOCK:
        assert offer(made, listing_id, title, **fields)["taken"] == 1
    yield made
    for client in (made.client, *made.browsers):
        client.close()
    system.close()


def offer(door: Door, listing_id: str, title: str, **fields: Any) -> dict[str, Any]:
    data = {"listing_id": listing_id, "seller": f"of {listing_id}", "title": title, **fields}
    return door.post("/v1/events", [{"kind": "listed", "listing": listing_id, "data": data}])


def ids(answer: dict[str, Any]) -> list[str]:
    return [card["listing_id"] for card in answer["listings"]]


def answers(door: Door) -> dict[str, list[str]]:
    """What the shop answers to good questions: words, near words, similar, home."""
    door.clock.ms = START_MS + 3_600_000
    return {
        "words": ids(door.post("/v1/search", {"text": "red silk dress"})),
        "slip": ids(door.post("/v1/search", {"text": "lether boots"})),
        "filter": ids(door.post("/v1/search", {"filters": {"brands": ["Cos"]}})),
        "similar": ids(door.post("/v1/recommend", {"surface": "similar", "anchor": "silk"})),
        "home": ids(door.post("/v1/recommend", {"user": "anna"})),
    }


@pytest.fixture
def unharmed(door: Door) -> Iterator[None]:
    """After the test the shop answers as before; what the test listed is gone by then."""
    before = answers(door)
    assert before["words"][0] == "silk"
    assert before["slip"][0] == "boots"
    assert before["filter"] == ["wool"]
    yield
    listed = {entry.event.listing for entry in door.system.log.read()} - {None}
    gone = listed - {listing_id for listing_id, _, _ in STOCK}
    door.post("/v1/events", [{"kind": "removed", "listing": each} for each in sorted(gone)])
    assert answers(door) == before


pytestmark = pytest.mark.usefixtures("unharmed")


def refused(door: Door, path: str, body: Any) -> dict[str, Any]:
    response = door.client.post(path, json=body)
    assert response.status_code in (413, 422), response.text
    problem: dict[str, Any] = response.json()
    assert problem["wanted"]
    return problem


@pytest.mark.parametrize("title", ["", "   ", "\u202e", "🧥", "?!"])
def test_a_listing_without_words_in_its_title_is_found_by_all_else(door: Door, title: str) -> None:
    taken = offer(door, "bare", title, brand="Toteme", category="women/coats", colour="red")
    assert taken["taken"] == 1
    assert "bare" in ids(door.post("/v1/search", {"text": "toteme"}))
    assert ids(door.post("/v1/search", {"filters": {"brands": ["Toteme"]}})) == ["bare"]
    assert "bare" in ids(door.post("/v1/recommend", {"user": "anna"}))
    near = ids(door.post("/v1/recommend", {"surface": "similar", "anchor": "bare"}))
    assert set(near[:2]) == {"wool", "silk"}  # of the same category, of the same colour
    assert door.browser().get("/item/bare").status_code == 200


def test_a_listing_with_nothing_but_an_id_is_shown_too(door: Door) -> None:
    assert offer(door, "nothing", "")["taken"] == 1
    assert "nothing" in ids(door.post("/v1/recommend", {"user": "anna"}))
    near = ids(door.post("/v1/recommend", {"surface": "similar", "anchor": "nothing"}))
    assert "nothing" not in near
    assert len(ids(door.post("/v1/search", {"text": "silk"}))) >= 1


def test_ten_thousand_hashtags_are_quarantined_with_the_limit(door: Door) -> None:
    report = offer(door, "tags", "Tagged coat", hashtags=[f"tag{i}" for i in range(10_000)])
    assert (report["taken"], report["quarantined"]) == (0, 1)
    assert "at most 100 tags of 256 characters" in report["reasons"][0]["example"]
    assert "tags" not in ids(door.post("/v1/search", {"text": "tagged"}))


def test_as_many_hashtags_as_are_taken_do_no_harm(door: Door) -> None:
    tags = [f"{'silk' * 60}{i}" for i in range(98)] + ["silk", "prada"]
    assert offer(door, "tags", "Tagged coat", hashtags=tags)["taken"] == 1
    assert "tags" in ids(door.post("/v1/search", {"text": "tagged coat"}))
    assert "silk" in ids(door.post("/v1/search", {"text": "prada silk"}))


def test_a_query_of_a_megabyte_is_refused_by_its_limit(door: Door) -> None:
    too_long = refused(door, "/v1/search", {"text": MEGABYTE[:900_000]})
    assert "1000" in f"{too_long['wanted']} {too_long['detail']}"
    assert refused(door, "/v1/search", {"text": MEGABYTE + " " * 100_000})["status"] == 413
    report = door.post("/v1/events", [{"kind": "follow", "user": "anna", "text": MEGABYTE[:9_999]}])
    assert "9999 characters long; at most 1000" in report["reasons"][0]["example"]


def test_a_query_of_a_megabyte_is_answered_in_the_window(door: Door) -> None:
    response = door.browser().get("/search", params={"q": MEGABYTE[:60_000]})
    assert response.status_code == 200
    assert len(response.text) < 1_000_000


def test_a_query_in_thai_finds_what_is_thai_and_else_answers_fairly(door: Door) -> None:
    assert set(ids(door.post("/v1/search", {"text": THAI}))) <= {each[0] for each in STOCK}
    assert offer(door, "thai", THAI)["taken"] == 1
    assert ids(door.post("/v1/search", {"text": THAI}))[0] == "thai"
    door.post("/v1/events", [{"kind": "follow", "user": "anna", "text": THAI}])
    offer(door, "later", THAI)
    home = door.post("/v1/recommend", {"user": "anna"})["listings"]
    (card,) = [card for card in home if card["listing_id"] == "later"]
    assert "saved_search" in card["sources"]
    door.post("/v1/events", [{"kind": "unfollow", "user": "anna", "text": THAI}])


@pytest.mark.parametrize("k", [0, -1, 201, 2**70, 1.5, "10", None])
def test_a_page_of_no_size_is_refused(door: Door, k: object) -> None:
    for path in ("/v1/search", "/v1/recommend"):
        response = door.client.post(path, json={"k": k})
        assert response.status_code in (400, 422), response.text
        assert "k" in response.json()["detail"]


def test_more_than_there_is_gives_all_there_is(door: Door) -> None:
    everything = {each[0] for each in STOCK}
    assert set(ids(door.post("/v1/recommend", {"k": 200}))) == everything
    page = door.post("/v1/search", {"k": 200})
    assert set(ids(page)) == everything
    assert page["next"] is None
    near = door.post("/v1/recommend", {"surface": "similar", "anchor": "bag", "k": 200})
    assert set(ids(near)) == everything - {"bag"}


@pytest.mark.parametrize(
    "filters", [{"colour": "red"}, {"brands": "Cos"}, {"price_max_minor": -1}, {"sizes": [1]}, []]
)
def test_a_filter_that_is_none_is_refused_and_not_left_out(door: Door, filters: object) -> None:
    for path in ("/v1/search", "/v1/recommend"):
        refused(door, path, {"filters": filters})
    if isinstance(filters, dict):
        said = {"kind": "follow", "user": "anna", "text": "silk", "attributes": filters}
        response = door.client.post("/v1/events", json=[said])
        if response.status_code == 200:
            assert response.json()["quarantined"] == 1


def test_a_filter_on_what_nobody_has_gives_nothing(door: Door) -> None:
    asked = {"text": "silk", "filters": {"brands": ["Nobody"]}, "facets": ["brand"]}
    answer = door.post("/v1/search", asked)
    assert (ids(answer), answer["facets"]["total"]) == ([], 0)


@pytest.mark.parametrize(
    "image", ["notes.txt", "javascript:alert(1)", "data:text/html,<b>", "../../etc/passwd", "\x00"]
)
def test_a_photo_that_is_no_image_is_replaced_by_our_own(door: Door, image: str) -> None:
    assert offer(door, "photo", "Green linen shirt", image=image, photos=1)["taken"] == 1
    (card,) = door.post("/v1/search", {"text": "green linen shirt"})["listings"][:1]
    assert (card["listing_id"], card["image"]) == ("photo", "/images/photo.png")
    assert door.client.get(card["image"]).content.startswith(b"\x89PNG")
    assert "javascript:" not in door.browser().get("/item/photo").text


def test_the_command_line_refuses_or_answers_too(door: Door) -> None:
    where = ["--system", str(door.system.folder.parent / "search.toml")]
    if not Path(where[1]).exists():
        pytest.skip("one retriever is enough: the commands are the same")
    where += ["--folder", str(door.system.folder)]

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, [*arguments, *where], env={"COLUMNS": "200"})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    assert run("retrieve", "--surface", "search", "--text", MEGABYTE)[0] == 0
    assert run("retrieve", "--surface", "search", "--text", THAI)[0] == 0
    for arguments in (("neighbours", "silk", "--k", "0"), ("retrieve", "--k", "0")):
        status, printed = run(*arguments)
        assert status == 2
        assert "Invalid value for '--k'" in printed
    status, printed = run("neighbours", "silk", "--k", "1000")
    assert status == 0
    assert all(each in printed for each, _, _ in STOCK[1:])
