"""Training of encoders, from top to bottom: log → listings and histories → fit → two encoders.

A listing stands as it was written when somebody acted on it: each edit is a row of its own, live
from the edit on. What a person did is foretold from what they had done before, against listings
that could be found at that moment.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, SURFACE_CODE, Event, Kind, person_key
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.encoders.history import Histories
from heirloom.encoders.listing import About as AboutListings
from heirloom.encoders.listing import ListingEncoder
from heirloom.encoders.modalities import Modality, dense, told
from heirloom.encoders.person import About as AboutPeople
from heirloom.encoders.person import PersonEncoder
from heirloom.encoders.tokens import PriceRanks, tokens_of
from heirloom.encoders.training.fit import Epoch, Recipe, fit
from heirloom.encoders.training.graph import listing_graph, person_graph
from heirloom.encoders.training.listing import ListingTower
from heirloom.encoders.training.objective import Lifetimes, Sampling
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.towers import vectors_of
from heirloom.evaluation.split import moment

ACTIONS = frozenset({Kind.CLICK, Kind.SAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE})
"""What says that somebody wanted a listing."""
_GONE = frozenset({Kind.SOLD, Kind.REMOVED, Kind.RESERVED})
ACTION_WEIGHTS = tuple(
    {Kind.CLICK: 1.0, Kind.SAVE: 2.0, Kind.MESSAGE: 3.0, Kind.OFFER: 4.0, Kind.PURCHASE: 4.0}.get(
        kind, 0.0
    )
    for kind in Kind
)
"""Worth of an action as what is foretold, by code of its kind."""
LEAST_COLD = 50
FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Asked:
    """Actions to be foretold.

    Attributes:
        histories: what was done before each, one "person" an action.
        targets: [actions] int64, the row acted on.
        t: [actions] int64, ms.
    """

    histories: Histories
    targets: NDArray[np.int64]
    t: NDArray[np.int64]

    def only(self, kept: NDArray[np.bool_]) -> "Asked":
        """Those of a mask [actions]."""
        sizes = np.diff(self.histories.starts)
        events = np.flatnonzero(np.repeat(kept, sizes))
        histories = self.histories.taken(events, sizes[kept])
        return Asked(histories, self.targets[kept], self.t[kept])


@dataclass(frozen=True, slots=True)
class Captured:
    """A log as the encoders learn from it.

    Attributes:
        listings: [rows - 1], what was written; row i of a tower is listings[i - 1].
        begin, end: [rows] int64, ms: from when and until when each could be found. Row 0 never.
        people: [people], keys of `core.event.person_key`.
        histories: what each of them did, in the log's order; items are rows.
    """

    listings: tuple[Listing, ...]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    people: tuple[str, ...]
    histories: Histories

    def before(self, t: int) -> Histories:
        """The people's histories up to a moment, those who had none by then left out."""
        kept = np.flatnonzero(self.histories.t < t)
        counts = np.bincount(self.histories.owners()[kept])
        return self.histories.taken(kept, counts[counts > 0])

    def actions(self, from_t: int, to_t: int, most: int, seed: int = 0) -> Asked:
        """Actions of [from_t, to_t) on listings not acted on before, at most `most`, drawn evenly.

        Only of people who had done something, earlier than that very moment.
        """
        histories = self.histories
        first = histories.starts[histories.owners()]
        inside = np.flatnonzero((histories.t >= from_t) & (histories.t < to_t))
        fresh = [
            i
            for i in inside.tolist()
            if (histories.t[first[i] : i] < histories.t[i]).any()
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
        return Asked(before, histories.items[chosen], histories.t[chosen])

    def places(
        self, asked: Asked, people: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """[actions] int64, the place from 1 of what was acted on, among all live at that moment.

        Args:
            asked: the actions.
            people: [actions, vectors, dim], of those who acted.
            vectors: [rows or fewer, dim], of what was written.
        """
        found = np.zeros(len(asked.targets), np.int64)
        rows = len(vectors)
        for i, (target, t) in enumerate(zip(asked.targets.tolist(), asked.t.tolist(), strict=True)):
            live = (self.begin[:rows] <= t) & (t < self.end[:rows])
            scores = (vectors @ people[i].T).max(axis=1)
            found[i] = 1 + int((scores[live] > scores[target]).sum())
        return found


@dataclass(slots=True)
class _Reader:
    """Folds entries; a listing's row changes with each edit."""

    listings: list[Listing] = field(default_factory=list)
    begin: list[int] = field(default_factory=lambda: [FOREVER])
    end: list[int] = field(default_factory=lambda: [FOREVER])
    row: dict[str, int] = field(default_factory=dict)
    acts: dict[str, list[tuple[int, int, int, int]]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        kind = event.kind
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
        elif kind in ACTIONS and (person := person_key(event.user, event.session)):
            surface = SURFACE_CODE.get(event.surface or "", 0)
            act = (self.row[event.listing], KIND_CODE[kind], surface, event.t)
            self.acts.setdefault(person, []).append(act)

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
            f"acted on one; wanted any of {', '.join(sorted(ACTIONS))}"
        )
    acts = [act for done in reader.acts.values() for act in done]
    columns = np.array(acts, np.int64).reshape(-1, 4)
    return Captured(
        listings=tuple(reader.listings),
        begin=np.array(reader.begin, np.int64),
        end=np.array(reader.end, np.int64),
        people=tuple(reader.acts),
        histories=Histories(
            starts=np.cumsum([0, *(len(done) for done in reader.acts.values())]).astype(np.int64),
            items=columns[:, 0],
            kinds=columns[:, 1].astype(np.int8),
            surfaces=columns[:, 2].astype(np.int8),
            t=columns[:, 3],
        ),
    )


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """How to fit a listing encoder and a person encoder together.

    Attributes:
        dim: of both.
        buckets: hash buckets of listings' tokens.
        validation: share of the actions before the cut, the latest in time, held out to choose
            the epoch by.
        judged: at most so many of them are looked at, drawn evenly.
        drop: share of a listing's parts left out at random in training.
        dropout: in the person encoder.
        vectors: of a person.
        fit: the loop's own recipe.
    """

    dim: int = 64
    buckets: int = 1 << 15
    validation: float = 0.1
    judged: int = 1_000
    drop: float = 0.2
    dropout: float = 0.2
    vectors: int = 1
    fit: Recipe = field(
        default_factory=lambda: Recipe(
            rows=64,
            epochs=30,
            patience=4,
            learning_rate=2e-3,
            average=0.99,
            sampling=Sampling(uniform=1024, weights=ACTION_WEIGHTS),
        )
    )


def train_encoders(
    captured: Captured,
    until_t: int,
    recipe: EncoderRecipe,
    *,
    modalities: Sequence[Modality] = (),
    file: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
) -> tuple[ListingEncoder, PersonEncoder, tuple[Epoch, ...]]:
    """Both encoders, fitted on what was known and done before a moment.

    Args:
        captured: the log.
        until_t: ms; nothing from then on is looked at, neither actions nor listings.
        recipe: how.
        modalities: models of photos or text, trained already, whose vectors the tower reads too.
        file: where checkpoints go, and are taken up from.
        progress: told after each epoch.

    Returns:
        The encoders as they serve, and what was told of each epoch. Validation is NDCG without a
        cut of the held-out actions on listings that came after those learned from; of all
        held-out actions, where fewer than LEAST_COLD were on such.

    Raises:
        InputError: if too little was done before `until_t`.
    """
    read = told(modalities)
    histories = captured.before(until_t)
    split_t = moment(histories.t, 1 - recipe.validation)
    known = int((captured.begin[1:] < until_t).sum())
    listings = captured.listings[:known]
    prices = PriceRanks.learned(listings[: int((captured.begin[1:] < split_t).sum())])
    torch.manual_seed(recipe.fit.seed)
    tower = ListingTower(
        tokens_of(listings, recipe.buckets, prices), recipe.buckets, recipe.dim, drop=recipe.drop,
        dense=[dense(modality, listings) for modality in modalities],
    )  # fmt: skip
    shape = Shape(dim=recipe.dim, unit=True, vectors=recipe.vectors)
    model = PersonModel(shape, dropout=recipe.dropout)
    held_out = captured.actions(split_t, until_t, recipe.judged)
    cold = captured.begin[held_out.targets] >= split_t
    judged = held_out.only(cold) if cold.sum() >= LEAST_COLD else held_out

    def validate() -> float:
        person = PersonEncoder(person_graph(model), _about(shape, "validated"))
        vectors = vectors_of(tower).numpy()
        people = person.encode(judged.histories, vectors[judged.histories.items])
        places = captured.places(judged, people, vectors)
        return float((1 / np.log2(places + 1)).mean()) if len(places) else 0.0

    epochs = fit(
        model,
        tower,
        captured.before(split_t),
        recipe.fit,
        validate,
        lifetimes=Lifetimes(captured.begin[: known + 1], captured.end[: known + 1]),
        file=file,
        progress=progress,
    )
    about = AboutListings(
        dim=recipe.dim, buckets=recipe.buckets, deciles=prices.deciles,
        modalities=read or msgspec.UNSET,
    )  # fmt: skip
    encoder = ListingEncoder(listing_graph(tower), about, modalities)
    return encoder, PersonEncoder(person_graph(model), _about(shape, encoder.model_id)), epochs


def _about(shape: Shape, listings: str) -> AboutPeople:
    return AboutPeople(dim=shape.dim, vectors=shape.vectors, events=shape.events, listings=listings)
