"""Caller: who asks, once that is known, and what they may do."""

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["read", "events", "admin"]
"""read: slates, searches, listings. events: send events in. admin: all that is not for a
marketplace's own programs: metrics, the shop window, the console."""
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests of one caller: so many a second in the long run, so many at once.

    Attributes:
        per_second: refill of the bucket; 0 for no limit.
        burst: what the bucket holds, in requests; at least 1.
    """

    per_second: float = 0.0
    burst: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.per_second < 1e9 and self.burst >= 1):
            raise ValueError(
                f"{self.per_second} requests a second, {self.burst} at once; "
                "wanted 0 (no limit) or more, and at least 1 at once"
            )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: for logs and metrics; never a secret.
        bucket: what their requests are counted under.
        scopes: what they may do.
        allowance: how much of it; None: what the system grants everybody.
    """

    name: str
    bucket: str
    scopes: frozenset[Scope]
    allowance: Allowance | None = None


ANYONE = Caller("anyone", "", frozenset(SCOPES))
"""Who asks at a door that is open."""
STRANGER = Caller("stranger", "", frozenset())
"""Who asks without credentials, or with wrong ones, where none are needed."""
