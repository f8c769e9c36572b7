"""The console in a real browser, before real processes: sign-in, numbers that move, a death."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.apps.conftest import LAPTOP
from tests.paths.workers import Market, made

from heirloom.apps.security.keys import KeysFile

from .test_browser import Shopper

pytestmark = pytest.mark.engine("chromium")
SETTINGS = """
[http.auth]
required = true

[log]
format = "json"
requests = true
"""
COUNTED = (("traffic", "search"), ("events", "taken"), ("traffic", "2xx"))
EXPECTED = ("401 (Unauthorized)", "Password forms")
"""What the browser says of a page that asks for a key, and is no complaint."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Market, str]]:
    """Served with a closed admin door, and a key that opens it."""
    folder = tmp_path_factory.mktemp("market")
    closed = folder.with_suffix(".toml")
    closed.write_text(LAPTOP.read_text() + SETTINGS)
    market = made(folder)
    now = time.time_ns() // 1_000_000
    key = KeysFile(folder).add("all", ["read", "events", "admin"], now_ms=now)[1]
    market.serve(system=closed, log=folder.with_suffix(".log"))
    yield market, key
    assert market.end() == 0


@pytest.fixture
def operator(market: tuple[Market, str], tmp_path: Path) -> Iterator[Shopper]:
    operator = Shopper(market[0].admin, tmp_path / "profile")
    yield operator
    complaints = [c for c in operator.complaints() if not any(e in c for e in EXPECTED)]
    operator.driver.quit()
    assert not complaints


def sign_in(operator: Shopper, key: str) -> None:
    operator.open("/console")
    operator.find("#key")[0].send_keys(key)
    operator.press(".sign-in button:not([hidden])")


def text(operator: Shopper, css: str) -> str:
    """Of the first such element, as of one moment: the page is drawn anew meanwhile."""
    found = operator.driver.execute_script(
        "return document.querySelector(arguments[0])?.textContent", css
    )
    return str(found).strip()


def total(operator: Shopper, section: str, name: str) -> int:
    script = """
      const rows = [...document.querySelectorAll(`[aria-labelledby=${arguments[0]}] tbody tr`)];
      const row = rows.find((each) => each.querySelector("th").textContent === arguments[1]);
      return row && row.lastElementChild.textContent.replaceAll(",", "");
    """
    return int(operator.driver.execute_script(script, section, name))


def test_a_wrong_key_is_refused_and_a_right_one_opens(
    operator: Shopper, market: tuple[Market, str]
) -> None:
    sign_in(operator, "hlm_0123456789ab_wrong")
    assert "not known here" in operator.find("[role=alert]")[0].text
    assert not operator.find("[data-live]")
    operator.find("#key")[0].send_keys(market[1])
    operator.press(".sign-in button")
    assert operator.find("[data-live]")
    cookie = operator.driver.get_cookie("heirloom_console")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert operator.driver.execute_script("return document.cookie") == ""
    operator.press("header form button")  # sign out
    assert operator.find("#key")
    operator.open("/console/live")
    assert operator.find("#key")


def test_the_numbers_move_without_a_reload(operator: Shopper, market: tuple[Market, str]) -> None:
    served, key = market
    sign_in(operator, key)
    operator.driver.execute_script("window.stays = true")
    before = [total(operator, *of) for of in COUNTED]
    with httpx.Client(
        base_url=served.address, headers={"authorization": f"Bearer {key}"}, timeout=60
    ) as client:
        for i in range(4):
            assert client.post("/v1/search", json={"text": "silk dress"}).status_code == 200
            sale = {"kind": "sold", "event_id": f"console {i}", "listing": f"s{i}"}
            assert client.post("/v1/events", json=[sale]).status_code == 200
    operator.until(lambda: total(operator, *COUNTED[0]) == before[0] + 4)
    operator.until(lambda: total(operator, *COUNTED[1]) == before[1] + 4)
    # Both of the workers and the writer are asked; each request is counted once.
    operator.until(lambda: total(operator, *COUNTED[2]) == before[2] + 8)
    page = httpx.get(
        f"{served.admin}/console/live.json", headers={"authorization": f"Bearer {key}"}, timeout=60
    ).json()
    assert {row["name"]: row["total"] for row in page["statuses"]}["2xx"] == before[2] + 8
    assert [row["name"] for row in page["processes"]] == ["writer", "worker-1", "worker-2"]
    operator.until(lambda: max(filter(None, moved(operator, "requests")), default=0) > 0)
    assert operator.driver.execute_script("return window.stays")


def moved(operator: Shopper, tile: str) -> list[float]:
    """The heights of the points of a tile's line."""
    line = "return document.querySelector(arguments[0]).getAttribute('d')"
    path = operator.driver.execute_script(line, f"#{tile} .line")
    points = [part.split() for part in path.replace("M", "L").split("L") if part]
    return [40.0 - float(y) for _, y in points]


def test_a_killed_worker_shows_and_so_does_the_next(
    operator: Shopper, market: tuple[Market, str]
) -> None:
    served, key = market
    sign_in(operator, key)
    headers = {"authorization": f"Bearer {key}"}

    def told() -> dict[str, object]:
        page = httpx.get(f"{served.admin}/console/live.json", headers=headers, timeout=60).json()
        return {row["name"]: row for row in page["processes"]}["worker-2"]

    before = told()
    os.kill(int(str(before["pid"])), signal.SIGSTOP)  # it holds its socket and does not answer
    operator.until(lambda: "1 of 3 processes not ready" in text(operator, ".summary"), 60)
    assert text(operator, "tr.worry th") == "worker-2"
    os.kill(int(str(before["pid"])), signal.SIGKILL)
    operator.until(lambda: "All 3 processes ready" in text(operator, ".summary"), 120)
    after = told()
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1  # type: ignore[operator]
    operator.until(lambda: str(after["pid"]) in text(operator, "#processes-table"))


def test_it_can_be_paused_and_read_on_a_phone_and_by_night(
    operator: Shopper, market: tuple[Market, str]
) -> None:
    sign_in(operator, market[1])
    operator.until(lambda: "as of" in text(operator, "[data-pulse]"))
    operator.find("[data-pause]")[0].click()
    assert operator.find("[data-pause]")[0].get_attribute("aria-pressed") == "true"
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    operator.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not operator.driver.execute_script(wide)
    worst = {}
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        operator.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        worst[scheme] = operator.driver.execute_script(CONTRAST)
    assert all(ratio >= 4.5 for ratio in worst.values()), worst  # WCAG 2.2, 1.4.3
    assert operator.driver.execute_script(UNNAMED) == []


def test_every_process_logs_lines_for_programs_and_no_key(market: tuple[Market, str]) -> None:
    served, key = market
    for shown in (key, key[:-1] + "x"):
        httpx.post(
            f"{served.address}/v1/recommend?q={shown}", json={"k": 5}, timeout=60,
            headers={"authorization": f"Bearer {shown}", "cookie": f"heirloom_console={shown}"},
        )  # fmt: skip
    text = served.folder.with_suffix(".log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    asked = [line for line in lines if line["logger"] == "heirloom.requests"]
    assert {200, 401} <= {line["status"] for line in asked if line["route"] == "/v1/recommend"}
    assert all(len(line["request_id"]) == 16 for line in asked)
    assert {line["process"] for line in asked} <= {"writer", "worker-1", "worker-2"}
    assert "all" in {line["caller"] for line in asked}
    assert key.split("_")[2] not in text


CONTRAST = """
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .03928 ? v / 12.92
    : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  let worst = 21;
  for (const each of document.querySelectorAll("main *, header *")) {
    const says = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!says || each.closest("svg, noscript, script")) continue;
    const a = light(parse(getComputedStyle(each).color).slice(0, 3));
    const b = light(behind(each).slice(0, 3));
    worst = Math.min(worst, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return worst;
"""
UNNAMED = """
  const bad = [...document.querySelectorAll("svg[role=img]:not([aria-label])")];
  const rows = [...document.querySelectorAll("tbody tr")];
  bad.push(...rows.filter((each) => !each.querySelector("th[scope=row]")));
  bad.push(...[...document.querySelectorAll("button")].filter((b) => !b.textContent.trim()));
  return bad.map((each) => each.outerHTML);
"""
