"""A marketplace whose TOML names a lexical index for searches, through its HTTP door."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError

from .conftest import LAPTOP, START_MS, Client, Clock, Door

SYNONYMS = """
[search]
both = [["trainers", "sneakers"]]
one_way = { bag = ["tote"] }
"""


def settings_with(retriever: str, folder: Path, synonyms: str = SYNONYMS) -> Path:
    path = folder / f"{retriever}.toml"
    text = LAPTOP.read_text(encoding="utf-8")
    assert text.count("search = 300") == 1
    text = text.replace("search = 300", f"{retriever} = 300")
    path.write_text(text + synonyms, encoding="utf-8")
    return path


@pytest.fixture(params=["lexical", "tantivy"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    clock = Clock()
    system = System(
        load(settings_with(request.param, tmp_path), folder=tmp_path / "shop"), clock=clock
    )
    app = application(system)
    made = Door(system, clock, app, Client(app))
    for number, (title, brand, description) in enumerate(
        [
            ("Red silk dress", "Prada", "worn once"),
            ("Blue trainers", "Nike", "similar to prada"),
            ("Leather tote", "Coach", "with a dust bag"),
            ("Grey cashmere jumper", "Toast", "soft"),
        ]
    ):
        offer(made, f"l{number}", title, brand=brand, description=description, size="m")
    yield made
    for client in (made.client, *made.browsers):
        client.close()
    system.close()


def offer(door: Door, listing_id: str, title: str, **fields: Any) -> None:
    data = {"listing_id": listing_id, "seller": f"of {listing_id}", "title": title, **fields}
    taken = door.post("/v1/events", [{"kind": "listed", "listing": listing_id, "data": data}])
    assert taken["taken"] == 1, taken


def found(door: Door, text: str, **asked: Any) -> list[str]:
    cards = door.post("/v1/search", {"text": text, **asked})["listings"]
    return [card["listing_id"] for card in cards]


def test_words_slips_synonyms_and_beginnings_find(door: Door) -> None:
    for text in ("red dress", "Prada", "drss red", "sil", "PRÁDA"):
        assert found(door, text) == ["l0"], text
    assert found(door, "sneakers") == ["l1"]
    assert found(door, "bag")[0] == "l2"
    assert found(door, "cashmer") == ["l3"]


def test_a_new_listing_is_in_the_next_search_and_a_sold_one_in_none(door: Door) -> None:
    assert "new" not in found(door, "velvet cape")
    offer(door, "new", "Velvet cape")
    assert found(door, "velvet cape") == ["new"]
    door.post("/v1/events", [{"kind": "reserved", "listing": "new"}])
    assert "new" not in found(door, "velvet cape")
    door.post("/v1/events", [{"kind": "released", "listing": "new"}])
    assert found(door, "velvet cape") == ["new"]
    door.post("/v1/events", [{"kind": "sold", "listing": "new"}])
    assert "new" not in found(door, "velvet cape")
    counted = door.post("/v1/search", {"text": "velvet", "facets": ["brand"]})
    assert "new" not in [card["listing_id"] for card in counted["listings"]]


def test_an_edit_is_found_by_its_new_words_alone(door: Door) -> None:
    offer(door, "e", "Velvet cape")
    data = {"listing_id": "e", "seller": "of e", "title": "Woollen poncho"}
    door.post("/v1/events", [{"kind": "edited", "listing": "e", "data": data}])
    assert found(door, "woollen poncho") == ["e"]
    assert found(door, "velvet cape") != ["e"]


def test_facets_count_what_the_words_mean(door: Door) -> None:
    offer(door, "other", "Dress in red", brand="Cos", size="s")
    asked = {"text": "red dress", "facets": ["brand", "size"], "filters": {"sizes": ["m"]}}
    counted = door.post("/v1/search", asked)["facets"]
    assert counted["total"] == 1
    assert counted["brand"] == [{"value": "Prada", "count": 1, "chosen": False}]
    assert counted["size"] == [
        {"value": "m", "count": 1, "chosen": True},
        {"value": "s", "count": 1, "chosen": False},
    ]
    page = door.browser().get("/search?q=red+dress&size=m").text
    assert "1 piece<" in page
    assert "Prada</bdi> <small>1<" in page


@pytest.mark.parametrize(
    "text", ["\0", "เสื้อผ้า", "👗", "the of and", "ـ\u202e", "a" * 1_000, ")(*&^%$\"'"]
)
def test_any_text_gets_an_answer(door: Door, text: str) -> None:
    sent = door.client.post("/v1/search", json={"text": text, "facets": ["brand"]})
    assert sent.status_code in (200, 400, 422), sent.text
    if sent.status_code == 200:
        assert sent.json()["t"] == START_MS


def test_a_restart_answers_the_same(door: Door, tmp_path: Path) -> None:
    door.post("/v1/events", [{"kind": "sold", "listing": "l1"}])
    before = {text: found(door, text) for text in ("red dress", "sneakers", "leather", "jumper")}
    settings = door.system.settings
    door.system.close()
    again = System(settings, clock=door.clock)
    try:
        app = application(again)
        client = Client(app)
        other = Door(again, door.clock, app, client)
        assert {text: found(other, text) for text in before} == before
        client.close()
    finally:
        again.close()


def test_synonyms_of_no_words_are_refused_at_the_start(tmp_path: Path) -> None:
    path = settings_with("tantivy", tmp_path, '[search]\nboth = [["!!", "coat"]]\n')
    with pytest.raises(ConfigError, match="'!!' has 0 words"):
        System(load(path, folder=tmp_path / "shop"))
