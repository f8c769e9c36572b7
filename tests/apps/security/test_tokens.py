"""Tokens: what a provider signs is taken, and each of the known ways around it is refused."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from heirloom.apps.security.caller import Caller
from heirloom.apps.security.settings import AuthPart, TokensPart
from heirloom.apps.security.tokens import MAX_TOKEN, UNKNOWN_KEY, Tokens, public_keys
from heirloom.core.errors import StoreError

pytestmark = pytest.mark.engine("jwt")
ISSUER, AUDIENCE = "https://id.example", "our shop"


class Provider:
    """An identity provider: its private keys, by id, and the set of public ones."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        self.rsa = rsa.generate_private_key(65_537, 2_048)
        self.private: dict[str, tuple[str, Any]] = {
            "r": ("RS256", self.rsa),
            "e": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "d": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }

    def key_set(self, *ids: str) -> bytes:
        from jwt.algorithms import get_default_algorithms

        listed = []
        for each in ids or self.private:
            algorithm, key = self.private[each]
            public = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
            listed.append({**public, "kid": each, "alg": algorithm, "use": "sig"})
        return json.dumps({"keys": listed}).encode()

    def sign(self, kid: str = "r", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        import jwt

        algorithm, key = self.private[kid]
        return jwt.encode(
            good(**claims), key, algorithm=algorithm, headers={"kid": kid, **(headers or {})}
        )


def good(**claims: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 300, "iat": now,
             "scope": "read events"} | claims  # fmt: skip
    return {name: value for name, value in whole.items() if value is not None}


def by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(part).encode() for part in (header, claims)]
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, signature)
    )


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider()


@pytest.fixture
def file(tmp_path: Path, provider: Provider) -> Path:
    (tmp_path / "keys.json").write_bytes(provider.key_set())
    return tmp_path / "keys.json"


def part(keys: Path | str, **more: Any) -> TokensPart:
    usual = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ("RS256", "ES256", "EdDSA")}
    return TokensPart(keys=str(keys), **{**usual, **more})


@pytest.mark.parametrize("kid", ["r", "e", "d"])
def test_a_good_token_says_who_and_what(file: Path, provider: Provider, kid: str) -> None:
    tokens = Tokens(part(file))
    for _ in range(2):  # the second time it is known
        caller = tokens.find(provider.sign(kid))
        assert isinstance(caller, Caller)
        assert (caller.name, caller.bucket) == ("anna", "token:anna")
        assert caller.scopes == {"read", "events"}


def test_scopes_come_from_the_claim_that_is_named(file: Path, provider: Provider) -> None:
    tokens = Tokens(part(file, scope_claim="scp", scope_prefix="heirloom:"))
    for said, expected in (
        (["heirloom:admin", "read"], {"admin"}),
        ("heirloom:read other:admin", {"read"}),
        (None, set()),
        (7, set()),
    ):
        caller = tokens.find(provider.sign(scp=said))
        assert isinstance(caller, Caller)
        assert caller.scopes == expected


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 1_000}, "expired"),
        ({"exp": None}, "unknown"),
        ({"aud": "another shop"}, "audience"),
        ({"aud": None}, "unknown"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "unknown"),
        ({"sub": None}, "unknown"),
        ({"nbf": 4_000_000_000}, "unknown"),
        ({"exp": "soon"}, "unknown"),
    ],
)
def test_claims_that_are_wrong_or_missing_are_refused(
    file: Path, provider: Provider, claims: dict[str, Any], why: str
) -> None:
    assert Tokens(part(file)).find(provider.sign(**claims)) == why


def test_a_token_never_chooses_how_it_is_checked(file: Path, provider: Provider) -> None:
    from cryptography.hazmat.primitives import serialization

    tokens = Tokens(part(file))
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, "HS256", "RS384"):
        assert tokens.find(by_hand({"alg": algorithm, "kid": "r"}, good())) == "algorithm"
    # HS256 with the public key as its secret, which fools who takes the header's word.
    public = provider.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (public, public.strip(), provider.key_set("r")):
        signed = by_hand({"alg": "HS256", "kid": "r"}, good())[:-1]
        mark = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        forged = f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"
        assert tokens.find(forged) == "algorithm"
    # An allowed algorithm on a key of another one.
    assert tokens.find(by_hand({"alg": "ES256", "kid": "r"}, good(), b"x" * 64)) == "unknown"
    # Keys that the token brings along, or says where to find.
    stranger = Provider()
    own = json.loads(stranger.key_set("r"))["keys"][0]
    for headers in ({"jwk": own}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "file:" + "///etc"}):
        assert tokens.find(stranger.sign("r", headers)) == "unknown"
    assert tokens.find(stranger.sign("r", {"kid": "theirs"})) == UNKNOWN_KEY
    for kid in ("../../dev/null", "' OR 1=1", "", 7, None, ["r"]):
        assert isinstance(tokens.find(by_hand({"alg": "RS256", "kid": kid}, good(), b"x")), str)


def test_a_changed_letter_anywhere_is_refused(file: Path, provider: Provider) -> None:
    tokens, token = Tokens(part(file)), provider.sign("e")
    assert isinstance(tokens.find(token), Caller)
    for place in range(0, len(token) - 1, 3):  # the last letter has bits that carry nothing
        letter = "A" if token[place] != "A" else "B"
        assert isinstance(tokens.find(token[:place] + letter + token[place + 1 :]), str)
    for text in ("", ".", "..", "a.b.c", "é" * 20, "x" * (MAX_TOKEN + 1), "[" * 5_000):
        assert isinstance(tokens.find(text), str)


def test_a_known_token_ends_with_its_time(file: Path, provider: Provider) -> None:
    tokens = Tokens(part(file, leeway_s=0))
    token = provider.sign(exp=int(time.time()) + 2)
    assert isinstance(tokens.find(token), Caller)
    while tokens.find(token) != "expired":
        time.sleep(0.1)
    assert isinstance(Tokens(part(file)).find(token), Caller)  # the leeway is granted


def test_a_key_that_leaves_the_file_opens_nothing_more(file: Path, provider: Provider) -> None:
    tokens, token = Tokens(part(file)), provider.sign("e")
    assert isinstance(tokens.find(token), Caller)
    whole = file.read_bytes()
    replaced(file, provider.key_set("r"))
    assert tokens.find(token) == UNKNOWN_KEY
    replaced(file, b"{")
    assert isinstance(tokens.find(provider.sign("r")), Caller)
    assert "no JSON" in tokens.failed
    replaced(file, whole)
    assert isinstance(tokens.find(token), Caller)
    assert tokens.failed == ""


def replaced(file: Path, content: bytes) -> None:
    unfinished = file.with_suffix(".tmp")
    unfinished.write_bytes(content)
    os.replace(unfinished, file)


def test_only_keys_that_may_check_a_token_are_read(provider: Provider) -> None:
    listed = json.loads(provider.key_set())["keys"]
    odd = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "h"},
        {**listed[0], "kid": "x", "use": "enc"},
        {**listed[0], "kid": "p", "alg": "RS512"},
        {"kty": "RSA"},
        {"kty": "new"},
        7,
    ]
    content = json.dumps({"keys": [*odd, *listed]}).encode()
    assert set(public_keys(content, ("RS256", "ES256", "EdDSA"))) == {"r", "e", "d"}
    for wrong in (b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b'{"a":' * 9_999):
        with pytest.raises(StoreError, match="set of keys"):
            public_keys(wrong, ("RS256",))


@pytest.fixture
def address(provider: Provider) -> Iterator[tuple[str, dict[str, Any]]]:
    """A provider's address, and what it serves."""
    served: dict[str, Any] = {"content": provider.key_set("r"), "asked": 0, "redirect": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["asked"] += 1
            self.send_response(302 if served["redirect"] else 200)
            if served["redirect"]:
                self.send_header("location", served["redirect"])
            self.end_headers()
            self.wfile.write(served["content"])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/keys", served
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_are_fetched_once_and_again_for_an_unknown_one(
    provider: Provider, address: tuple[str, dict[str, Any]]
) -> None:
    url, served = address
    tokens = Tokens(part(url, inside=True))
    for _ in range(3):
        assert isinstance(tokens.find(provider.sign("r")), Caller)
    assert served["asked"] == 1
    assert tokens.find(provider.sign("e")) == UNKNOWN_KEY
    assert not tokens.may_refresh()  # it was read just now
    served["content"] = provider.key_set("r", "e")
    tokens.refresh()
    assert isinstance(tokens.find(provider.sign("e")), Caller)
    served["redirect"] = url
    tokens.refresh()
    assert "302" in tokens.failed
    served["redirect"], served["content"] = "", b" " * (2 << 20)
    tokens.refresh()
    assert "over 1048576 bytes" in tokens.failed
    assert isinstance(tokens.find(provider.sign("e")), Caller)


def test_settings_that_are_not_safe_are_refused() -> None:
    for wrong in (
        {"algorithms": ("HS256",)},
        {"algorithms": ("none",)},
        {"algorithms": ()},
        {"keys": "http://id.example/keys"},
        {"keys": "http://id.example/keys", "inside": True},
        {"keys": "http://127.0.0.1/keys"},
        {"keys": "http://[::/keys", "inside": True},
        {"keys": "ftp://id.example/keys"},
        {"keys": "file:" + "///etc/passwd"},
        {"audience": ""},
        {"leeway_s": 100_000},
    ):
        with pytest.raises(ValidationError):
            part(**{"keys": "keys.json", **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="leave one of them out"):
        AuthPart(required=False, tokens=part("keys.json"))
