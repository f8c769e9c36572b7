"""Bearer tokens of an identity provider: JWTs (RFC 7519), checked by its public keys.

What RFC 8725 warns of is refused: a token never chooses how it is checked. Algorithms are those of
the settings, all asymmetric; each public key is bound to one of them when it is read; `jku`, `x5u`
and `jwk` in a header are not looked at.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from heirloom.apps.security.caller import SCOPES, Caller
from heirloom.apps.security.fetch import fetch
from heirloom.apps.security.settings import TokensPart
from heirloom.core.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

MAX_TOKEN = 8_192
"""Characters of a token."""
MAX_KEY_SET = 1 << 20
"""Bytes of a set of public keys."""
KEPT = 10_000
"""Tokens found good that are not checked anew until they expire."""
AT_MOST_EVERY_S = 10.0
"""A key that nobody knows makes the set be fetched again, no oftener than this."""
UNKNOWN_KEY = "unknown key"
_FETCH_S = 5.0


def read_key_set(source: str, *, inside: bool = False) -> bytes:
    """The provider's public keys as JSON, from a file or an address.

    Args:
        source: of them.
        inside: an address may be of this machine or of a network of one's own.

    Raises:
        StoreError: it cannot be had, or is longer than 1 MiB.
    """
    if "://" in source:
        try:
            return fetch(source, limit=MAX_KEY_SET, timeout_s=_FETCH_S, inside=inside)
        except StoreError as error:
            raise StoreError(f"tokens: {error}") from error
    try:
        with Path(source).open("rb") as file:
            content = file.read(MAX_KEY_SET + 1)
    except OSError as error:
        raise StoreError(f"tokens: {source} cannot be read ({error})") from error
    if len(content) > MAX_KEY_SET:
        raise StoreError(f"tokens: {source} is over {MAX_KEY_SET} bytes; no set of keys is")
    return content


def public_keys(content: bytes, algorithms: tuple[str, ...]) -> dict[str, Any]:
    """The keys of a set (RFC 7517 section 5) that may check a token, each bound to an algorithm.

    Symmetric keys, keys for encryption and those of other algorithms are left out.

    Raises:
        StoreError: it is no set of keys.
    """
    import jwt

    try:
        listed = msgspec.json.decode(content, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"tokens: the set of keys is no JSON object ({error})") from error
    if not isinstance(listed, list):
        raise StoreError('tokens: the set of keys has no list "keys"')
    found: dict[str, Any] = {}
    for each in listed:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue  # a set may hold what this library does not know
        if key.algorithm_name in algorithms:
            found[str(each.get("kid", ""))] = key
    return found


class Tokens:
    """Who a token is, by the settings of one system.

    Raises:
        ConfigError: the extra `jwt` is not installed.
    """

    def __init__(self, part: TokensPart, *, clock: Callable[[], float] = time.time) -> None:
        try:
            import cryptography  # noqa: F401
            import jwt  # noqa: F401
        except ImportError:
            raise ConfigError(
                "http.auth.tokens", ["tokens need a library: pip install 'heirloom[jwt]'"]
            ) from None
        self._part = part
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._read_at = float("-inf")
        self._file: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self.failed = ""
        self.refresh()

    def refresh(self) -> None:
        """Read the public keys again; where they cannot be had, those last read stand."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._read_at = time.monotonic()
            read = read_key_set(self._part.keys, inside=self._part.inside)
            keys = public_keys(read, self._part.algorithms)
            self._keys, self._known, self.failed = keys, {}, ""
        except StoreError as error:
            self.failed = str(error)
            log.warning("%s; the keys last read stand", error)
        finally:
            self._lock.release()

    def may_refresh(self) -> bool:
        """Whether an unknown key is worth fetching the set again."""
        return time.monotonic() - self._read_at > AT_MOST_EVERY_S

    def find(self, token: str) -> Caller | str:
        """Who bears this token; or why it is refused."""
        self._keep_fresh()
        mark = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(mark)
        if known is not None and self._clock() < known[1]:
            return known[0]
        claims = self._claims(token)
        if isinstance(claims, str):
            return claims
        caller = _caller(claims, self._part)
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[mark] = caller, float(claims["exp"])
        return caller

    def _claims(self, token: str) -> Mapping[str, Any] | str:
        import jwt

        if len(token) > MAX_TOKEN:
            return "too long"
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._part.algorithms:
                return "algorithm"
            key = self._keys.get(str(header.get("kid", "")))
            if key is None:
                return UNKNOWN_KEY
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._part.algorithms),
                audience=self._part.audience,
                issuer=self._part.issuer,
                leeway=self._part.leeway_s,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.ExpiredSignatureError:
            return "expired"
        except jwt.InvalidAudienceError:
            return "audience"
        except jwt.InvalidIssuerError:
            return "issuer"
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return "unknown"
        return claims

    def _keep_fresh(self) -> None:
        """A file that changed is read at once; an address in the background, in time."""
        if "://" not in self._part.keys:
            try:
                found = os.stat(self._part.keys)
            except OSError:
                return
            now = (found.st_ino, found.st_mtime_ns)
            if self._file is not None and now != self._file:
                self.refresh()
            self._file = now
        elif time.monotonic() - self._read_at > self._part.refresh_s:
            self._read_at = time.monotonic()
            threading.Thread(target=self.refresh, name="public-keys", daemon=True).start()


def _caller(claims: Mapping[str, Any], part: TokensPart) -> Caller:
    said = claims.get(part.scope_claim, "")
    words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    given = {str(word).removeprefix(part.scope_prefix) for word in words
             if str(word).startswith(part.scope_prefix)}  # fmt: skip
    name = str(claims["sub"])[:64]
    scopes = frozenset(scope for scope in SCOPES if scope in given)
    return Caller(name, f"token:{claims['sub']}", scopes)
