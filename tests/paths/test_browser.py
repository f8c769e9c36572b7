"""The shop window in a real browser: the feed shows, search works, deeds change what is shown."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import uvicorn

from heirloom.apps.http import application
from heirloom.core.event import Kind
from heirloom.core.listing import Status

from .conftest import Marketplace

selenium = pytest.importorskip("selenium.webdriver")

T = TypeVar("T")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1600",
)
pytestmark = pytest.mark.engine("chromium")


@pytest.fixture(scope="module")
def address(trained: Marketplace) -> Iterator[str]:
    """Where the trained marketplace is served."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(application(trained.system), log_level="warning", lifespan="on")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()


class Shopper:
    """A person at a browser of their own."""

    def __init__(self, address: str, profile: Path) -> None:
        options = selenium.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.address = address
        self.driver = selenium.Chrome(
            options=options, service=selenium.ChromeService("/usr/bin/chromedriver")
        )
        self.driver.set_page_load_timeout(60)

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    def find(self, css: str) -> list:
        return self.driver.find_elements("css selector", css)

    def press(self, css: str) -> None:
        """Click, and wait for the page that follows."""
        page = self.driver.find_element("css selector", "html")
        element = self.driver.find_element("css selector", css)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.until(lambda: self.find("html") not in ([], [page]))  # for a moment there is none
        self.until(lambda: self.driver.execute_script("return document.readyState") == "complete")

    def cards(self) -> list[str]:
        return [card.get_attribute("data-listing") for card in self.find("[data-feed] .card")]

    def until(self, happens: Callable[[], T], patience_s: float = 30.0) -> T:
        """The first truthy answer; fails if none comes."""
        end = time.monotonic() + patience_s
        while not (answer := happens()):
            if time.monotonic() > end:
                pytest.fail(f"waited {patience_s} s in vain at {self.driver.current_url}")
            time.sleep(0.05)
        return answer

    def complaints(self) -> list[str]:
        """What the browser itself found wrong: refused scripts, errors, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def shopper(address: str, tmp_path: Path) -> Iterator[Shopper]:
    shopper = Shopper(address, tmp_path / "profile")
    yield shopper
    complaints = shopper.complaints()
    shopper.driver.quit()
    assert not complaints


def events_of(trained: Marketplace, user: str, kind: Kind) -> list[object]:
    return [
        entry.event
        for entry in trained.system.log.read()
        if entry.event.user == user and entry.event.kind == kind
    ]


def test_the_feed_shows_with_pictures_and_what_came_into_view_is_reported(
    shopper: Shopper, trained: Marketplace
) -> None:
    shopper.open("/")
    assert len(shopper.cards()) == 36
    loaded = "return [...document.querySelectorAll('.card img')].filter(i => i.naturalWidth > 0)"
    in_view = shopper.until(lambda: shopper.driver.execute_script(loaded))
    assert len(in_view) >= 6
    token = shopper.driver.get_cookie("person")["value"]
    (first, *_) = shopper.until(lambda: events_of(trained, token, Kind.IMPRESSION))
    cards = shopper.cards()
    assert 0 in first.positions
    assert [cards[position] for position in first.positions] == list(first.listings)
    assert len(first.listings) < 36  # what lies below the window was not seen


def test_more_cards_come_without_a_new_page(shopper: Shopper) -> None:
    shopper.open("/")
    before = shopper.cards()
    more = shopper.find("[data-more]")[0]
    shopper.driver.execute_script("arguments[0].click()", more)
    shopper.until(lambda: len(shopper.cards()) > len(before))
    after = shopper.cards()
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)


def test_search_works_with_words_and_filters(shopper: Shopper, trained: Marketplace) -> None:
    catalogue = trained.system.live.catalogue
    shopper.open("/")
    shopper.find("#q")[0].send_keys("black bag")
    shopper.press(".find button")
    found = shopper.cards()
    assert found
    listings = [catalogue.listing(catalogue.slot_of(listing)) for listing in found]
    fitting = [x for x in listings if x.colour == "black" or "bag" in x.category]
    assert len(fitting) > len(found) / 2
    brand = shopper.find("input[name=brand]")[0].get_attribute("value")
    shopper.press("input[name=brand]")
    assert "black bag" in shopper.find("h1")[0].text
    assert shopper.cards()
    of_brand = {catalogue.listing(catalogue.slot_of(i)).brand for i in shopper.cards()}
    assert of_brand == {brand}


def test_a_click_changes_the_feed(shopper: Shopper, trained: Marketplace) -> None:
    shopper.open("/")
    before = shopper.cards()
    assert not shopper.find(".traces")
    opened = before[5]
    shopper.press(f'.card[data-listing="{opened}"] a.open')
    token = shopper.driver.get_cookie("person")["value"]
    (click,) = events_of(trained, token, Kind.CLICK)
    assert (click.listing, click.position) == (opened, 5)
    assert shopper.cards()  # similar pieces
    shopper.press(".logo")
    assert len(shopper.find(".traces li")) == 1
    assert shopper.cards() != before


def test_a_bought_item_disappears(shopper: Shopper, trained: Marketplace) -> None:
    shopper.open("/")
    wanted = shopper.cards()[0]
    shopper.press(f'.card[data-listing="{wanted}"] a.open')
    shopper.press("button.buy")
    assert "It is yours" in shopper.find("[role=status]")[0].text
    assert not shopper.find("button.buy")
    catalogue = trained.system.live.catalogue
    assert catalogue.status(catalogue.slot_of(wanted)) is Status.SOLD
    shopper.press(".logo")
    assert shopper.cards()
    assert wanted not in shopper.cards()


def test_a_heart_saves_in_place(shopper: Shopper, trained: Marketplace) -> None:
    shopper.open("/")
    wanted = shopper.cards()[2]
    heart = f'.card[data-listing="{wanted}"] .heart button'
    shopper.find(heart)[0].click()
    shopper.until(lambda: shopper.find(heart)[0].get_attribute("aria-pressed") == "true")
    token = shopper.driver.get_cookie("person")["value"]
    (save,) = events_of(trained, token, Kind.SAVE)
    assert (save.listing, save.position) == (wanted, 2)


def test_why_this_is_a_picture_with_words(shopper: Shopper) -> None:
    shopper.open("/")
    open_all = "document.querySelectorAll('.why').forEach(each => each.open = true)"
    shopper.driver.execute_script(open_all)
    pictures = shopper.find(".why figure svg")
    assert len(pictures) > 30
    for picture in pictures[:12]:
        said = picture.get_attribute("aria-label")
        assert said.startswith(("Raised by ", "Lowered by "))
        words = [text.text for text in picture.find_elements("css selector", "text")]
        assert all(word in said for word in words)
        edge = picture.rect["x"] + picture.rect["width"] + 1
        line = picture.find_element("css selector", "line").rect["x"]
        for bar in picture.find_elements("css selector", "rect"):
            raises = bar.get_attribute("class") == "up"
            assert bar.rect["x"] + bar.rect["width"] <= edge
            assert bar.rect["x"] >= line - 1 if raises else bar.rect["x"] < line
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not shopper.driver.execute_script(wide)
