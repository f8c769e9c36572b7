"""Sessions: a browser that has shown a key once shows a cookie from then on.

A cookie names a key by its id, never its secret, until when it stands, and is signed with a secret
of this run; so all workers know it, and none keeps a list. What it opens is asked of the key with
each request: a key that was revoked opens nothing, in a session neither. Sessions that were ended
by their owner are remembered in memory that all processes forked from here map.
"""

import hashlib
import hmac
import mmap
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

COOKIE: Final = "heirloom_console"
LASTS_S: Final = 8 * 3_600
"""A working day; then the key is shown again."""
_ENDED: Final = 1_024
"""So many ended sessions are remembered; as many must be signed out of in a working day before one
is forgotten that still stands."""
_FORM = re.compile(r"([0-9a-f]{12})\.([0-9]{1,12})\.([0-9a-f]{16})\.([0-9a-f]{64})")


class Sessions:
    """Sessions of one door. Made before the fork, its processes share them.

    Args:
        clock: s since 1970 UTC.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._secret = secrets.token_bytes(32)
        self._clock = clock
        mapped = mmap.mmap(-1, 8 * (_ENDED + 1))
        self._ended: NDArray[np.uint64] = np.frombuffer(mapped, np.uint64)

    def begin(self, key_id: str) -> str:
        """The cookie of a new session of a key."""
        until = int(self._clock()) + LASTS_S
        said = f"{key_id}.{until}.{secrets.token_hex(8)}"
        return f"{said}.{self._mark('session', said)}"

    def key_id(self, cookie: str) -> str | None:
        """The key whose session it is; None where it is none, is over, or was ended."""
        found = _FORM.fullmatch(cookie)
        if found is None:
            return None
        key_id, until, number, mark = found.groups()
        said = cookie.rpartition(".")[0]
        if not hmac.compare_digest(mark, self._mark("session", said)):
            return None
        if self._clock() >= int(until) or np.uint64(int(number, 16)) in self._ended[1:]:
            return None
        return key_id

    def end(self, cookie: str) -> None:
        """It opens nothing from now on, in no process."""
        if self.key_id(cookie) is None:
            return
        at = int(self._ended[0])
        self._ended[1 + at % _ENDED] = int(cookie.split(".")[2], 16)
        self._ended[0] = at + 1

    def form_token(self, cookie: str) -> str:
        """What the forms of a session's pages carry, and another site's cannot know."""
        return self._mark("form", cookie)

    def is_form_of(self, cookie: str, token: str) -> bool:
        """Whether a form comes from a page of this session."""
        return hmac.compare_digest(token.encode(), self.form_token(cookie).encode())

    def _mark(self, what: str, said: str) -> str:
        text = f"{what}:{said}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
