"""Two real tenants behind one door: each key reaches its own, and nothing of one is the other's."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.faults_target import SERVE, stocked
from benchmarks.serving_process import family
from tests.apps.conftest import LAPTOP

from heirloom.adapters.sqlite import SqliteLog
from heirloom.apps.security.keys import KeysFile
from heirloom.apps.tenants.directory import Directory
from heirloom.apps.tenants.listed import read
from heirloom.core.errors import ConfigError

ALL = ["read", "events", "admin"]
WAIT_S = 120


def now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class House:
    """Both tenants' folders and keys, and the server."""

    folders: dict[str, Path]
    keys: dict[str, str]
    process: "subprocess.Popen[str]"
    address: str
    toml: Path
    said: Path

    def ask(self, key: str, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", **sent.pop("headers", {})} if key else {}
        return httpx.request(
            method, self.address + path, headers=headers, timeout=60, trust_env=False, **sent
        )

    def of(self, name: str, method: str, path: str, **sent: Any) -> httpx.Response:
        return self.ask(self.keys[name], method, path, **sent)

    def users(self, name: str) -> set[str | None]:
        with SqliteLog(self.folders[name] / "events.sqlite", read_only=True) as log:
            return {entry.event.user for entry in log.read()}

    def serves(self, name: str) -> list[int]:
        """The first process of a tenant, and those below it."""
        for pid in family(self.process.pid):
            told = Path(f"/proc/{pid}/cmdline").read_bytes()
            if str(self.folders[name]).encode() in told and pid != self.process.pid:
                return family(pid)
        return []

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = tmp_path_factory.mktemp("house")
    folders = {name: place / name for name in ("anna", "berta")}
    for seed, folder in enumerate(folders.values()):
        stocked(folder, listings=40 + 20 * seed, seed=seed)
    keys = {name: KeysFile(at).add("all", ALL, now_ms=now())[1] for name, at in folders.items()}  # type: ignore[arg-type]
    toml = place / "tenants.toml"
    toml.write_text(
        f'[http]\nmax_body_bytes = 100_000\n[tenants.anna]\nsystem = "{LAPTOP}"\n'
        f'folder = "{folders["anna"]}"\n[tenants.berta]\nsystem = "{LAPTOP}"\n'
        f'folder = "{folders["berta"]}"\nworkers = 2\n'
    )
    said = place / "said"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", "--tenants", str(toml), "--port", "0"],
            stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving on http://"), line
    yield House(folders, keys, process, line.split()[-1], toml, said)
    if process.poll() is None:
        process.kill()
        process.wait()
    process.stdout.close()


def test_each_key_reaches_its_own_tenant(house: House) -> None:
    titles = {name: house.of(name, "GET", "/v1/listings/l0000001").json()["title"]
              for name in house.keys}  # fmt: skip
    assert titles["anna"] != titles["berta"], "of one id, each has a listing of its own"
    assert house.of("berta", "GET", "/v1/listings/l0000055").status_code == 200
    assert house.of("anna", "GET", "/v1/listings/l0000055").status_code == 404
    told = {name: house.of(name, "GET", "/readyz").json()["details"] for name in house.keys}
    assert [told[name]["listings"] for name in ("anna", "berta")] == [40, 60]
    assert "process.worker-2" in told["berta"]
    assert "process.worker-2" not in told["anna"]


def test_events_are_in_the_log_of_their_tenant_alone(house: House) -> None:
    for name in house.keys:
        sent = [{"kind": "click", "event_id": "one", "user": f"of {name}", "listing": "l0000001"}]
        answer = house.of(name, "POST", "/v1/events", json=sent)
        assert answer.json()["taken"] == 1, "the same event_id counts in each"
    for name, other in (("anna", "berta"), ("berta", "anna")):
        assert f"of {name}" in house.users(name)
        assert f"of {other}" not in house.users(name)


def test_pages_and_metrics_are_of_one_tenant(house: House) -> None:
    first = house.of("anna", "POST", "/v1/recommend", json={"user": "x", "k": 3}).json()
    later = {"next": first["next"], "k": 3}
    assert house.of("anna", "POST", "/v1/recommend", json=later).status_code == 200
    assert house.of("berta", "POST", "/v1/recommend", json=later).status_code in (410, 422)
    texts = {name: house.of(name, "GET", "/metrics").text for name in house.keys}
    offsets = {
        name: set(re.findall(r"(?m)^heirloom_log_offset\S* (\S+)$", text))
        for name, text in texts.items()
    }
    assert offsets["anna"]
    assert offsets["berta"]
    assert not offsets["anna"] & offsets["berta"]


def test_the_tenant_itself_says_what_a_key_may(house: House) -> None:
    file = KeysFile(house.folders["anna"])
    _, reads = file.add("reads", ["read"], now_ms=now())
    assert house.ask(reads, "GET", "/v1/listings/l0000001").status_code == 200, "added just now"
    refused = house.ask(reads, "GET", "/metrics")
    assert (refused.status_code, refused.json()["wanted"]) == (403, "a key with scope admin")
    file.revoke("reads", now_ms=now())
    gone = house.ask(reads, "GET", "/v1/listings/l0000001")
    assert (gone.status_code, gone.json()["detail"]) == (401, "This key was revoked.")


def test_who_shows_no_tenants_key_is_refused(house: House) -> None:
    prefix, key_id, secret = house.keys["anna"].split("_", 2)
    other = house.keys["berta"].split("_", 2)
    unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4IiwiYXVkIjoieSJ9."
    for shown in ("", "x", f"{prefix}_{key_id}_{other[2]}", f"{prefix}_{other[1]}_{secret}",
                  f"{prefix}__", unsigned):  # fmt: skip
        for path in ("/v1/listings/l0000001", "/metrics", "/", "/readyz", "/nowhere"):
            answer = house.ask(shown, "GET", path)
            assert answer.status_code == 401, (shown, path)
            assert "heirloom" in answer.headers["www-authenticate"]
    for path in ("/healthz", "/openapi.json"):
        assert house.ask("", "GET", path).status_code == 200


def test_what_a_system_of_its_own_answers_to_all_asks_for_a_key_here(house: House) -> None:
    """A key that opens nothing any more says whose it is; so does a browser's password."""
    file = KeysFile(house.folders["anna"])
    _, lost = file.add("lost", ALL, now_ms=now())
    file.revoke("lost", now_ms=now())
    _, events = file.add("events", ["events"], now_ms=now())

    def status(path: str, kind: str, shown: str) -> int:
        packed = base64.b64encode(f"anyone:{shown}".encode()).decode()
        sent = f"Bearer {shown}" if kind == "bearer" else f"Basic {packed}"
        return httpx.get(
            house.address + path, headers={"authorization": sent}, timeout=60, trust_env=False
        ).status_code

    for path in ("/readyz", "/static/shop.css", "/images/l0000001.png", "/v2/health/live"):
        for kind in ("bearer", "basic"):
            assert status(path, kind, lost) == 401, (path, kind)
            assert status(path, kind, events) == 200, (path, kind)
    for kind, wanted in (("bearer", 200), ("basic", 401)):
        assert status("/v1/listings/l0000001", kind, house.keys["anna"]) == wanted, "no password"


def test_what_crosses_is_as_the_tenant_says_it(house: House) -> None:
    head = house.of("anna", "HEAD", "/v1/listings/l0000001")
    whole = house.of("anna", "GET", "/v1/listings/l0000001")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert len(whole.headers.get_list("x-request-id")) == 1
    assert house.of("anna", "POST", "/v1/events", content=b" " * 100_001).status_code == 413
    assert house.of("anna", "DELETE", "/v1/events").status_code == 405
    page = house.of("berta", "GET", "/", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "set-cookie" not in page.headers or "person" in page.headers["set-cookie"]


def test_a_tenant_that_is_down_is_so_for_itself_alone(house: House) -> None:
    before = house.serves("anna")
    os.kill(before[0], signal.SIGSTOP)
    os.kill(before[0], signal.SIGKILL)
    house.until(lambda: house.of("anna", "GET", "/v1/listings/l0000001").status_code == 503)
    answer = house.of("anna", "GET", "/v1/listings/l0000001")
    if answer.status_code == 503:
        assert answer.headers["retry-after"] == "2"
    assert house.of("berta", "GET", "/v1/listings/l0000001").status_code == 200
    house.until(lambda: house.of("anna", "GET", "/v1/listings/l0000001").status_code == 200)
    assert house.serves("anna") != before


def listed(house: House, text: str) -> None:
    """Write the file of tenants anew, whole."""
    draft = house.toml.with_suffix(".new")
    draft.write_text(text)
    draft.replace(house.toml)


def test_a_tenant_comes_changes_and_goes_while_the_others_are_served(house: House) -> None:
    before, two = {name: house.serves(name) for name in house.keys}, house.toml.read_text()
    system, folder = house.toml.parent / "carla.toml", house.toml.parent / "carla"
    system.write_text(LAPTOP.read_text())
    stocked(folder, listings=50, seed=2)
    key = KeysFile(folder).add("first", ALL, now_ms=now())[1]
    house.folders["carla"] = folder
    three = f'{two}[tenants.carla]\nsystem = "carla.toml"\nfolder = "{folder}"\n'

    def status(key: str) -> int:
        return house.ask(key, "GET", "/v1/listings/l0000001").status_code

    def live(key: str) -> Any:
        return house.ask(key, "GET", "/readyz").json().get("details", {})

    def all_three(key: str) -> bool:
        """A worker answers reads before the writer is ready, and writes by 503 until then."""
        told = [text for name, text in live(key).items() if name.startswith("process.")]
        return len(told) == 3 and all(text.startswith("ready") for text in told)

    assert status(key) == 401
    listed(house, three)
    house.until(lambda: status(key) == 200)
    assert live(key)["listings"] == 50
    sent = [{"kind": "click", "event_id": "one", "user": "of carla", "listing": "l0000001"}]
    assert house.ask(key, "POST", "/v1/events", json=sent).json()["taken"] == 1

    _, second = KeysFile(folder).add("second", ALL, now_ms=now())
    KeysFile(folder).revoke("first", now_ms=now())
    assert (status(second), status(key)) == (200, 401), "a key is rotated with the next request"

    first = house.serves("carla")
    limits = "[http]\nmax_body_bytes = 1_000\nworkers = 2"
    system.write_text(system.read_text().replace("[http]", limits))
    house.process.send_signal(signal.SIGHUP)
    house.until(lambda: all_three(second))
    assert house.ask(second, "POST", "/v1/events", content=b" " * 2_000).status_code == 413
    assert not set(first) & set(house.serves("carla"))

    below, answers = house.serves("carla"), []
    assert len(below) == 4

    def act() -> None:
        while not answers or answers[-1] == 200:
            sent = [{"kind": "click", "event_id": f"until {len(answers)}", "user": "who stays",
                     "listing": "l0000002"}]  # fmt: skip
            answers.append(house.ask(second, "POST", "/v1/events", json=sent).status_code)

    acting = threading.Thread(target=act)
    acting.start()
    house.until(lambda: len(answers) > 5 or not acting.is_alive())
    assert acting.is_alive(), answers
    listed(house, two)
    acting.join()
    assert answers[-1] in (401, 503)
    house.until(lambda: status(second) == 401)
    house.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    with SqliteLog(folder / "events.sqlite", read_only=True) as log:
        written = [e.event.event_id for e in log.read() if e.event.user == "who stays"]
    acknowledged = [f"until {i}" for i in range(len(answers) - 1)]
    assert written[: len(acknowledged)] == acknowledged
    assert {name: house.serves(name) for name in house.keys} == before
    assert status(house.keys["anna"]) == status(house.keys["berta"]) == 200


def test_a_file_that_cannot_be_followed_changes_nothing(house: House) -> None:
    before, two = {name: house.serves(name) for name in house.keys}, house.toml.read_text()
    shared = two.replace(str(house.folders["berta"]), str(house.folders["anna"]))
    for text, why in (("?", "not TOML"), ("", "Field required"), (shared, "another tenant's")):
        already = len(house.said.read_text())
        listed(house, text)
        refused = f"{why}.*tenants stay as they are"

        def is_said(already: int = already, refused: str = refused) -> bool:
            said = house.said.read_text()[already:]
            return re.search(refused, said, re.DOTALL) is not None

        house.until(is_said)
    listed(house, two.replace("[http]", "[http]\nport = 1"))
    house.until(lambda: "asks for a restart" in house.said.read_text())
    listed(house, two)
    assert {name: house.serves(name) for name in house.keys} == before
    for name in house.keys:
        assert house.of(name, "GET", "/v1/listings/l0000001").status_code == 200


def test_all_of_them_end_together(house: House) -> None:
    """The last of this file."""
    below = [pid for name in house.keys for pid in house.serves(name)]
    assert len(below) == 1 + 4
    house.process.terminate()
    assert house.process.wait(WAIT_S) == 0
    for pid in below:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise AssertionError(f"process {pid} is left")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", "tenants: Field required"),
        ("[tenants]", "at least 1 item"),
        ('[tenants.A]\nsystem = "x"\nfolder = "a"', "'A' is no name"),
        ('[tenants.a]\nsystem = "x"\nfolder = "a"\n[tenants.b]\nsystem = "x"\nfolder = "./a"',
         "another tenant's folder"),
        ('[tenants.a]\nsystem = "x"\nfolder = "a"\n[tenants.b]\nsystem = "x"\nfolder = "a/b"',
         "another tenant's folder"),
        ('[http.auth]\nrequired = true\n[tenants.a]\nsystem = "x"\nfolder = "a"', "tenants' own"),
        ('[tenants.a]\nsystem = "x.toml"\nfolder = "a"', "no such file"),
        ("?", "not TOML"),
    ],
)  # fmt: skip
def test_a_list_that_mixes_tenants_is_refused(tmp_path: Path, content: str, wanted: str) -> None:
    (tmp_path / "tenants.toml").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        read(tmp_path / "tenants.toml")


def test_tokens_must_say_whose_they_are(tmp_path: Path) -> None:
    tokens = '\n[http.auth.tokens]\nissuer = "i"\naudience = "AUD"\nkeys = "k.json"\n'
    for name, audience in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / f"{name}.toml").write_text(LAPTOP.read_text() + tokens.replace("AUD", audience))
    (tmp_path / "open.toml").write_text(LAPTOP.read_text() + "\n[http.auth]\nrequired = false\n")
    toml = tmp_path / "tenants.toml"

    def listed(*names: str) -> None:
        parts = [f'[tenants.{n}]\nsystem = "{n}.toml"\nfolder = "data/{n}"\n' for n in names]
        toml.write_text("".join(parts))

    listed("a", "c")
    directory = Directory(read(toml)[1])
    told: list[tuple[Any, str]] = [
        ({"iss": "i", "aud": "one"}, "a"),
        ({"iss": "i", "aud": ["else", "two"]}, "c"),
        ({"iss": "j", "aud": "one"}, ""),
        ({"iss": ["i"], "aud": {"one": 1}}, ""),
        ({}, ""),
        ([], ""),
    ]
    for claims, name in told:
        packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        assert directory.tenant(f"e30.{packed}.x") == name, claims
    for shown in ("", "..", "a.!.c", "é.é.é", "e30." + "A" * 9_000 + ".x", "hlm_", "hlm__"):
        assert directory.tenant(shown) == ""
    listed("a", "b")
    with pytest.raises(ConfigError, match="its own audience"):
        read(toml)
    listed("open")
    with pytest.raises(ConfigError, match="a key says whose system is asked"):
        read(toml)
