"""From candidates to what was shown: Candidates, FeatureBatch, Slate, SlateRecord."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError

AHEAD_OF_LOG = "state"
"""Name of the step that `Degraded` names where a write to the log failed half-way: what answers
may hold more than the log, so `n` does not say what was known."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Listings that a retriever proposes, best first, without duplicates.

    Attributes:
        slots: [candidates] int32.
        scores: [candidates] float32; comparable within one retriever only.
        sources: [candidates] uint32, bit i set if `names[i]` proposed it.
        names: the retrievers' names.
        unfinished: names of those that ran out of time: theirs are the best found so far.
    """

    slots: NDArray[np.int32]
    scores: NDArray[np.float32]
    sources: NDArray[np.uint32]
    names: tuple[str, ...]
    unfinished: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.slots) == len(self.scores) == len(self.sources):
            raise ShapeError(
                f"Candidates: slots [{len(self.slots)}], scores [{len(self.scores)}] and "
                f"sources [{len(self.sources)}] must have one length"
            )

    @classmethod
    def of(
        cls,
        name: str,
        slots: NDArray[np.int32],
        scores: NDArray[np.float32],
        *,
        complete: bool = True,
    ) -> "Candidates":
        """From one retriever; not `complete` where it ran out of time."""
        unfinished = () if complete else (name,)
        return cls(slots, scores, np.ones(len(slots), dtype=np.uint32), (name,), unfinished)

    @classmethod
    def none(cls, name: str, *, complete: bool = True) -> "Candidates":
        """Nothing found."""
        return cls.of(name, np.zeros(0, np.int32), np.zeros(0, np.float32), complete=complete)

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Candidates":
        """The candidates at these rows, in their order."""
        return Candidates(
            self.slots[rows], self.scores[rows], self.sources[rows], self.names, self.unfinished
        )

    def named(self) -> list[tuple[str, ...]]:
        """[candidates] names of the retrievers that proposed each, as `sources_of` gives them."""
        bits = self.sources.tolist()
        told = {
            mine: tuple(name for i, name in enumerate(self.names) if mine >> i & 1)
            for mine in set(bits)
        }
        return [told[mine] for mine in bits]

    def sources_of(self, row: int) -> tuple[str, ...]:
        """Names of the retrievers that proposed a row."""
        bits = int(self.sources[row])
        return tuple(name for i, name in enumerate(self.names) if bits >> i & 1)


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of candidates for one query.

    Attributes:
        values: [candidates, features] float32; NaN = missing.
        columns: names with the view's version, as `view@version.feature`.
        n: log offset already applied to the state that answered.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]
    n: int

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise ShapeError(
                f"FeatureBatch: values have shape {list(self.values.shape)}; "
                f"wanted [candidates, features={len(self.columns)}]"
            )


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """A rule of the slate that acted on a listing: the place, from 0, that it had and was given.

    Places are those in the order of all candidates. One that was only passed by others, or made
    way for them, has no record of it.
    """

    rule: str
    before: int
    after: int


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """Why a listing is on the slate, in words, and what they rest on.

    Attributes:
        words: for the person who is shown it.
        group: the group of features that is among the strongest for this listing; empty where the
            words rest on the source alone.
        source: the retriever that proposed it for this reason; empty where it was the ranking.
    """

    words: str
    group: str = ""
    source: str = ""

    def __str__(self) -> str:
        return self.words


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """One listing of a slate."""

    listing: str
    position: int
    score: float
    sources: tuple[str, ...]
    reasons: tuple[Reason, ...]
    propensity: float = 1.0
    """Chance of this listing at this position, given the candidates and those shown above it. The
    product over a slate is the chance of the slate; 1 where nothing was drawn."""
    moved: tuple[Moved, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ShownList(Sequence[Shown]):
    """The listings of a slate in their order, as columns.

    A slate is made deep for pages that few people turn to; a Shown is made when it is asked for.

    Attributes:
        listings: ids.
        scores: of each.
        sources: of each, names of the retrievers that proposed it.
        reasons: of the first so many; the others have none.
        propensities, moved: of each, as in Shown.
    """

    listings: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sources: list[tuple[str, ...]] = field(default_factory=list)
    reasons: list[tuple[Reason, ...]] = field(default_factory=list)
    propensities: list[float] = field(default_factory=list)
    moved: list[tuple[Moved, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, shown: Iterable[Shown]) -> "ShownList":
        """Of listings whose positions count from 0."""
        every = list(shown)
        return cls(
            listings=[each.listing for each in every],
            scores=[each.score for each in every],
            sources=[each.sources for each in every],
            reasons=[each.reasons for each in every],
            propensities=[each.propensity for each in every],
            moved=[each.moved for each in every],
        )

    def __len__(self) -> int:
        return len(self.listings)

    @overload
    def __getitem__(self, place: int) -> Shown: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Shown, ...]: ...

    def __getitem__(self, place: int | slice) -> Shown | tuple[Shown, ...]:
        if isinstance(place, slice):
            return tuple(map(self._at, range(len(self))[place]))
        return self._at(range(len(self))[place])

    def __iter__(self) -> Iterator[Shown]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _at(self, place: int) -> Shown:
        return Shown(
            self.listings[place],
            place,
            self.scores[place],
            self.sources[place],
            self.reasons[place] if place < len(self.reasons) else (),
            self.propensities[place],
            self.moved[place],
        )


class Degraded(msgspec.Struct, frozen=True):
    """A step that answered with less than was asked of it, and why.

    Attributes:
        step: of the request.
        reason: for a person to read.
        cause: the same as one of few words, for a counter; `pipelines.ladder` has them.
        rung: what answered instead, of `pipelines.ladder.RUNGS`; empty where it is as good.
    """

    step: str
    reason: str
    cause: str = ""
    rung: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """What a slate's explanations rest on.

    Attributes:
        candidates: how many were ranked.
        usual: [features] float32, what is usual among them; None where nothing was ranked.
        beside: [shown] float32, what retrieval's own score adds to each score; None for nothing.
        beside_usual: the same of the candidate in the middle.
        told: reasons are given of the first so many listings shown.
        contributions: [told, groups] float32, of these; None where nothing was ranked.
    """

    candidates: int = 0
    usual: NDArray[np.float32] | None = None
    beside: NDArray[np.float32] | None = None
    beside_usual: float = 0.0
    told: int = 0
    contributions: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """The ordered listings shown for one query.

    `slots` are the same listings as `shown`, as row numbers; `features` are the values that
    were used, in the order of `shown`; `remaining` is how many more candidates stand behind it.
    `worth` is what the slate is expected to gain by the order of scores alone ("score"), and after
    each rule that ran (`slates.compose.worth`): what it says less than the step before is that
    rule's cost. Empty where no rule ran.
    """

    slate_id: str
    policy: str
    shown: ShownList
    slots: NDArray[np.int32]
    features: FeatureBatch | None
    candidates_hash: str
    t: int
    n: int
    remaining: int = 0
    degraded: tuple[Degraded, ...] = ()
    bundle: str = ""
    timings_us: dict[str, int] = field(default_factory=dict)
    worth: dict[str, float] = field(default_factory=dict)
    why: Why = field(default_factory=Why)


class SlateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the server writes for each slate. Read by parity, evaluation and audit."""

    slate_id: str
    t: int
    n: int
    policy: str
    bundle: str
    surface: str
    user: str | None
    session: str | None
    text: str
    anchor: str | None
    request: bytes
    """The Query as msgpack."""
    candidates_hash: str
    listings: tuple[str, ...]
    positions: tuple[int, ...]
    propensities: tuple[float, ...]
    columns: tuple[str, ...]
    features: bytes
    """[shown, features] little-endian float32, packed."""
    degraded: tuple[str, ...] = ()
