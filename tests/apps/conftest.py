"""A small shop with known listings, behind its door. Nothing is trained: retrieval orders."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from heirloom.apps.build import System
from heirloom.apps.deadline import MOST_MS, Limits
from heirloom.apps.http import application
from heirloom.apps.settings import load
from heirloom.core.event import Event
from heirloom.core.listing import Listing

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"
START_MS = 1_750_000_000_000
PATIENT = Limits(deadline_ms=MOST_MS)
"""Nothing is rehearsed here: who asks first waits for kernels to be compiled."""
NASTY = "id/with ü🧥#?&%2F"
SCRIPT = "<script>alert('x')</script>"
RIGHT_TO_LEFT = "\u202eمعطف صوف\u202c"


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    ms: int = START_MS

    def __call__(self) -> int:
        return self.ms


class Client:
    """A client with cookies of its own, straight to the application; no redirect is followed."""

    def __init__(self, app: Starlette, **headers: str) -> None:
        self._loop = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://shop.test",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return self._loop.run(self._client.request(method, path, **sent))

    def get(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("POST", path, **sent)

    def close(self) -> None:
        self._loop.run(self._client.aclose())
        self._loop.close()


@dataclass(frozen=True)
class Door:
    """A shop, its clock, and clients of it."""

    system: System
    clock: Clock
    app: Starlette
    client: Client
    browsers: list[Client] = field(default_factory=list)

    def post(self, path: str, body: Any) -> Any:
        """JSON in, JSON out; refuses anything but 200."""
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def browser(self) -> Client:
        """A browser of its own: cookies, and the headers that a browser sends."""
        browser = Client(self.app, sec_fetch_site="same-origin", accept="text/html")
        self.browsers.append(browser)
        return browser


def listings() -> list[Listing]:
    """60 dresses and coats of 5 brands and 20 sellers, and three with hostile words."""
    made = [
        Listing(
            listing_id=f"l{i:02d}",
            seller=f"seller{i % 20}",
            title=f"{('wool coat', 'silk dress')[i % 2]} number {i}",
            description="Worn twice. No flaws.",
            category=f"women/clothing/{('coats', 'dresses')[i % 2]}",
            brand=("arket", "prada", "cos", "toast", "gucci")[i % 5],
            size=("s", "m", "l")[i % 3],
            colour=("black", "red")[i % 2],
            condition="very good condition",
            price_minor=1_000 + 500 * i,
            country="FR",
            photos=3,
        )
        for i in range(60)
    ]
    hostile = (("script", SCRIPT), ("rtl", RIGHT_TO_LEFT), (NASTY, "🧥✨ emoji jacket"))
    made += [
        Listing(
            listing_id=listing_id,
            seller=f"seller of {title}",
            title=title,
            description=title,
            hashtags=(title,),
            category="men/clothing/jackets",
            brand=title,
            price_minor=9_900,
        )
        for listing_id, title in hostile
    ]
    return made


def _opener(folder: Path) -> Iterator[Callable[..., Door]]:
    opened: list[Door] = []

    def open_with(**settings: Any) -> Door:
        clock = Clock()
        system = System(load(LAPTOP, folder=folder / str(len(opened))), clock=clock)
        listed = [
            Event(
                event_id=f"listed {listing.listing_id}",
                kind="listed",
                t=START_MS - 3_600_000,
                listing=listing.listing_id,
                data=listing,
            )
            for listing in listings()
        ]
        assert system.ingest(listed, source="test").taken == len(listed)
        app = application(system, **{"limits": PATIENT, **settings})
        door = Door(system, clock, app, Client(app))
        opened.append(door)
        return door

    yield open_with
    for door in opened:
        for client in (door.client, *door.browsers):
            client.close()
        door.system.close()


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    """Opens doors with the application's settings as keywords."""
    yield from _opener(tmp_path)


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    """A door of its own, with the defaults."""
    return open_door()


@pytest.fixture(scope="module")
def door_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A door for tests that change nothing."""
    opener = _opener(tmp_path_factory.mktemp("door"))
    yield next(opener)()
    next(opener, None)
