"""The short way to a route answers as the long one does."""

from typing import Any

import pytest

from heirloom.apps import doorman
from heirloom.apps.http import application

from .conftest import Client, Door

HTML = {"accept": "text/html", "cookie": "person=w000000000000000000000000"}
ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/recommend", {"json": {"user": "anna", "k": 200}}),
    ("POST", "/v1/recommend", {"json": {"surface": "similar"}}),
    ("POST", "/v1/recommend", {"json": {"anchor": "nowhere", "surface": "similar"}}),
    ("POST", "/v1/recommend", {"content": b"{"}),
    ("POST", "/v1/recommend", {"json": {}, "headers": {"x-request-timeout-ms": "soon"}}),
    ("POST", "/v1/recommend/", {"json": {}}),
    ("GET", "/v1/recommend", {}),
    ("POST", "/v1/search", {"json": {"text": "silk", "k": 200}}),
    ("GET", "/v1/listings/l00", {}),
    ("GET", "/v1/nowhere", {}),
    ("GET", "/healthz", {}),
    ("HEAD", "/healthz", {}),
    ("DELETE", "/healthz", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/nowhere", {"headers": HTML}),
    ("GET", "/static/nowhere.css", {}),
]


def test_the_short_way_answers_as_the_long_one(
    door_of_module: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = application(door_of_module.system)
    assert ("POST", "/v1/recommend") in doorman.plain(short.routes)
    monkeypatch.setattr(doorman, "plain", lambda _: {})
    clients = Client(short), Client(application(door_of_module.system))
    for method, path, more in ASKED:
        one, other = (client.request(method, path, **more) for client in clients)
        assert one.status_code == other.status_code, (method, path)
        assert {**one.headers, "x-request-id": ""} == {**other.headers, "x-request-id": ""}
        assert one.content == other.content, (method, path)
    for client in clients:
        client.close()


def test_both_ways_are_counted_by_route(door_of_module: Door) -> None:
    client = Client(application(door_of_module.system))
    client.post("/v1/recommend", json={"k": 1})
    client.get("/v1/listings/l00")
    told = client.get("/metrics").text
    client.close()
    for route in ("/v1/recommend", "/v1/listings/{listing_id:path}"):
        assert f'heirloom_requests_total{{route="{route}",status="200"}} 1.0' in told
