"""The shop window without a browser: pages, forms, cookies, and what they leave in the log."""

import re
from html import escape, unescape
from typing import Any

import pytest

from heirloom.core.event import Event, Kind

from .conftest import NASTY, RIGHT_TO_LEFT, SCRIPT, START_MS, Client, Door


def happened(door: Door, kind: Kind) -> list[Event]:
    return [entry.event for entry in door.system.log.read() if entry.event.kind == kind]


def page(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200, response.text
    return response.text


def hrefs(html: str) -> list[str]:
    """Addresses of the cards of a page, in order."""
    return [unescape(href) for href in re.findall(r'class="open" href="([^"]+)"', html)]


def shown(html: str) -> list[str]:
    return [unescape(i) for i in re.findall(r'<article class="card" data-listing="([^"]+)"', html)]


def press(browser: Client, button: str, listing: str, **fields: str) -> Any:
    return browser.post("/act", data={"button": button, "listing": listing, **fields})


def test_home_shows_priced_pictured_listings_and_sets_a_random_token(door: Door) -> None:
    browser = door.browser()
    response = browser.get("/")
    assert len(shown(response.text)) == 36
    for listing_id in shown(response.text)[:3]:
        slot = door.system.live.catalogue.slot_of(listing_id)
        listing = door.system.live.catalogue.listing(slot)
        assert f"€{listing.price_minor / 100:g}" in response.text
        assert f'src="/images/{listing_id}.png"' in response.text
    (cookie,) = [c for c in response.headers.get_list("set-cookie") if c.startswith("person=")]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    token = browser.cookies["person"]
    page(browser, "/")
    assert browser.cookies["person"] == token
    other = door.browser()
    page(other, "/")
    assert other.cookies["person"] != token


def test_a_click_is_recorded_once_with_its_place_and_changes_the_feed(door: Door) -> None:
    browser = door.browser()
    before = page(browser, "/")
    assert "We know nothing about you yet" in before
    href = hrefs(before)[3]
    page(browser, href)
    page(browser, href)
    (click,) = happened(door, Kind.CLICK)
    assert (click.listing, click.position, click.surface) == (shown(before)[3], 3, "home")
    assert click.user == browser.cookies["person"]
    assert click.slate
    assert click.slate in href
    after = page(browser, "/")
    assert "What we know about you" in after
    assert shown(after) != shown(before)


@pytest.mark.parametrize("headers", [{"sec-purpose": "prefetch"}, {"sec-fetch-site": "cross-site"}])
def test_a_guess_ahead_or_a_link_from_elsewhere_is_no_click(
    door: Door, headers: dict[str, str]
) -> None:
    browser = door.browser()
    href = hrefs(page(browser, "/"))[0]
    assert browser.get(href, headers=headers).status_code == 200
    assert not happened(door, Kind.CLICK)


def test_a_bought_item_is_sold_to_one_and_gone_for_all(door: Door) -> None:
    browser, other = door.browser(), door.browser()
    listing = shown(page(browser, "/"))[0]
    page(other, "/")
    bought = press(browser, "buy", listing, slate="s1", position="0", surface="home")
    assert bought.status_code == 303
    assert "It is yours" in page(browser, bought.headers["location"])
    late = press(other, "buy", listing)
    told = page(other, late.headers["location"])
    assert "Someone was faster" in told
    assert "This piece is sold" in told
    assert 'value="buy"' not in told
    (purchase,), (sold,) = happened(door, Kind.PURCHASE), happened(door, Kind.SOLD)
    assert (purchase.listing, purchase.user) == (listing, browser.cookies["person"])
    assert (purchase.slate, purchase.position) == ("s1", 0)
    assert (sold.listing, sold.price_minor) == (listing, purchase.price_minor)
    for visitor in (browser, other):
        assert listing not in shown(page(visitor, "/"))
        assert listing not in shown(page(visitor, "/search"))


def test_buttons_leave_their_events(door: Door) -> None:
    browser = door.browser()
    page(browser, "/")
    for button, kind in (
        ("save", Kind.SAVE),
        ("unsave", Kind.UNSAVE),
        ("message", Kind.MESSAGE),
        ("hide", Kind.HIDE),
    ):
        assert press(browser, button, NASTY, text="ça va? 🧥").status_code == 303
        (event,) = happened(door, kind)
        assert (event.listing, event.user) == (NASTY, browser.cookies["person"])
    assert happened(door, Kind.MESSAGE)[0].text == "ça va? 🧥"
    press(browser, "follow", "l01")
    press(browser, "block", "l02")
    assert happened(door, Kind.FOLLOW)[0].seller == "seller1"
    assert happened(door, Kind.BLOCK)[0].seller == "seller2"
    everything = shown(page(browser, "/search")) + shown(page(browser, "/"))
    assert NASTY not in everything
    assert not {"l02", "l22", "l42"} & set(everything)


def test_a_saved_heart_is_filled_for_its_person_alone(door: Door) -> None:
    browser, other = door.browser(), door.browser()
    listing = shown(page(browser, "/search?brand=prada"))[0]
    press(browser, "save", listing)

    def hearts(visitor: Client) -> int:
        return page(visitor, "/search?brand=prada").count('aria-pressed="true"')

    assert (hearts(browser), hearts(other)) == (1, 0)


def test_more_pages_follow_without_repeating(door: Door) -> None:
    browser = door.browser()
    html = page(browser, "/search")
    seen = shown(html)
    while more := re.search(r'<a href="([^"]+)" data-more', html):
        html = page(browser, unescape(more[1]))
        seen += shown(html)
    assert len(seen) > 36
    assert len(set(seen)) == len(seen)


def test_the_script_gets_the_cards_alone(door: Door) -> None:
    browser = door.browser()
    more = re.search(r'<a href="([^"]+)" data-more', page(browser, "/search"))
    assert more
    part = browser.get(unescape(more[1]), headers={"x-part": "1"}).text
    assert part.lstrip().startswith("<article")
    assert "<html" not in part


def test_an_expired_page_is_told_to_a_person_in_html(door: Door) -> None:
    browser = door.browser()
    more = re.search(r'<a href="([^"]+)" data-more', page(browser, "/search"))
    assert more
    door.clock.ms += 31 * 60_000
    late = browser.get(unescape(more[1]))
    assert late.status_code == 410
    assert "<h1>The page token has expired</h1>" in late.text


def test_search_filters_and_leaves_a_search_event(door: Door) -> None:
    browser = door.browser()
    html = page(browser, "/search?q=silk+dress&colour=red&price_max=200")
    catalogue = door.system.live.catalogue
    found = [catalogue.listing(catalogue.slot_of(listing)) for listing in shown(html)]
    assert found
    assert {listing.colour for listing in found} == {"red"}
    assert max(listing.price_minor for listing in found) <= 20_000
    (event,) = happened(door, Kind.SEARCH)
    assert (event.text, event.surface) == ("silk dress", "search")


def test_a_price_that_is_none_is_said_and_the_rest_is_answered(door: Door) -> None:
    html = page(door.browser(), "/search?price_min=cheap&brand=prada")
    assert "“cheap” is no price" in html
    assert {"l01"} < set(shown(html))


@pytest.mark.parametrize("words", [SCRIPT, RIGHT_TO_LEFT, '"><img src=x>', "a\x00b", "🧥" * 300])
def test_hostile_words_are_shown_as_words(door: Door, words: str) -> None:
    response = door.browser().get("/search", params={"q": words, "brand": words})
    assert response.status_code == 200
    for raw in ("<script>alert", "<img src=x"):
        assert raw not in response.text


@pytest.mark.parametrize(("listing", "title"), [("script", SCRIPT), ("rtl", RIGHT_TO_LEFT)])
def test_hostile_titles_are_shown_as_words(door: Door, listing: str, title: str) -> None:
    html = page(door.browser(), f"/item/{listing}")
    assert f'<h1 dir="auto">{escape(title).replace("&#x27;", "&#39;")}</h1>' in html
    assert "<script>alert" not in html


def test_an_id_with_slashes_opens_and_is_linked(door: Door) -> None:
    browser = door.browser()
    html = page(browser, "/search?category=men")
    (href,) = [h for h, i in zip(hrefs(html), shown(html), strict=True) if i == NASTY]
    assert "🧥✨ emoji jacket</h1>" in page(browser, href)
    assert happened(door, Kind.CLICK)[0].listing == NASTY


def test_an_unknown_page_or_item_is_told_in_html(door: Door) -> None:
    browser = door.browser()
    for path in ("/nowhere", "/item/nowhere"):
        response = browser.get(path)
        assert response.status_code == 404
        assert response.headers["content-type"].startswith("text/html")
        assert "Back to the feed" in response.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://[::"},
        {},
    ],
)
def test_another_sites_form_moves_nothing(door: Door, headers: dict[str, str]) -> None:
    browser = Client(door.app)
    door.browsers.append(browser)
    before = door.system.log.end()
    for path, data in (
        ("/act", {"button": "buy", "listing": "l01"}),
        ("/become", {"department": "men"}),
    ):
        assert browser.post(path, data=data, headers=headers).status_code == 403
    seen = browser.post("/seen", json={}, headers=headers)
    assert (seen.status_code, door.system.log.end()) == (403, before)


def test_our_own_form_works_by_origin_where_a_browser_says_no_more(door: Door) -> None:
    browser = Client(door.app, origin="http://shop.test")
    door.browsers.append(browser)
    assert press(browser, "save", "l01").status_code == 303


def test_seen_listings_become_one_impression_however_often_they_are_sent(door: Door) -> None:
    browser = door.browser()
    html = page(browser, "/")
    slate = re.search(r'data-slate="([^"]+)"', html)
    assert slate
    report = {
        "slate": slate[1],
        "surface": "home",
        "listings": shown(html)[4:6],
        "positions": [4, 5],
    }
    for _ in range(2):
        assert browser.post("/seen", json=report).status_code == 204
    (event,) = happened(door, Kind.IMPRESSION)
    assert (event.listings, event.positions) == (tuple(shown(html)[4:6]), (4, 5))
    assert (event.user, event.slate) == (browser.cookies["person"], slate[1])


def test_one_becomes_a_buyer_of_the_log_or_a_new_one_but_nobody_else(door: Door) -> None:
    acted = [
        {"kind": "click", "listing": f"l{i:02d}", "user": "anna", "t": START_MS - 1_000 * i}
        for i in range(1, 13)
    ]
    door.post("/v1/events", acted)
    browser = door.browser()
    assert 'value="anna"' in page(browser, "/you")
    assert browser.post("/become", data={"user": "anna"}).status_code == 303
    assert browser.cookies["person"] == "anna"
    assert "What we know about you" in page(browser, "/")
    assert browser.post("/become", data={"user": "bob"}).status_code == 422
    assert browser.cookies["person"] == "anna"
    said = {"department": "men", "clothing_size": "m", "brand": "prada"}
    assert browser.post("/become", data=said).status_code == 303
    assert browser.cookies["person"] != "anna"
    (event,) = happened(door, Kind.PREFER)
    assert event.user == browser.cookies["person"]
    assert event.attributes == {
        "department": "men",
        "clothing_size": "m",
        "sizes": ["m"],
        "brands": ["prada"],
    }
    assert {i[0] for i in shown(page(browser, "/"))} <= {"s", "r", "i"}


def test_pages_forbid_scripts_from_elsewhere_and_leak_no_address(door: Door) -> None:
    response = door.browser().get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["referrer-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?! src=\"/static/)", response.text)
    assert not re.search(r"\son\w+=|style=", response.text)
    assert not re.search(r"(src|href)=\"(https?:)?//", response.text)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', response.text):
        assert door.client.get(unescape(path)).status_code == 200
    assert door.client.get("/static/..%2Fpages.py").status_code == 404


def test_why_this_names_who_found_it_and_draws_nothing_where_nothing_was_ranked(
    door: Door,
) -> None:
    html = page(door.browser(), "/search?q=silk")
    assert html.count("<summary>Why this?</summary>") == len(shown(html))
    assert "<li>matches «silk»</li>" in html
    assert re.search(r"Found by (popular, )?search", html)
    assert "<svg" not in html.partition('class="why"')[2].partition("</details>")[0]
