"""Captured: a log as the encoders learn from it, each listing as it was written at the moment.

A listing stands as it was written when somebody acted on it: each edit is a row of its own, live
from the edit on. What people asked when they acted (the surface, the words, the listing beside
which it stood, what they had stated till then) stands beside what they did, as a question.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import (
    ENGAGEMENT_KINDS,
    KIND_CODE,
    LETTER_KINDS,
    SURFACE_CODE,
    Event,
    Kind,
    Scalar,
    person_key,
)
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.encoders.history import Histories
from heirloom.encoders.question import MOST_WISHED, QuestionRows, Questions, asked_text, wished

_GONE = frozenset({Kind.SOLD, Kind.REMOVED, Kind.RESERVED})
FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Asked:
    """Actions to be foretold.

    Attributes:
        histories: what was done before each, one "person" an action.
        targets: [actions] int64, the row acted on.
        t: [actions] int64, ms.
        questions: what was asked at each.
    """

    histories: Histories
    targets: NDArray[np.int64]
    t: NDArray[np.int64]
    questions: QuestionRows

    def only(self, kept: NDArray[np.bool_]) -> "Asked":
        """Those of a mask [actions]."""
        sizes = np.diff(self.histories.starts)
        events = np.flatnonzero(np.repeat(kept, sizes))
        histories = self.histories.taken(events, sizes[kept])
        return Asked(histories, self.targets[kept], self.t[kept], self.questions.taken(kept))

    def asked(self, vectors: NDArray[np.float32]) -> Questions:
        """The questions, by vectors [rows, dim] of `Captured.written`, row 0 nothing."""
        return self.questions.questions(vectors)


@dataclass(frozen=True, slots=True)
class Captured:
    """A log as the encoders learn from it.

    Attributes:
        listings: [rows - 1], what was written; row i of a tower is listings[i - 1].
        begin, end: [rows] int64, ms: from when and until when each could be found. Row 0 never.
        people: [people], keys of `core.event.person_key`.
        histories: what each of them did, in the log's order; items are rows.
        questions: what was asked at each of these events; rows from `questions.items` on are
            those of `asked`.
        asked: what was asked, as listings: texts as titles, wishes as things that have them.
    """

    listings: tuple[Listing, ...]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    people: tuple[str, ...]
    histories: Histories
    questions: QuestionRows
    asked: tuple[Listing, ...]

    @property
    def written(self) -> tuple[Listing, ...]:
        """All that there are vectors of: row i of a tower is written[i - 1]."""
        return self.listings + self.asked

    def before(self, t: int) -> Histories:
        """The people's histories up to a moment, those who had none by then left out."""
        kept = np.flatnonzero(self.histories.t < t)
        counts = np.bincount(self.histories.owners()[kept])
        return self.histories.taken(kept, counts[counts > 0])

    def asked_before(self, t: int) -> QuestionRows:
        """What was asked at each event of `before`."""
        return self.questions.taken(self.histories.t < t)

    def actions(
        self, from_t: int, to_t: int, most: int, seed: int = 0, *, earlier: int = 1
    ) -> Asked:
        """Actions of [from_t, to_t) on listings not acted on before, at most `most`, drawn evenly.

        Only of people who had done `earlier` things before that very moment; 0: newcomers too.
        """
        histories = self.histories
        first = histories.starts[histories.owners()]
        inside = np.flatnonzero((histories.t >= from_t) & (histories.t < to_t))
        fresh = [
            i
            for i in inside.tolist()
            if (histories.t[first[i] : i] < histories.t[i]).sum() >= earlier
            and histories.items[i] not in histories.items[first[i] : i]
        ]
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(np.array(fresh, np.int64))[:most])
        pieces = [
            np.arange(first[i], i)[histories.t[first[i] : i] < histories.t[i]]
            for i in chosen.tolist()
        ]
        events = np.concatenate([*pieces, np.zeros(0, np.int64)]).astype(np.int64)
        sizes = np.array([len(piece) for piece in pieces], np.int64)
        before = histories.taken(events, sizes)
        return Asked(
            before, histories.items[chosen], histories.t[chosen], self.questions.taken(chosen)
        )

    def places(
        self, asked: Asked, people: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """[actions] int64, the place from 1 of what was acted on, among all live at that moment.

        Those of equal score stand before and behind it in equal parts: of somebody of whom
        nothing is known the middle is foretold.

        Args:
            asked: the actions.
            people: [actions, vectors, dim], of those who acted.
            vectors: [rows or fewer, dim], of what was written.
        """
        found = np.zeros(len(asked.targets), np.int64)
        rows = min(len(vectors), len(self.begin))
        for i, (target, t) in enumerate(zip(asked.targets.tolist(), asked.t.tolist(), strict=True)):
            live = (self.begin[:rows] <= t) & (t < self.end[:rows])
            scores = (vectors[:rows] @ people[i].T).max(axis=1)
            alike = int((scores[live] == scores[target]).sum())
            found[i] = 1 + int((scores[live] > scores[target]).sum()) + max(alike - 1, 0) // 2
        return found


@dataclass(slots=True)
class _Said:
    """What people stated and asked so far, each text and each wish with a number from 1."""

    texts: dict[str, int] = field(default_factory=dict)
    wishes: dict[tuple[Listing, ...], int] = field(default_factory=dict)
    stated: dict[str, dict[str, Scalar | list[str]]] = field(default_factory=dict)
    wish: dict[str, int] = field(default_factory=dict)
    """By person, of what they stated last."""
    slates: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By slate, the words it answers and the listing beside which it stands, where there are."""

    def take(self, event: Event) -> None:
        """Fold what was shown for which question, and what is preferred."""
        person = person_key(event.user, event.session)
        if event.kind == Kind.IMPRESSION and event.slate:
            anchor = event.listing or event.attributes.get("anchor")
            of = (event.text or "", anchor if isinstance(anchor, str) else "")
            if any(of):
                self.slates[event.slate] = of
        elif event.kind == Kind.PREFER and person:
            self.stated[person] = {**self.stated.get(person, {}), **event.attributes}
            said = wished(self.stated[person])
            self.wish[person] = self.wishes.setdefault(said, len(self.wishes) + 1) if said else 0

    def asked(self, event: Event) -> tuple[int, str, int]:
        """Of an action: number of its words, its anchor, and number of the person's wish."""
        text, anchor = self.slates.get(event.slate or "", ("", ""))
        if event.kind not in LETTER_KINDS:
            text = event.text or text
        number = self.texts.setdefault(text, len(self.texts) + 1) if text.strip() else 0
        return number, anchor, self.wish.get(person_key(event.user, event.session), 0)


@dataclass(slots=True)
class _Reader:
    """Folds entries; a listing's row changes with each edit."""

    listings: list[Listing] = field(default_factory=list)
    begin: list[int] = field(default_factory=lambda: [FOREVER])
    end: list[int] = field(default_factory=lambda: [FOREVER])
    row: dict[str, int] = field(default_factory=dict)
    acts: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    """By person: row, kind, surface, t; then text, row of the anchor, wish."""
    said: _Said = field(default_factory=_Said)

    def take(self, event: Event) -> None:
        kind = event.kind
        self.said.take(event)
        if kind in (Kind.LISTED, Kind.EDITED) and event.data is not None:
            self._write(event.data, event.t)
        elif event.listing is None or event.listing not in self.row:
            return
        elif kind == Kind.PRICE_CHANGED and event.price_minor is not None:
            before = self.listings[self.row[event.listing] - 1]
            self._write(msgspec.structs.replace(before, price_minor=event.price_minor), event.t)
        elif kind == Kind.RELEASED:
            self._write(self.listings[self.row[event.listing] - 1], event.t)
        elif kind in _GONE:
            row = self.row[event.listing]
            self.end[row] = min(self.end[row], event.t)
        elif kind in ENGAGEMENT_KINDS and (person := person_key(event.user, event.session)):
            surface = SURFACE_CODE.get(event.surface or "", 0)
            text, anchor, wish = self.said.asked(event)
            act = (self.row[event.listing], KIND_CODE[kind], surface, event.t)
            asked = (text, self.row.get(anchor, 0), wish)
            self.acts.setdefault(person, []).append(act + asked)

    def _write(self, listing: Listing, t: int) -> None:
        if listing.listing_id in self.row:
            earlier = self.row[listing.listing_id]
            self.end[earlier] = min(self.end[earlier], t)
        self.listings.append(listing)
        self.row[listing.listing_id] = len(self.listings)
        self.begin.append(t)
        self.end.append(FOREVER)


def capture(entries: Iterable[Entry]) -> Captured:
    """What a log says of listings and of people, as of each event.

    Raises:
        InputError: if nobody acted on a listing.
    """
    reader = _Reader()
    for entry in entries:
        reader.take(entry.event)
    if not reader.acts:
        raise InputError(
            f"train: the log's listings were written {len(reader.listings)} times, and nobody "
            f"acted on one; wanted any of {', '.join(sorted(ENGAGEMENT_KINDS))}"
        )
    acts = [act for done in reader.acts.values() for act in done]
    columns = np.array(acts, np.int64).reshape(-1, 7)
    questions, asked = _questions(columns, reader)
    return Captured(
        listings=tuple(reader.listings),
        begin=np.array(reader.begin, np.int64),
        end=np.array(reader.end, np.int64),
        people=tuple(reader.acts),
        histories=Histories(
            starts=np.cumsum([0, *(len(done) for done in reader.acts.values())]).astype(np.int64),
            items=columns[:, 0],
            kinds=columns[:, 1].astype(np.int8),
            # `People` keeps no surface: what serving cannot know is not learned from.
            surfaces=np.zeros(len(columns), np.int8),
            t=columns[:, 3],
        ),
        questions=questions,
        asked=asked,
    )


def _questions(
    columns: NDArray[np.int64], reader: _Reader
) -> tuple[QuestionRows, tuple[Listing, ...]]:
    """What was asked at each action, and what was written to ask it."""
    items = len(reader.listings) + 1
    asked = [asked_text(text) for text in reader.said.texts]
    rows = np.zeros((len(reader.said.wishes) + 1, MOST_WISHED), np.int64)
    for wish, number in reader.said.wishes.items():
        begin = items + len(asked)
        rows[number, : len(wish)] = np.arange(begin, begin + len(wish))
        asked += wish
    texts = columns[:, 4]
    questions = QuestionRows(
        surfaces=columns[:, 2].astype(np.int8),
        texts=np.where(texts > 0, texts - 1 + items, 0),
        anchors=columns[:, 5],
        wishes=columns[:, 6],
        wished=rows,
        items=items,
    )
    return questions, tuple(asked)
