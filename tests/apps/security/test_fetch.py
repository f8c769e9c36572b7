"""What may be asked by an address of the settings, and what an address may not lead to."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from heirloom.apps.security.fetch import fetch, refusal
from heirloom.core.errors import StoreError

FILE = "file:" + "///etc/passwd"
NEVER = (
    "169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200", "0.0.0.0",
    "224.0.0.1", "::", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
)  # fmt: skip
INSIDE = ("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd12::1",
          "::ffff:10.0.0.1")  # fmt: skip
OUTSIDE = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_addresses_are_refused_whichever_way_they_are_written() -> None:
    for address in NEVER:
        assert all(refusal(ip_address(address), inside=inside) for inside in (False, True)), address
    for address in INSIDE:
        assert "inside = true" in refusal(ip_address(address), inside=False)
        assert refusal(ip_address(address), inside=True) == ""
    for address in OUTSIDE:
        assert refusal(ip_address(address), inside=False) == ""


@pytest.fixture
def near() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server of this machine, and what it answers."""
    told: dict[str, Any] = {"status": 200, "headers": {}, "content": b"{}", "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told["asked"].append(self.path)
            self.send_response(told["status"])
            for name, value in told["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told["content"])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", told
    server.shutdown()
    thread.join()
    server.server_close()


def get(address: str, **told: Any) -> bytes:
    return fetch(address, **{"limit": 100, "timeout_s": 5.0, **told})


def test_what_is_allowed_is_read(near: tuple[str, dict[str, Any]]) -> None:
    address, told = near
    assert get(f"{address}/keys?a=b", inside=True) == b"{}"
    assert told["asked"] == ["/keys?a=b"]
    told["content"] = b"x" * 100
    assert get(address, inside=True) == b"x" * 100
    told["content"] = b"x" * 101
    with pytest.raises(StoreError, match="is over 100 bytes"):
        get(address, inside=True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(near: tuple[str, dict[str, Any]], status: int) -> None:
    address, told = near
    for place in ("http://169.254.169.254/latest", FILE, "/other", f"{address}/x"):
        told.update(status=status, headers={"location": place})
        with pytest.raises(StoreError, match=f"answers {status}, and leads to"):
            get(f"{address}/keys", inside=True)
    assert set(told["asked"]) == {"/keys"}


@pytest.mark.parametrize(
    "address",
    [
        FILE, FILE.upper(), "http://id.example/", "ftp://id.example/",
        "//x/",
        "gopher://127.0.0.1:6379/_SET", "https:///x", "https://[::", "https://a:b@id.example/",
        "https://id.example:99999/", "data:application/json,{}", "jar:https://id.example!/", "",
    ],
)  # fmt: skip
def test_other_schemes_are_not_asked(address: str) -> None:
    def never(*_: Any) -> list[str]:
        raise AssertionError("its name is not even resolved")

    for inside in (False, True):
        with pytest.raises(StoreError):
            get(address, inside=inside, resolve=never)


def test_a_name_is_asked_at_none_of_its_addresses_where_one_is_refused(
    near: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is connected to")

    monkeypatch.setattr("socket.create_connection", never)
    for found in (["169.254.169.254"], ["93.184.215.14", "127.0.0.1"], ["fd12::1"]):
        with pytest.raises(StoreError, match="it is not asked"):
            get("https://id.example/keys", resolve=lambda *_, found=found: found)
    assert not near[1]["asked"]


@pytest.mark.parametrize("host", ["2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "[::1]"])
def test_numbers_written_otherwise_are_refused_as_what_they_are(host: str) -> None:
    with pytest.raises(StoreError, match=r"it is not asked|cannot be read"):
        get(f"https://{host}/keys")
