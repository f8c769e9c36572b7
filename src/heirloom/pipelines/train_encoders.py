"""Training of encoders, from top to bottom: log → listings and histories → fit → two encoders.

A listing stands as it was written when somebody acted on it: each edit is a row of its own, live
from the edit on. What a person did is foretold from what they had done before, against listings
that could be found at that moment. What they asked with it (the surface, the words, the listing
beside which it stood, what they had stated till then) is read as a question of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch

from heirloom.core.event import Kind
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
from heirloom.pipelines.captured import FOREVER, Asked, Captured, capture

__all__ = [
    "ACTION_WEIGHTS", "FOREVER", "Asked", "Captured", "EncoderRecipe", "capture", "train_encoders",
]  # fmt: skip

ACTION_WEIGHTS = tuple(
    {Kind.CLICK: 1.0, Kind.SAVE: 2.0, Kind.MESSAGE: 3.0, Kind.OFFER: 4.0, Kind.PURCHASE: 4.0}.get(
        kind, 0.0
    )
    for kind in Kind
)
"""Worth of an action as what is foretold, by code of its kind."""
LEAST_COLD = 50


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
        questions: whether the person encoder reads what is asked, and learns from newcomers.
        unasked: share of the parts of questions left out at random in training.
        fit: the loop's own recipe.
    """

    dim: int = 64
    buckets: int = 1 << 15
    validation: float = 0.1
    judged: int = 1_000
    drop: float = 0.2
    dropout: float = 0.2
    vectors: int = 1
    questions: bool = True
    unasked: float = 0.2
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
    written = listings + captured.asked if recipe.questions else listings
    tower = ListingTower(
        tokens_of(written, recipe.buckets, prices), recipe.buckets, recipe.dim, drop=recipe.drop,
        dense=[dense(modality, written) for modality in modalities],
    )  # fmt: skip
    shape = Shape(
        dim=recipe.dim, unit=True, vectors=recipe.vectors, questions=recipe.questions
    )  # fmt: skip
    model = PersonModel(shape, dropout=recipe.dropout, unasked=recipe.unasked)
    questions = None
    if recipe.questions:
        questions = captured.asked_before(split_t).with_items(known + 1)
    earlier = 0 if recipe.questions else 1
    held_out = captured.actions(split_t, until_t, recipe.judged, earlier=earlier)
    cold = captured.begin[held_out.targets] >= split_t
    judged = held_out.only(cold) if cold.sum() >= LEAST_COLD else held_out

    def validate() -> float:
        person = PersonEncoder(person_graph(model), _about(shape, "validated"))
        vectors = vectors_of(tower).cpu().numpy()
        asked = judged.questions.with_items(known + 1).questions(vectors) if questions else None
        people = person.encode(judged.histories, vectors[judged.histories.items], asked)
        places = captured.places(judged, people, vectors)
        return float((1 / np.log2(places + 1)).mean()) if len(places) else 0.0

    never = np.full(len(written) - known, FOREVER)
    epochs = fit(
        model,
        tower,
        captured.before(split_t),
        recipe.fit,
        validate,
        lifetimes=Lifetimes(
            np.concatenate([captured.begin[: known + 1], never]),
            np.concatenate([captured.end[: known + 1], never]),
        ),
        questions=questions,
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
    return AboutPeople(
        dim=shape.dim, vectors=shape.vectors, events=shape.events, listings=listings,
        questions=shape.questions,
    )  # fmt: skip
