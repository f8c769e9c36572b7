"""Published pages in a real Redis: whole batches, to each their own, and gone in time."""

import pytest
import redis

from heirloom.adapters.redis_pages import RedisPages
from heirloom.core.batch import Batch, BatchPage
from heirloom.core.errors import ConfigError, StoreError

pytestmark = pytest.mark.engine("redis")

BATCH = Batch(
    system="s", surface="home", k=2, t=1, n=5, log="", policy="first", bundle="b", settings="",
    people="", persons=2, rows_per_part=10, code_version="0",
)  # fmt: skip
LATER = Batch(**{**{name: getattr(BATCH, name) for name in BATCH.__struct_fields__}, "n": 6})


def page(person: str, listing: str, *, stranger: bool = False) -> BatchPage:
    return BatchPage(person, f"s{person}", (listing,), (0.25,), (("taste",),), (1.0,), stranger)


ANYONE = page("", "popular", stranger=True)


@pytest.fixture
def pages(redis_server, request: pytest.FixtureRequest) -> RedisPages:
    return RedisPages(redis_server.url, f"system of {request.node.name}", "home")


def test_who_has_a_page_is_given_it_and_others_a_strangers(pages: RedisPages) -> None:
    assert pages.page("anna") is None
    anna, bert = page("anna", "l1"), page("bert", "popular", stranger=True)
    assert pages.publish(BATCH, [anna, bert], ANYONE, ttl_s=60) == 1
    assert pages.page("anna") == anna
    assert pages.page("bert") == pages.page("dora") == pages.page(None) == ANYONE


def test_a_stranger_whose_page_is_another_is_given_it(pages: RedisPages) -> None:
    seller = page("seller", "l9", stranger=True)
    assert pages.publish(BATCH, [seller], ANYONE, ttl_s=60) == 1
    assert pages.page("seller") == seller


def test_published_twice_it_is_the_same(pages: RedisPages, redis_server) -> None:
    with redis.Redis.from_url(redis_server.url) as client:

        def stored() -> dict[bytes, bytes]:
            return {key: client.get(key) for key in client.keys(f"{pages._prefix}*")}

        pages.publish(BATCH, [page("anna", "l1")], ANYONE, ttl_s=60)
        before = stored()
        pages.publish(BATCH, [page("anna", "l1")], ANYONE, ttl_s=60)
        assert stored() == before
        assert len(before) == 3
        assert all(0 < client.ttl(key) <= 60 for key in before)


def test_a_batch_is_looked_up_when_it_is_whole(pages: RedisPages) -> None:
    pages.publish(BATCH, [page("anna", "l1")], ANYONE, ttl_s=60)

    def half():
        yield page("anna", "l2")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        pages.publish(LATER, half(), ANYONE, ttl_s=60)
    assert pages.page("anna").listings == ("l1",)
    pages.publish(LATER, [page("anna", "l2")], ANYONE, ttl_s=60)
    assert pages.page("anna").listings == ("l2",)


def test_what_is_there_of_another_kind_is_refused(pages: RedisPages, redis_server) -> None:
    pages.publish(BATCH, [], ANYONE, ttl_s=60)
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(f"{pages._prefix}{BATCH.run}:", b"\xc1")
    with pytest.raises(StoreError, match="no page of this version"):
        pages.page("anna")


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreError, match="ping"):
        RedisPages("redis://127.0.0.1:1/0", "s", "home").ping()
    with pytest.raises(ConfigError, match="--publish"):
        RedisPages("http://x", "s", "home")
