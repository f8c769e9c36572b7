"""Study: what proposes settings of a ranker, and keeps what came of them."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What came of some settings.

    Attributes:
        number: its place among the trials that came to an end, from 0; the defaults are trial 0.
        settings: that were tried, by name.
        state: complete: judged on all folds; pruned: on some, and not promising; failed: `fit`
            refused them.
        value: mean NDCG@10 of the folds it was judged on; None where it failed.
        folds: NDCG@10 of each.
        seconds: wall time.
        reason: of a failure.
    """

    number: int
    settings: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    folds: tuple[float, ...]
    seconds: float
    reason: str = ""


class Study(Protocol):
    """Proposes settings, and keeps on disk what came of them. One process at a time."""

    def ask(self) -> tuple[int, dict[str, Any]]:
        """The next trial's number and settings; the first are the defaults.

        They depend on the seed and the trials before alone. A trial that was asked for and never
        came to an end is asked for again.
        """

    def hopeless(self, folds: Sequence[float]) -> bool:
        """Told the folds of the trial asked for so far: whether the rest can be spared."""

    def tell(self, trial: Trial) -> None:
        """Keep the end of the trial asked for last; durable when it returns."""

    def trials(self) -> list[Trial]:
        """All that came to an end, by number."""

    def interrupted(self) -> int:
        """How many were asked for and never came to an end."""

    def importance(self) -> dict[str, float]:
        """How much each setting matters, shares of 1; empty where too few trials tell."""
