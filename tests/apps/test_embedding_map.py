"""The embedding map without a browser: layout, trustworthiness, and what stands in the page."""

import importlib.util
import json
import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.apps.embedding_map import page as page_module
from heirloom.apps.embedding_map.page import COLOURINGS, Told, chosen, map_page
from heirloom.apps.embedding_map.projection import nearest, principal, project, trustworthiness
from heirloom.core.errors import ConfigError, InputError

from .conftest import NASTY, SCRIPT, START_MS, Door


def cloud(rows: int = 60, dim: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Three bunches of unit vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 0.2, (rows, dim)) + np.eye(dim)[np.arange(rows) % 3]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def ranks_of(points: NDArray[np.float32]) -> list[list[int]]:
    """For each point all others, nearest first, by the definition."""
    wide = points.astype(np.float64)
    return [
        sorted(
            (j for j in range(len(wide)) if j != i), key=lambda j: ((wide[i] - wide[j]) ** 2).sum()
        )
        for i in range(len(wide))
    ]


@pytest.mark.parametrize("rows", [12, 60])
def test_neighbours_and_trustworthiness_are_their_definitions(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heirloom.apps.embedding_map.projection._ROWS", 7)
    vectors = cloud(rows)
    positions, k = principal(vectors), 5
    by_vector, by_place = ranks_of(vectors), ranks_of(positions)
    assert nearest(vectors, k).tolist() == [row[:k] for row in by_vector]
    intruders = sum(
        by_vector[i].index(j) + 1 - k
        for i in range(rows)
        for j in by_place[i][:k]
        if j not in by_vector[i][:k]
    )
    plain = 1 - 2 / (rows * k * (2 * rows - 3 * k - 1)) * intruders
    assert trustworthiness(vectors, positions, k) == pytest.approx(plain)
    assert trustworthiness(positions, positions, k) == 1.0


def test_trustworthiness_of_too_few_is_not_told() -> None:
    assert np.isnan(trustworthiness(cloud(15), principal(cloud(15)), 10))


def test_principal_components_keep_what_is_flat_and_never_flip() -> None:
    plane = np.zeros((50, 5), np.float32)
    plane[:, [1, 3]] = np.random.default_rng(0).normal(0, (3, 1), (50, 2))
    positions = principal(plane)
    distances = [np.linalg.norm(p[:, None] - p[None], axis=2) for p in (plane, positions)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    assert positions.std(axis=0)[0] > positions.std(axis=0)[1]
    np.testing.assert_allclose(positions[::-1], principal(plane[::-1]), atol=1e-5)
    assert principal(np.ones((4, 1), np.float32)).tolist() == [[0.0, 0.0]] * 4


def test_tsne_keeps_more_neighbourhoods_and_is_the_same_each_time() -> None:
    pytest.importorskip("sklearn")
    vectors = cloud(200, 24)
    flat, positions = project(vectors, "pca"), project(vectors)
    assert (flat[1], positions[1]) == ("PCA", "t-SNE")
    assert trustworthiness(vectors, positions[0]) > trustworthiness(vectors, flat[0]) + 0.05
    assert positions[0].tobytes() == project(vectors, "tsne")[0].tobytes()


def test_without_scikit_learn_it_is_pca_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "sklearn" else find(name, *a)
    )
    assert project(cloud())[1] == "PCA"
    with pytest.raises(ConfigError, match=r"pip install 'heirloom\[map\]', or take --method pca"):
        project(cloud(), "tsne")


def made(door: Door, **settings: Any) -> tuple[str, Told]:
    live = door.system.live
    fixed = {"name": "Second <i>hand</i>", "model_id": live.content.model_id, "n": live.n}
    settings = {"method": "pca", "pictures": False, "now_ms": START_MS, **fixed, **settings}
    return map_page(live.catalogue, live.content.vectors, **settings)


def data_of(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    told: dict[str, Any] = json.loads(text)
    return told


def test_every_live_listing_is_in_the_page_with_its_neighbours(door_of_module: Door) -> None:
    html, told = made(door_of_module)
    data, live = data_of(html), door_of_module.system.live
    assert (told.shown, told.live, told.method, told.n) == (63, 63, "PCA", live.n)
    assert set(data["ids"]) == {f"l{i:02d}" for i in range(60)} | {"script", "rtl", NASTY}
    assert f"{told.trust:.3f}" in html
    assert 0.5 < (told.trust or 0) < 1
    i = data["ids"].index("l07")
    listing = live.catalogue.listing(live.catalogue.slot_of("l07"))
    assert data["titles"][i] == listing.title
    assert data["brands"][data["brand"][i]] == listing.brand
    assert data["categories"][data["category"][i]] == listing.category
    assert data["price"][i] == listing.price_minor
    vectors = live.content.vectors
    cosines = vectors @ vectors[live.catalogue.slot_of("l07")]
    shown = [live.catalogue.slot_of(each) for each in data["ids"]]
    near = data["near"][i * data["k"] : (i + 1) * data["k"]]
    best = sorted((s for s in shown if s != shown[i]), key=lambda s: -cosines[s])[: data["k"]]
    np.testing.assert_allclose(cosines[[shown[j] for j in near]], cosines[best], atol=1e-6)
    for axis in "xy":
        assert 0 <= min(data[axis]) <= max(data[axis]) <= 65_535
    assert max(max(data[axis]) - min(data[axis]) for axis in "xy") == 65_535


def test_legends_hold_every_listing_once(door_of_module: Door) -> None:
    data = data_of(made(door_of_module)[0])
    assert set(data["colourings"]) == set(COLOURINGS)
    for legend in data["colourings"].values():
        assert len(legend["of"]) == 63
        assert 0 <= min(legend["of"]) <= max(legend["of"]) < len(legend["labels"]) <= 12
    assert data["colourings"]["category"]["labels"] == [
        "women/clothing/coats", "women/clothing/dresses", "men/clothing/jackets",
    ]  # fmt: skip
    ages = data["colourings"]["age"]
    assert {ages["labels"][of] for of in ages["of"]} == {"under a day"}


@pytest.mark.parametrize(
    ("days", "label"),
    [(0.0, "under a day"), (1.0, "under a week"), (27.9, "under 4 weeks"), (400.0, "older")],
)
def test_ages_fall_into_their_groups(days: float, label: str) -> None:
    labels, (of,) = page_module._ages(np.array([days]))
    assert labels[of] == label


def test_many_brands_share_the_last_entry_and_no_brand_is_there_too() -> None:
    labels, of = page_module.groups([*"aabbccddeeffgghhiijjkkllm", ""])
    assert labels == [*"abcdefghijk", "other"]
    assert of[-4:] == [11] * 4


def test_hostile_words_stay_words_and_nothing_is_fetched(door_of_module: Door) -> None:
    html, _ = made(door_of_module, pictures=True)
    assert SCRIPT in data_of(html)["titles"]
    assert html.count("<script") == html.count("</script>") == 2
    assert "<script>alert" not in html
    assert "<h1>Second &lt;i&gt;hand&lt;/i&gt;</h1>" in html
    for address in re.findall(r"""(?:src|href)=["']?([^"'> ]+)""", html):
        assert address.startswith("data:")
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


def test_the_same_state_gives_the_same_page(door_of_module: Door) -> None:
    assert made(door_of_module, pictures=True) == made(door_of_module, pictures=True)


def test_a_limit_draws_some_and_says_so(door_of_module: Door) -> None:
    html, told = made(door_of_module, limit=20)
    assert (told.shown, told.live) == (20, 63)
    assert "20 of 63 live listings, drawn at random" in html
    assert len(set(data_of(html)["ids"])) == 20


def test_sold_listings_are_not_on_the_map(door: Door) -> None:
    door.post("/v1/events", [{"kind": "sold", "listing": f"l{i:02d}"} for i in range(60)])
    html, told = made(door)
    assert set(data_of(html)["ids"]) == {"script", "rtl", NASTY}
    assert told.trust is None
    assert "too few points" in html
    door.post("/v1/events", [{"kind": "removed", "listing": "rtl"}])
    with pytest.raises(InputError, match="2 live listings have a vector; wanted 3 or more"):
        made(door)


def test_a_slot_without_a_vector_is_left_out(door_of_module: Door) -> None:
    live = door_of_module.system.live
    vectors = live.content.vectors.copy()
    vectors[[3, 5]] = 0
    slots = chosen(live.catalogue, vectors[:40], 100).tolist()
    assert slots == [slot for slot in range(40) if slot not in (3, 5)]


def test_an_unknown_colouring_is_refused(door_of_module: Door) -> None:
    with pytest.raises(InputError, match="'taste'; wanted one of category, brand, age"):
        made(door_of_module, colour="taste")


def test_pictures_stand_in_the_atlas_where_the_script_looks(door_of_module: Door) -> None:
    catalogue = door_of_module.system.live.catalogue
    listings = [catalogue.listing(slot) for slot in range(11)]
    wide, high = page_module.TILE
    atlas, columns = page_module._atlas(listings)
    with page_module.Image.open(page_module.io.BytesIO(atlas)) as image:
        assert image.size == (columns * wide, -(-11 // columns) * high)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for i, place in zip(range(11), product(range(9), range(columns)), strict=False):
        row, column = place
        part = pixels[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        drawn = page_module.draw(listings[i], wide, high).astype(int)
        assert np.abs(part - drawn).mean() < 12  # lossy
