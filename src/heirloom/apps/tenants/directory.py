"""Directory: whose key or token a request shows. It opens nothing: the tenant's own door does."""

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from heirloom.apps.security.keys import KeysFile, WatchedKeys, is_key
from heirloom.apps.security.tokens import MAX_TOKEN
from heirloom.apps.settings import Settings

KEPT = 10_000
"""Keys whose tenant is remembered."""


class Directory:
    """Tenants by what they have handed out.

    A key is looked for in the files of all, so that one that was added is found at once; only one
    whose secret fits counts, so that nobody is sent to a tenant by an id alone. A token says itself
    whose it is, and its tenant checks whether that is true.

    Args:
        tenants: settings by name.
        clock: ms since 1970 UTC.
    """

    def __init__(
        self,
        tenants: Mapping[str, Settings],
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._clock = clock
        self._keys = {
            name: WatchedKeys(KeysFile(Path(settings.system.folder)))
            for name, settings in tenants.items()
        }
        self._tokens = {
            (part.issuer, part.audience): name
            for name, settings in tenants.items()
            if (part := settings.http.auth.tokens) is not None
        }
        self._last: dict[str, str] = {}

    def tenant(self, shown: str) -> str:
        """Whose it is; '' where no tenant knows it."""
        return self._of_key(shown) if is_key(shown) else self._of_token(shown)

    def _of_key(self, shown: str) -> str:
        key_id = shown.split("_", 2)[1][:64]
        before = self._last.get(key_id, "")
        # An expired or revoked one is its tenant's too, who says what it is.
        for name in (before, *self._keys) if before else self._keys:
            if self._keys[name].table().find(shown, self._clock()) != "unknown":
                if len(self._last) >= KEPT:
                    self._last.clear()
                self._last[key_id] = name
                return name
        return ""

    def _of_token(self, shown: str) -> str:
        claims = _claims(shown) if self._tokens else {}
        issuer, told = claims.get("iss"), claims.get("aud")
        for audience in told if isinstance(told, list) else [told]:
            name = self._tokens.get((str(issuer), str(audience)))
            if name is not None:
                return name
        return ""


def _claims(token: str) -> dict[str, Any]:
    """What a token says of itself, which nobody has checked; nothing where it is none."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN:
        return {}
    try:
        packed = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(packed, type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return {}
