"""API keys: made, kept as digests in the system's folder, and told apart in microseconds.

A key is `hlm_ID_SECRET`. The id finds its row; of the secret the file keeps SHA-256 alone. A slow
hash (argon2, scrypt) makes guessing a *password* dear; a secret of 256 random bits cannot be
guessed at any speed, and each request would pay for the slowness.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from heirloom.apps.security.caller import SCOPES, Allowance, Caller, Scope
from heirloom.core.errors import InputError, StoreError

FILE = "keys.json"
_PREFIX = "hlm"
_NAME = re.compile(r"[\w][\w .:@/-]{0,63}")
_NOBODY = "0" * 64


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key, as the file keeps it. Nothing in it opens a door."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the secret, hex."""
    made_at: int
    """ms since 1970 UTC."""
    expires_at: int | None = None
    """From this ms on it opens nothing."""
    revoked_at: int | None = None
    per_second: float | None = None
    """Its own allowance in place of the system's; 0: no limit."""
    burst: int = 1

    def standing(self, now_ms: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and now_ms >= self.expires_at
        return "expired" if expired else "active"


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    keys: tuple[Key, ...]


class KeysFile:
    """The keys of one system: read, and changed by one command at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> tuple[Key, ...]:
        """All keys, oldest first; none where there is no file.

        Raises:
            StoreError: the file cannot be read or is no keys file.
        """
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error}). Put back a good copy, or delete it and "
                "make new keys by `heirloom keys add`"
            ) from None
        if content.format != 1:
            raise StoreError(f"{self.path}: format {content.format}; this version knows 1")
        return content.keys

    def add(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        now_ms: int,
        expires_at: int | None = None,
        allowance: Allowance | None = None,
    ) -> tuple[Key, str]:
        """A new key, durable; and what opens the door, which is kept nowhere.

        Raises:
            InputError: the name or a scope is none, or an active key has that name.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"keys: {name!r} is no name; wanted 1 … 64 letters, digits, - . : @ /")
        wrong = [scope for scope in scopes if scope not in SCOPES]
        if wrong or not scopes:
            came = ", ".join(wrong) or "none"
            raise InputError(f"keys: scope {came}; wanted one or more of {', '.join(SCOPES)}")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = Key(
            key_id=key_id,
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            digest=_digest(secret),
            made_at=now_ms,
            expires_at=expires_at,
            per_second=None if allowance is None else allowance.per_second,
            burst=1 if allowance is None else allowance.burst,
        )
        with self._alone():
            keys = self.read()
            if any(each.name == name and each.standing(now_ms) == "active" for each in keys):
                raise InputError(
                    f"keys: {name!r} has an active key; to rotate it, add one of another name, "
                    "let its user change over, then revoke the old one"
                )
            self._write((*keys, key))
        return key, f"{_PREFIX}_{key_id}_{secret}"

    def revoke(self, which: str, *, now_ms: int) -> Key:
        """The key of this name or id, which from now on opens nothing.

        Raises:
            InputError: no key that is not revoked already has it.
        """
        with self._alone():
            keys = list(self.read())
            for place in reversed(range(len(keys))):
                key = keys[place]
                if key.revoked_at is None and which in (key.name, key.key_id):
                    keys[place] = msgspec.structs.replace(key, revoked_at=now_ms)
                    self._write(keys)
                    return keys[place]
        raise InputError(f"keys: none called {which!r} to revoke; `heirloom keys list` has them")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, keys: Sequence[Key]) -> None:
        """Whole or not at all, readable by its owner alone."""
        content = msgspec.json.format(msgspec.json.encode(_Content(1, tuple(keys))), indent=1)
        unfinished = self.path.with_suffix(".json.tmp")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)


class KeyTable:
    """Keys by id, to be asked with each request."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}
        self._callers = {key.key_id: _caller(key) for key in keys}

    def active(self, now_ms: int) -> int:
        """How many open the door now."""
        return sum(key.standing(now_ms) == "active" for key in self._keys.values())

    def find(self, shown: str, now_ms: int) -> Caller | str:
        """Who shows this key; or why it opens nothing: unknown, expired, revoked."""
        key_id = id_of(shown)
        key, secret = self._keys.get(key_id), shown.partition("_")[2].partition("_")[2]
        wanted = _NOBODY if key is None else key.digest
        same = hmac.compare_digest(_digest(secret), wanted)
        return self.of_id(key_id, now_ms) if same else "unknown"

    def of_id(self, key_id: str, now_ms: int) -> Caller | str:
        """Whose key has this id, where its secret was seen before; or why it opens nothing."""
        key = self._keys.get(key_id)
        if key is None:
            return "unknown"
        standing = key.standing(now_ms)
        return self._callers[key_id] if standing == "active" else standing


def id_of(shown: str) -> str:
    """The id that a key names; '' where it has not the form of one.

    >>> id_of("hlm_0123456789ab_secret"), id_of("secret")
    ('0123456789ab', '')
    """
    prefix, _, rest = shown.partition("_")
    return rest.partition("_")[0] if prefix == _PREFIX else ""


def is_key(shown: str) -> bool:
    """Whether it has the form of a key, so that it is not tried as a token.

    >>> is_key("hlm_12ab_x"), is_key("eyJhbGciOiJub25lIn0.e30.")
    (True, False)
    """
    return shown.startswith(f"{_PREFIX}_")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _caller(key: Key) -> Caller:
    own = None if key.per_second is None else Allowance(key.per_second, key.burst)
    return Caller(key.name, f"key:{key.key_id}", frozenset(key.scopes), own)


class WatchedKeys:
    """The table of a keys file, read again as soon as the file is another.

    A request pays one `stat`: a key that was revoked opens nothing from the next request on, in
    every process. Where the file went, no key opens; where it cannot be read, those last read
    stand, and `failed` says so.
    """

    def __init__(self, file: KeysFile) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._table = KeyTable()
        self.failed = ""

    def table(self) -> KeyTable:
        """As the file stands now."""
        try:
            found = os.stat(self._file.path)
            now = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            now = None
        if now == self._seen:
            return self._table
        try:
            self._table, self.failed = KeyTable(self._file.read()), ""
        except StoreError as error:
            self.failed = str(error)
        self._seen = now
        return self._table
