"""The JSON API: what it answers, what it refuses and how, and that it is described."""

import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from PIL import Image
from starlette.routing import Route

from heirloom.apps.http import ENDPOINTS
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Status

from .conftest import NASTY, START_MS, Door

PROBLEM = "application/problem+json"


def kinds_of(door: Door) -> list[str]:
    return [entry.event.kind for entry in door.system.log.read()]


def ids(slate: Any) -> list[str]:
    return [card["listing_id"] for card in slate["listings"]]


def test_home_gives_listings_with_what_a_client_shows(door: Door) -> None:
    slate = door.post("/v1/recommend", {"user": "anna", "k": 5})
    assert [card["position"] for card in slate["listings"]] == [0, 1, 2, 3, 4]
    assert slate["t"] == START_MS
    assert slate["n"] == 63
    card = slate["listings"][0]
    slot = door.system.live.catalogue.slot_of(card["listing_id"])
    listing = door.system.live.catalogue.listing(slot)
    assert (card["title"], card["brand"]) == (listing.title, listing.brand)
    assert (card["price_minor"], card["currency"]) == (listing.price_minor, "EUR")
    assert card["image"] == f"/images/{quote(listing.listing_id, safe='')}.png"
    assert card["sources"]


def test_search_finds_by_words_and_filters(door: Door) -> None:
    found = door.post("/v1/search", {"text": "silk dress", "filters": {"brands": ["prada"]}})
    assert found["listings"]
    assert {card["brand"] for card in found["listings"]} == {"prada"}
    assert "dress" in found["listings"][0]["title"]


def test_facets_count_what_each_choice_would_leave(door: Door) -> None:
    asked = {"text": "dress", "filters": {"brands": ["prada"], "price_max_minor": 20_000}}
    found = door.post(
        "/v1/search", {**asked, "facets": ["brand", "size", "category", "price"], "k": 200}
    )
    counted = found["facets"]
    assert counted["total"] == len(found["listings"])
    assert set(counted) == {"total", "brand", "size", "category", "price"}
    assert [c["value"] for c in counted["brand"] if c["chosen"]] == ["prada"]
    for choice in counted["brand"]:
        filters = {**asked["filters"], "brands": [choice["value"]]}
        alone = door.post("/v1/search", {"text": "dress", "filters": filters, "k": 200})
        assert choice["count"] == len(alone["listings"]), choice
    for band in counted["price"]:
        bounds = {key: band[key] for key in ("price_min_minor", "price_max_minor")}
        filters = {**asked["filters"], **bounds}
        alone = door.post("/v1/search", {"text": "dress", "filters": filters, "k": 200})
        assert band["count"] == len(alone["listings"]), band
    assert "facets" not in door.post("/v1/search", asked)


def test_facets_follow_a_sale_at_once_and_without_words_count_all(door: Door) -> None:
    asked = {"facets": ["brand"], "k": 200}
    before = door.post("/v1/search", asked)
    assert before["facets"]["total"] == 63
    door.post("/v1/events", [{"kind": "sold", "listing": "l01"}])
    after = {c["value"]: c["count"] for c in door.post("/v1/search", asked)["facets"]["brand"]}
    was = {c["value"]: c["count"] for c in before["facets"]["brand"]}
    assert after == {**was, "prada": was["prada"] - 1}


def test_facets_of_words_that_nobody_has_count_what_is_shown(door: Door) -> None:
    found = door.post("/v1/search", {"text": "wol cot numbr", "facets": ["colour"], "k": 200})
    assert found["facets"]["total"] > 0
    none = door.post("/v1/search", {"text": "🧥", "facets": ["colour"], "k": 200})
    assert none["facets"]["total"] == len(none["listings"])


def test_similar_shows_others_than_its_anchor(door: Door) -> None:
    slate = door.post("/v1/recommend", {"surface": "similar", "anchor": "l01", "k": 6})
    assert len(slate["listings"]) == 6
    assert "l01" not in ids(slate)


def test_pages_of_a_visit_never_repeat_and_reach_the_end(door: Door) -> None:
    slate = door.post("/v1/search", {"k": 7})
    seen, positions, pages = ids(slate), [c["position"] for c in slate["listings"]], 1
    while slate["next"]:
        before = slate["slate_id"]
        slate = door.post("/v1/search", {"next": slate["next"], "k": 7})
        assert slate["slate_id"] == before
        assert slate["listings"]
        seen += ids(slate)
        positions += [card["position"] for card in slate["listings"]]
        pages += 1
    assert pages > 2
    assert len(set(seen)) == len(seen)
    assert positions == list(range(len(seen)))


def test_a_later_page_leaves_out_what_was_sold_or_hidden_since(door: Door) -> None:
    whole = ids(door.post("/v1/search", {"user": "anna", "k": 30}))
    first = door.post("/v1/search", {"user": "anna", "k": 10})
    assert ids(first) == whole[:10]
    sold, hidden = whole[10], whole[12]
    door.post(
        "/v1/events",
        [
            {"kind": "sold", "listing": sold},
            {"kind": "hide", "listing": hidden, "user": "anna"},
        ],
    )
    second = door.post("/v1/search", {"next": first["next"], "k": 5})
    assert ids(second) == [whole[11], *whole[13:17]]
    assert [card["position"] for card in second["listings"]] == [10, 11, 12, 13, 14]


def test_events_are_in_the_log_when_the_answer_comes(door: Door) -> None:
    report = door.post(
        "/v1/events", {"events": [{"kind": "click", "listing": "l03", "user": "anna"}]}
    )
    assert (report["received"], report["taken"], report["quarantined"]) == (1, 1, 0)
    entry = list(door.system.log.read())[-1]
    assert (entry.event.kind, entry.event.listing, entry.event.t) == ("click", "l03", START_MS)


def test_what_is_done_on_a_search_says_what_was_searched_for(door: Door) -> None:
    found = door.post("/v1/search", {"text": "silk dress", "user": "anna"})
    home = door.post("/v1/recommend", {"user": "anna"})
    done = [
        {"kind": kind, "listing": "l03", "user": "anna", "slate": slate["slate_id"]}
        for slate, kind in ((found, "click"), (found, "message"), (home, "save"))
    ]
    door.post("/v1/events", {"events": done})
    entries = list(door.system.log.read())[-3:]
    assert [entry.event.text for entry in entries] == ["silk dress", None, None]


def test_an_event_sent_twice_counts_once(door: Door) -> None:
    event = {"kind": "save", "listing": "l03", "user": "anna", "t": START_MS - 5}
    assert door.post("/v1/events", [event])["taken"] == 1
    door.clock.ms += 10_000
    again = door.post("/v1/events", [event])
    assert (again["taken"], again["duplicate"]) == (0, 1)


def test_events_are_taken_held_and_quarantined_each_for_itself(door: Door) -> None:
    report = door.post(
        "/v1/events",
        [
            {"kind": "click", "listing": "l01", "user": "anna"},
            {"kind": "click", "listing": "comes later", "user": "anna"},
            {"kind": "clik", "listing": "l01", "user": "anna"},
        ],
    )
    assert (report["taken"], report["held"], report["quarantined"]) == (1, 1, 1)
    assert "clik" in report["reasons"][0]["example"]


def test_a_sold_listing_is_in_no_later_answer(door: Door) -> None:
    listing = ids(door.post("/v1/search", {"k": 200}))[0]
    door.post("/v1/events", [{"kind": "sold", "listing": listing}])
    assert listing not in ids(door.post("/v1/search", {"k": 200}))
    assert door.client.get(f"/v1/listings/{listing}").json()["status"] == "sold"


@pytest.mark.parametrize("how", [lambda i: quote(i, safe=""), lambda i: quote(i, safe="/")])
def test_a_listing_is_found_by_an_id_with_slashes_and_emoji(
    door: Door, how: Callable[[str], str]
) -> None:
    found = door.client.get(f"/v1/listings/{how(NASTY)}").json()
    assert (found["listing_id"], found["status"]) == (NASTY, "live")
    picture = door.client.get(found["image"])
    assert picture.content.startswith(b"\x89PNG")
    assert picture.headers["content-type"] == "image/png"


def test_a_picture_is_not_sent_twice(door: Door) -> None:
    first = door.client.get("/images/l01.png")
    again = door.client.get("/images/l01.png", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    large = door.client.get("/images/l01.png?size=large")
    size = [Image.open(io.BytesIO(sent.content)).size for sent in (first, large)]
    assert size == [(300, 400), (600, 800)]
    assert door.client.get("/images/l01.png?size=huge").status_code == 422
    other = door.client.get("/images/l02.png")
    assert other.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("who", ["client", "server", "none"])
def test_impressions_are_written_by_whom_the_settings_name(
    open_door: Callable[..., Door], who: str
) -> None:
    door = open_door(impressions=who)
    first = door.post("/v1/recommend", {"user": "anna", "k": 4})
    door.post("/v1/recommend", {"next": first["next"], "k": 4})
    door.client.get("/readyz")  # they are written after the answer, before the next
    written = [e.event for e in door.system.log.read() if e.event.kind == Kind.IMPRESSION]
    if who != "server":
        assert not written
        return
    assert [event.positions for event in written] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert list(written[0].listings) == ids(first)
    assert {event.slate for event in written} == {first["slate_id"]}


def test_slate_records_that_are_lost_are_told(door: Door) -> None:
    (door.system.folder / "slates").write_text("no folder can stand here")
    door.post("/v1/recommend", {"user": "anna", "k": 4})
    door.system.records.close()
    for _ in range(2):
        assert "heirloom_slate_records_lost_total 1.0" in door.client.get("/metrics").text


REFUSALS: list[tuple[str, Any, int, str, str]] = [
    ("/v1/recommend", b"{", 400, "JSON", "{"),
    ("/v1/recommend", b"", 400, "JSON", "an empty body"),
    ("/v1/recommend", b'"\xff"', 422, "object", ""),
    ("/v1/recommend", {"surfaec": "home"}, 422, "fields surface, user", "surfaec"),
    ("/v1/recommend", {"filters": {"brand": ["x"]}}, 422, "brands", "brand"),
    ("/v1/recommend", {"k": "ten"}, 422, "int", '"ten"'),
    ("/v1/recommend", {"k": 0}, 422, "int >= 1", "0"),
    ("/v1/recommend", {"k": 201}, 422, "int <= 200", "201"),
    ("/v1/recommend", {"surface": "attic"}, 422, "one of home, similar", '"attic"'),
    ("/v1/recommend", {"surface": "similar", "anchor": None}, 422, "anchor", "no anchor"),
    ("/v1/recommend", {"anchor": "l01"}, 422, "similar", "l01"),
    ("/v1/recommend", {"surface": "similar", "anchor": "no"}, 422, "id of a listing", "no"),
    ("/v1/recommend", {"next": "scribble"}, 422, "`next`", "scribble"),
    ("/v1/recommend", {"next": "x", "user": "anna"}, 422, "fields next, k", "other fields"),
    ("/v1/recommend", {"exclude": ["x"] * 1_001}, 422, "length <= 1000", ""),
    ("/v1/search", {"text": 5}, 422, "str", "5"),
    ("/v1/search", {"text": "x" * 1_001}, 422, "length <= 1000", ""),
    ("/v1/search", {"facets": ["brnd"]}, 422, "one of brand, size", '"brnd"'),
    ("/v1/search", {"facets": ["brand"] * 9}, 422, "length <= 6", ""),
    ("/v1/search", {"next": "x", "facets": ["brand"]}, 422, "fields next, k", "other fields"),
    ("/v1/search", {"filters": {"price_min_minor": -1}}, 422, "int >= 0", "-1"),
    ("/v1/search", {"filters": {"price_min_minor": 10**30}}, 422, "int", ""),
    ("/v1/events", {"evens": []}, 422, "events", "evens"),
    ("/v1/events", [{"kind": "click"}, {"kind": 7}], 422, "str", "7"),
    ("/v1/events", [{"listing": "l01"}], 422, "kind", "l01"),
    ("/v1/events", [{"kind": "click"}] * 5_001, 422, "length <= 5000", ""),
    ("/v1/events", [{"kind": "impression", "listings": ["x"] * 1_001}], 422, "<= 1000", ""),
    ("/v1/events", b"{" * 2_000_000, 413, "at most 1048576 bytes", "2000000"),
    ("/v1/events", b"[" * 100_000, 422, "object", ""),
]


@pytest.mark.parametrize(("path", "body", "status", "wanted", "came"), REFUSALS)
def test_a_refusal_says_what_was_wanted_and_what_came(
    door_of_module: Door, path: str, body: Any, status: int, wanted: str, came: str
) -> None:
    door = door_of_module
    before = door.system.log.end()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = door.client.post(path, content=content)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    problem = response.json()
    assert problem["status"] == status
    assert wanted in problem["wanted"]
    assert came in problem.get("came", "")
    assert door.system.log.end() == before


def test_a_body_without_a_length_is_refused_while_it_streams(door: Door) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b"x" * 65_536

    response = door.client.post("/v1/events", content=endless())
    assert response.status_code == 413
    assert response.json()["came"] == "more than 1048576 bytes"


def test_routing_errors_are_problems_too(door: Door) -> None:
    missing, wrong = door.client.get("/v3/anything"), door.client.get("/v1/events")
    assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, PROBLEM)
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["wanted"] == "method POST"
    unknown = door.client.get("/v1/listings/nowhere")
    assert (unknown.status_code, unknown.json()["came"]) == (404, "nowhere")


def test_an_expired_or_foreign_page_token_asks_to_begin_anew(
    door: Door, open_door: Callable[..., Door]
) -> None:
    token = door.post("/v1/search", {"k": 5})["next"]
    elsewhere = open_door().client.post("/v1/search", json={"next": token})
    assert elsewhere.status_code == 410
    door.clock.ms += 31 * 60_000
    late = door.client.post("/v1/search", json={"next": token})
    assert late.status_code == 410
    assert "anew" in late.json()["detail"]


def test_an_accident_tells_an_id_and_no_secret(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise ZeroDivisionError("the secret")

    monkeypatch.setattr(door.system, "now_ms", fail)
    response = door.client.post("/v1/search", json={})
    assert (response.status_code, response.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in response.text
    request_id = response.json()["request_id"]
    assert request_id == response.headers["x-request-id"]
    assert request_id in caplog.text
    assert "the secret" in caplog.text


def test_health_readiness_and_metrics(door: Door) -> None:
    assert door.client.get("/healthz").json() == {"status": "ok"}
    ready = door.client.get("/readyz")
    assert (ready.status_code, ready.json()["details"]["listings"]) == (200, 63)
    door.post("/v1/recommend", {"user": "anna"})
    door.client.post("/v1/recommend", content=b"{")
    door.post("/v1/events", [{"kind": "clik", "user": "anna"}])
    text = door.client.get("/metrics").text
    for line in (
        'heirloom_requests_total{route="/v1/recommend",status="200"} 1.0',
        'heirloom_requests_total{route="/v1/recommend",status="400"} 1.0',
        'heirloom_slates_total{surface="home"} 1.0',
        'heirloom_events_total{outcome="quarantined"} 1.0',
        "heirloom_live_listings 63.0",
        "heirloom_log_offset 63.0",
    ):
        assert line in text.splitlines()


def test_an_empty_shop_is_not_ready(door: Door) -> None:
    sold = [
        Event(event_id=f"gone {slot}", kind="sold", t=START_MS, listing=listing.listing_id)
        for slot in range(63)
        if (listing := door.system.live.catalogue.listing(slot))
    ]
    door.system.ingest(sold, source="test")
    assert door.system.live.catalogue.status(0) is Status.SOLD
    ready = door.client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert door.post("/v1/recommend", {})["listings"] == []


# ── the OpenAPI description ──────────────────────────────────────────────────────────────────


def validate(description: Any, path: str, method: str, response: Any) -> None:
    """A response against what the description says of it."""
    responses = description["paths"][path][method]["responses"]
    said = responses[str(response.status_code)]
    media = response.headers["content-type"].split(";")[0]
    assert media in {name.split(";")[0] for name in said["content"]}
    schema = said["content"].get(media, {}).get("schema")
    if schema is not None:
        whole = {**schema, "components": description["components"]}
        jsonschema.validate(response.json(), whole, cls=jsonschema.Draft202012Validator)


def test_every_served_route_is_described_and_nothing_else(door: Door) -> None:
    description = door.client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    said = {(path, m) for path, ways in description["paths"].items() for m in ways}
    pages = re.compile(r"/(|search|item/.*|you|become|act|seen|static/.*|console(/.*)?)$")
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in door.app.routes
        if isinstance(route, Route) and not pages.match(route.path)
        for method in (route.methods or ()) - {"HEAD"}
    }
    assert said == served
    assert len(said) == len(ENDPOINTS)


def test_answers_are_as_described(door: Door) -> None:
    description = door.client.get("/openapi.json").json()
    jsonschema.Draft202012Validator.check_schema(
        {"components": description["components"], "$ref": "#/components/schemas/SlateOut"}
    )
    client = door.client
    calls = [
        ("/v1/recommend", "post", client.post("/v1/recommend", json={"k": 3})),
        ("/v1/recommend", "post", client.post("/v1/recommend", content=b"?")),
        ("/v1/recommend", "post", client.post("/v1/recommend", json={"k": 0})),
        ("/v1/search", "post", client.post("/v1/search", json={"text": "coat"})),
        ("/v1/search", "post", client.post("/v1/search", json={"next": "AAAA"})),
        ("/v1/events", "post", client.post("/v1/events", json=[{"kind": "no"}])),
        ("/v1/events", "post", client.post("/v1/events", content=b"x" * 1_100_000)),
        ("/v1/listings/{listing_id}", "get", client.get("/v1/listings/l01")),
        ("/v1/listings/{listing_id}", "get", client.get("/v1/listings/none")),
        ("/healthz", "get", client.get("/healthz")),
        ("/readyz", "get", client.get("/readyz")),
        ("/metrics", "get", client.get("/metrics")),
        ("/openapi.json", "get", client.get("/openapi.json")),
        ("/images/{listing_id}.png", "get", client.get("/images/l01.png")),
        ("/images/{listing_id}.png", "get", client.get("/images/none.png")),
    ]
    for path, method, response in calls:
        validate(description, path, method, response)


def test_requests_are_as_described(door: Door) -> None:
    description = door.client.get("/openapi.json").json()

    def said(path: str) -> Any:
        content = description["paths"][path]["post"]["requestBody"]["content"]
        return {
            **content["application/json"]["schema"],
            "components": description["components"],
        }

    check = jsonschema.Draft202012Validator
    good = [{"kind": "click", "listing": "l01", "user": "anna"}]
    assert check(said("/v1/events")).is_valid(good)
    assert check(said("/v1/events")).is_valid({"events": good})
    assert not check(said("/v1/events")).is_valid([{"kind": "click", "lissting": "l01"}])
    for path, body, status, _, _ in REFUSALS:
        # What depends on several fields at once, no schema says.
        alone = isinstance(body, list) or not {"next", "anchor"} & set(body)
        if status == 422 and not isinstance(body, bytes) and alone:
            assert not check(said(path)).is_valid(body), body


def test_explain_tells_who_found_each_and_what_moved_it(door: Door) -> None:
    asked = {"surface": "similar", "anchor": "l01", "k": 6}
    plain = door.post("/v1/recommend", asked)
    assert "compared" not in plain
    assert all("explanation" not in card for card in plain["listings"])
    told = door.post("/v1/recommend", {**asked, "explain": True})
    assert ids(told) == ids(plain)
    assert told["compared"] == {"candidates": 62, "worth": {}}  # all but the anchor
    for card in told["listings"]:
        explanation = card["explanation"]
        assert [each["source"] for each in explanation["found"]] == card["sources"]
        assert all(each["rank"] >= 0 for each in explanation["found"])
        assert [each["words"] for each in explanation["reasons"]] == card["reasons"]
        assert explanation["contributions"] == []  # nothing is trained: retrieval orders
        assert all(each["group"] is None for each in explanation["reasons"])
        assert (explanation["moved"], explanation["propensity"]) == ([], 1.0)
        assert explanation["n"] == told["n"]
    assert "similar to this one" in {r for card in told["listings"] for r in card["reasons"]}


def test_explain_holds_for_search_with_facets_for_later_pages_and_for_nothing(door: Door) -> None:
    asked = {"text": "silk dress", "facets": ["brand"], "k": 5, "explain": True}
    first = door.post("/v1/search", asked)
    assert first["facets"]["total"]
    later = door.post("/v1/search", {"next": first["next"], "k": 5, "explain": True})
    assert later["slate_id"] == first["slate_id"]
    for page in (first, later):
        assert all(card["explanation"]["found"] for card in page["listings"])
    unasked = door.post("/v1/search", {"next": first["next"], "k": 5})
    assert all("explanation" not in card for card in unasked["listings"])
    assert [c["reasons"] for c in unasked["listings"]] == [c["reasons"] for c in later["listings"]]
    assert any("matches «silk dress»" in c["reasons"] for c in unasked["listings"])
    nothing = door.post("/v1/search", {"filters": {"brands": ["nobody"]}, "explain": True})
    assert (nothing["listings"], nothing["compared"]["candidates"]) == ([], 0)
    assert "nothing to show" in nothing["degraded"][-1]["reason"]


def test_explain_is_a_truth_value(door: Door) -> None:
    response = door.client.post("/v1/recommend", json={"explain": "yes"})
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert "explain" in response.text
