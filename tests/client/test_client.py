"""The client against the real server, straight and through a proxy that stumbles."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from heirloom.apps.wire import EventIn, RecommendIn, SearchIn, SlateOut
from heirloom.client import AsyncClient, Client, DeniedError, RefusedError, UnavailableError
from heirloom.client.retry import Retries
from heirloom.core.errors import InputError, StoreError
from heirloom.core.query import Filters

from .conftest import Served, Stumbling

EAGER = Retries(pause_s=0.001)


class Awaited:
    """The AsyncClient under the Client's names, so that each test is of both."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        self._loop = asyncio.Runner()
        self._client = AsyncClient(*given, **settings)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name == "pages":
            return lambda asked: iter(self._loop.run(_all(method(asked))))
        return lambda *given, **fields: self._loop.run(method(*given, **fields))

    def __enter__(self) -> "Awaited":
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run(self._client.__aexit__(*error))
        self._loop.close()


async def _all(pages: Any) -> list[Any]:
    return [page async for page in pages]


@pytest.fixture(params=[Client, Awaited], ids=["waiting", "awaited"])
def client_of(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_answers_with_the_librarys_own_structs(served: Served, client_of: Any) -> None:
    with client_of(served.address, key=served.keys["all"], timeout_s=60) as client:
        assert client.ready().details["listings"] == 40
        home = client.recommend(user="anna", k=5)
        assert isinstance(home, SlateOut)
        assert [card.position for card in home.listings] == [0, 1, 2, 3, 4]
        first = home.listings[0]
        assert client.listing(first.listing_id).price_minor == first.price_minor
        found = client.search(
            text="silk dress", filters=Filters(brands=("cos",)), facets=("brand",)
        )
        assert {card.brand for card in found.listings} == {"cos"}
        assert found.facets.total == 20
        report = client.events([EventIn(kind="click", listing=first.listing_id, user="anna")])
        assert (report.received, report.taken) == (1, 1)


def test_pages_go_on_to_the_end_and_never_repeat(served: Served, client_of: Any) -> None:
    with client_of(served.address, key=served.keys["reader"], timeout_s=60) as client:
        for asked in (SearchIn(k=9), RecommendIn(k=9)):
            pages = list(client.pages(asked))
            seen = [card.listing_id for page in pages for card in page.listings]
            assert len(pages) > 2
            assert len(set(seen)) == len(seen)
            assert {page.slate_id for page in pages} == {pages[0].slate_id}


def test_errors_say_what_to_do_and_are_not_tried_again(
    served: Served, stumbling: Stumbling, client_of: Any
) -> None:
    with client_of(stumbling.address, key=served.keys["reader"], timeout_s=60) as client:
        with pytest.raises(RefusedError, match="wanted int <= 200; came 900") as refused:
            client.recommend(k=900)
        assert (refused.value.status, refused.value.problem.status) == (422, 422)
        with pytest.raises(DeniedError, match="scope events"):
            client.events([EventIn(kind="click", listing="l/1", user="anna")])
        with pytest.raises(RefusedError, match="404"):
            client.listing("no such")
        assert stumbling.asked == 3
    with client_of(served.address, key="hlm_wrong_key", timeout_s=60) as client:
        with pytest.raises(DeniedError, match="401") as denied:
            client.recommend()
        assert "hlm_wrong_key" not in str(denied.value)
        with pytest.raises(InputError, match="one request takes 5000"):
            client.events([EventIn(kind="click")] * 5_001)


@pytest.mark.parametrize(
    "script",
    [["drop"], [(503, {})], [(429, {"retry-after": "0"}), "drop"], [(502, {}), (504, {})]],
    ids=str,
)
def test_what_passes_is_tried_again(
    served: Served, stumbling: Stumbling, client_of: Any, script: list[Any]
) -> None:
    stumbling.script = list(script)
    with client_of(
        stumbling.address, key=served.keys["all"], timeout_s=60, retries=EAGER
    ) as client:
        assert client.recommend(k=3).listings
    assert stumbling.asked == len(script) + 1


def test_an_event_whose_answer_was_lost_counts_once(
    served: Served, stumbling: Stumbling, client_of: Any
) -> None:
    stumbling.script = ["lose"]
    with client_of(
        stumbling.address, key=served.keys["all"], timeout_s=60, retries=EAGER
    ) as client:
        report = client.events([EventIn(kind="save", listing="l/3", user="anna")])
    assert stumbling.asked == 2
    assert (report.taken, report.duplicate) == (0, 1)


def test_retries_end_with_the_tries_and_with_the_budget(
    served: Served, stumbling: Stumbling, client_of: Any
) -> None:
    poor = Retries(tries=4, share=0.0, reserve=4, pause_s=0.001)
    stumbling.script = [(503, {})] * 50
    with client_of(stumbling.address, key=served.keys["all"], timeout_s=60, retries=poor) as client:
        tries = []
        for _ in range(4):
            with pytest.raises(UnavailableError, match="answered 503") as away:
                client.recommend()
            tries.append(away.value.tries)
    assert tries == [4, 2, 1, 1]  # four retries in all, then each call is one request
    assert stumbling.asked == sum(tries)


def test_who_is_asked_to_wait_longer_than_it_can_gives_up_at_once(
    served: Served, stumbling: Stumbling, client_of: Any
) -> None:
    stumbling.script = [(429, {"retry-after": "3600"})]
    with (
        client_of(stumbling.address, key=served.keys["all"], timeout_s=30) as client,
        pytest.raises(UnavailableError, match="asks to wait 3600 s") as away,
    ):
        client.recommend()
    assert (away.value.status, away.value.tries, away.value.retry_after_s) == (429, 1, 3_600.0)


def test_a_server_that_hangs_is_given_up(client_of: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            client_of(address, timeout_s=0.2) as client,
            pytest.raises(UnavailableError, match="no answer") as away,
        ):
            client.recommend()
    assert away.value.status is None
    with client_of(address, timeout_s=0.2) as client, pytest.raises(UnavailableError):
        client.recommend()  # nobody listens there any more


def test_something_else_at_that_address_is_said_to_be(
    served: Served, stumbling: Stumbling, client_of: Any
) -> None:
    stumbling.script = [(200, {}), (307, {"location": "http://127.0.0.1:1/"}), (500, {})]
    with client_of(stumbling.address, key=served.keys["all"], timeout_s=60) as client:
        with pytest.raises(StoreError, match="another version"):
            client.recommend()
        for status in ("307", "500"):
            with pytest.raises(StoreError, match=status):
                client.recommend()
    assert stumbling.asked == 3


def test_connections_are_kept(served: Served, stumbling: Stumbling, client_of: Any) -> None:
    with client_of(stumbling.address, key=served.keys["all"], timeout_s=60) as client:
        for _ in range(5):
            client.recommend(k=1)
    assert (stumbling.asked, stumbling.connections) == (5, 1)
