"""Shop: what the HTTP door asks of a running system. `build.System` is one."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Query
from heirloom.core.slate import Reason, Shown, Slate
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.explain import Explained
from heirloom.pipelines.ingest import Arrivals
from heirloom.pipelines.ladder import Ladder
from heirloom.pipelines.policy import Policy


@dataclass(frozen=True, slots=True)
class Freshness:
    """What a process answers from, and how old that is. Times are ms since 1970 UTC, 0 for never.

    Attributes:
        n: log offset folded.
        acknowledged: log offset up to which events were acknowledged, by whatever process.
        newest_ms: when the newest event folded came in.
        snapshot_n: log offset of the latest snapshot.
        snapshot_ms: when it was written.
        policy: its name.
        bundle: its id; empty for none.
        index: the model that made the vectors that are searched.
    """

    n: int
    acknowledged: int
    newest_ms: int
    snapshot_n: int
    snapshot_ms: int
    policy: str
    bundle: str
    index: str


class Report(Protocol):
    """What became of the events of one sender, as in `pipelines.ingest.Report`."""

    received: int
    released: int
    taken: int
    duplicate: int
    held: int
    quarantined: int
    reasons: Counter[str]
    examples: dict[str, str]


class People(Protocol):
    """What is known of persons, by vocabulary code."""

    def recent(self, person: int) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
        """Slots [events], kind codes and times (ms) of the latest events, newest first."""

    def saved(self, person: int) -> NDArray[np.int32]:
        """[saved] slots that the person has saved."""

    def hidden(self, person: int) -> Set[int]:
        """Slots that the person does not want to see."""

    def blocked(self, person: int) -> Set[int]:
        """Seller codes that the person does not want to see."""


class Live(Protocol):
    """The state folded from the log."""

    n: int

    @property
    def catalogue(self) -> Catalogue:
        """Listings by slot."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The codes of all strings."""

    @property
    def people(self) -> People:
        """What is known of persons."""

    def standing(self, slots: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[slots] bool: whether the listing in each may be shown now."""

    def epoch(self) -> int:
        """How much was announced up to now about what may be shown."""

    def gone(self, slots: NDArray[np.int32], epoch: int) -> int:
        """How many of these listings were announced, up to an epoch, as not to be shown."""


class Shop(Protocol):
    """A running system, as the door sees it.

    The door calls it from one thread only, one call at a time.
    """

    @property
    def live(self) -> Live:
        """The state folded from the log."""

    @property
    def policy(self) -> Policy:
        """What decides a slate now."""

    def now_ms(self) -> int:
        """The system's clock, ms since 1970 UTC."""

    @property
    def ladder(self) -> Ladder:
        """The breakers of a slate's steps."""

    def catch_up(self) -> None:
        """Know all that is acknowledged by now, by whatever process."""

    def recommend(
        self, query: Query, *, reasons: int | None = None, deadline: int | None = None
    ) -> Slate:
        """The slate for a query, and its SlateRecord written; reasons of the first so many.

        By the deadline, ns of the monotonic clock, with what there was time for.
        """

    def popular(self, category: str, k: int) -> tuple[str, ...]:
        """Ids of at most k listings on sale below a category that many want, whoever asks."""

    def explain(self, query: Query, slate: Slate, shown: Sequence[Shown]) -> Sequence[Explained]:
        """Why each of these listings of a slate stands where it does."""

    def reasons(
        self, query: Query, slate: Slate, shown: Sequence[Shown]
    ) -> Sequence[tuple[Reason, ...]]:
        """Reasons of listings of a slate that has none for them yet."""

    def matching(self, text: str) -> NDArray[np.bool_]:
        """[slots] bool: the live listings that a search means by these words; maybe none."""

    @property
    def writes(self) -> bool:
        """Whether events are written to the log here, and not by another process for this one."""

    def ingest_group(self, group: Sequence[Arrivals]) -> Sequence[Report]:
        """Take in what several senders sent; durable on return. A report for each."""

    def ready(self) -> Mapping[str, object]:
        """With what it serves: live `listings`, `n`, `policy`, `bundle`."""

    def freshness(self) -> Freshness:
        """What it answers from, and how old that is; asked from any thread."""

    def records_lost(self) -> int:
        """Slate records that were to be written and were not, since the start."""

    def people_examples(self) -> list[tuple[str, str]]:
        """(user, a sentence about them) for a few people whom a visitor may become."""
