"""The embedding map in a real browser, from the disk: points, legend, search, keys, neighbours."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from heirloom.apps.embedding_map.page import map_page

from .conftest import Marketplace
from .test_browser import FLAGS

selenium = pytest.importorskip("selenium.webdriver")

T = TypeVar("T")
pytestmark = pytest.mark.engine("chromium")


@pytest.fixture(scope="module")
def page(trained: Marketplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the trained marketplace, in a file."""
    live = trained.system.live
    html, _ = map_page(
        live.catalogue, live.content.vectors, name="heirloom", model_id=live.content.model_id,
        n=live.n, now_ms=trained.system.now_ms(), limit=400, method="pca",
    )  # fmt: skip
    out = tmp_path_factory.mktemp("map") / "map.html"
    out.write_text(html, encoding="utf-8")
    return out


class Reader:
    """Somebody who looks at the page."""

    def __init__(self, page: Path, profile: Path) -> None:
        options = selenium.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = selenium.Chrome(
            options=options, service=selenium.ChromeService("/usr/bin/chromedriver")
        )
        self.driver.set_page_load_timeout(60)
        self.driver.get(page.as_uri())
        text = page.read_text(encoding="utf-8")
        (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text)
        self.data: dict[str, Any] = json.loads(data)

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def keys(self, *keys: str) -> None:
        self.one("#map").send_keys(*keys)

    def colours(self) -> dict[tuple[int, ...], int]:
        """How often each colour is on the canvas, after it was drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )
        counted = self.driver.execute_script(
            "const c = document.getElementById('map');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "const n = {};"
            "for (let i = 0; i < d.length; i += 4) {"
            "  const k = d[i] + ',' + d[i + 1] + ',' + d[i + 2]; n[k] = (n[k] || 0) + 1; }"
            "return n"
        )
        return {tuple(map(int, key.split(","))): count for key, count in counted.items()}

    def until(self, happens: Callable[[], T], patience_s: float = 30.0) -> T:
        """The first truthy answer; fails if none comes."""
        end = time.monotonic() + patience_s
        while not (answer := happens()):
            if time.monotonic() > end:
                pytest.fail(f"waited {patience_s} s in vain")
            time.sleep(0.05)
        return answer


@pytest.fixture
def reader(page: Path, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(page, tmp_path / "profile")
    yield reader
    told = [entry["message"] for entry in reader.driver.get_log("browser")]
    reader.driver.quit()
    # The canvas is read by this test alone, so the page does not ask for quick reading.
    assert [message for message in told if "willReadFrequently" not in message] == []


def test_points_are_drawn_and_the_legend_leaves_one_group_alone(reader: Reader) -> None:
    paper = (250, 248, 244)
    before = reader.colours()
    assert sum(before.values()) > before[paper]
    assert reader.one("#trust").text.startswith("0.")
    labels = [button.get_attribute("title") for button in reader.all("#legend button")]
    assert labels == reader.data["colourings"]["category"]["labels"]
    counts = [int(each.text) for each in reader.all("#legend small")]
    assert sum(counts) == len(reader.data["ids"]) == 400
    reader.all("#legend button")[1].click()
    assert reader.one("#matches").text == f"{counts[1]} of 400 shown"
    faint = (221, 213, 201)
    assert reader.colours().get(faint, 0) > 100
    assert before.get(faint, 0) == 0
    pressed = [button.get_attribute("aria-pressed") for button in reader.all("#legend button")]
    assert pressed == ["true" if i == 1 else "false" for i in range(len(labels))]
    reader.all("#legend button")[1].click()
    assert reader.one("#matches").text == ""


def test_search_leaves_what_has_all_words(reader: Reader) -> None:
    title = next(title for title in reader.data["titles"] if len(title.split()) > 2)
    words = title.split()[:2]
    reader.one("#search").send_keys(" ".join(reversed(words)).upper())
    data = reader.data
    texts = [
        f"{title} {data['brands'][brand]} {data['categories'][category]} {listing}".lower()
        for title, brand, category, listing in zip(
            data["titles"], data["brand"], data["category"], data["ids"], strict=True
        )
    ]
    expected = sum(all(word.lower() in text for word in words) for text in texts)
    assert 0 < expected < 400
    assert reader.one("#matches").text == f"{expected} of 400 shown"


def test_keys_step_choose_and_lead_to_the_true_neighbours(reader: Reader) -> None:
    keys = selenium.Keys
    reader.keys(keys.ARROW_RIGHT)
    first = reader.one("#map").get_attribute("aria-label")
    assert reader.one("#tip").is_displayed()
    reader.keys(keys.ARROW_LEFT)
    assert reader.one("#map").get_attribute("aria-label") != first
    reader.keys(keys.ENTER)
    listing = reader.one("#card .of p:last-child").text
    data = reader.data
    i = data["ids"].index(listing)
    near = data["near"][i * data["k"] :][:6]
    names = [each.get_attribute("textContent") for each in reader.all("#card ol span")]
    assert names == [data["titles"][row] for row in near]
    cosines = [float(each.text) for each in reader.all("#card ol small")]
    assert cosines == sorted(cosines, reverse=True)
    reader.all("#card ol button")[0].click()
    assert reader.one("#card .of p:last-child").text == data["ids"][near[0]]
    reader.keys(keys.ESCAPE)
    assert "choose one" in reader.one("#card").text


def test_a_hand_drags_zooms_and_picks(reader: Reader) -> None:
    hand = selenium.ActionChains(reader.driver)
    canvas = reader.one("#map")
    before = reader.colours()
    hand.move_to_element(canvas).click_and_hold().move_by_offset(90, 40).release().perform()
    moved = reader.colours()
    assert moved != before
    for _ in range(4):
        reader.one("#closer").click()
    assert reader.colours() != moved
    reader.one("#whole").click()
    assert reader.colours() == before
    reader.keys(selenium.Keys.ARROW_UP)
    reader.one("#theme").click()
    assert (23, 21, 19) in reader.colours()


def test_a_pointer_over_a_point_tells_of_it_with_its_picture(reader: Reader) -> None:
    data, canvas = reader.data, reader.one("#map")
    wide, high = canvas.size["width"], canvas.size["height"]
    scale = min(wide - 72, high - 72)
    # The point that stands farthest right is under no other.
    i = max(range(400), key=lambda i: data["x"][i])
    x = (data["x"][i] / 65_535 - 0.5) * scale
    y = (data["y"][i] / 65_535 - 0.5) * scale
    selenium.ActionChains(reader.driver).move_to_element_with_offset(
        canvas, round(x), round(y)
    ).perform()
    reader.until(lambda: reader.one("#tip").is_displayed())
    assert reader.one("#tip h2").get_attribute("textContent") == data["titles"][i]
    assert f"{data['price'][i] / 100:,.2f} {data['currency']}" in reader.one("#tip").text
    assert data["categories"][data["category"][i]] in reader.one("#tip").text
    drawn = reader.driver.execute_script(
        "const c = document.querySelector('#tip .picture');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert drawn > 20
    for name in ("brand", "age"):
        reader.one(f"[data-colour={name}]").click()
        labels = [button.get_attribute("title") for button in reader.all("#legend button")]
        assert labels == data["colourings"][name]["labels"]
