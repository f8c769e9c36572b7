"""Fit: towers learned from a log, day by day, by AdamW under the softmax over all on offer."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.facts import MAX_DECLARED, Facts
from heirloom.retrieval.rate import DAY_MS
from heirloom.retrieval.towers.model import (
    Asked,
    Towers,
    Weights,
    lifted,
    listing_tower,
    request_tower,
    shapes,
)
from heirloom.retrieval.towers.takers import (
    Alphabet,
    Floats,
    Listings,
    Takers,
)

if TYPE_CHECKING:
    from scipy import sparse

HISTORY = 50
"""So many of a person's latest are read, as serving does."""
OWN_DAYS = 90.0
_LASTS = 0.02
_WARM_UP = 60
_BETAS = (0.9, 0.999)
_LONGEST = 5.0
"""Norm to which a longer gradient is cut."""
_KEPT = np.float16
_NARROW = {"wish": 0.02, "appeal": 0.01}
"""Deviations of first weights, where the product of both towers begins near 0."""


History = dict[int, list[tuple[int, int]]]
"""Person → (slot, ms) of what was taken, oldest first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How towers are fitted.

    Attributes:
        days: the latest days of the log that are learned from; all before are counted.
        epochs: passes over these days.
        members: networks, from seeds of their own.
        hidden, dim: units of each layer, width of the vectors.
        learning_rate: at its highest; it rises over the first steps and falls to 0.
        weight_decay: share of the learning rate by which a weight shrinks each step.
        dropout: share of the hidden units that are left out of a step.
        least: a declared value or a category has weights if so many took something with it.
    """

    days: int = 500
    epochs: int = 2
    members: int = 5
    hidden: int = 128
    dim: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    least: int = 20


@dataclass(frozen=True, slots=True)
class Day:
    """What was taken on a day, and what was on offer as it began.

    Attributes:
        listings: of those on offer.
        asked: [taken] what was said.
        taken: [taken] row of the listing in `listings`.
        had: (rows of `asked`, rows of `listings`) of what the person had taken before, which is no
            alternative.
    """

    listings: Listings
    asked: Asked
    taken: NDArray[np.intp]
    had: tuple[NDArray[np.intp], NDArray[np.intp]]


def fit(
    facts: Facts,
    takers: Takers,
    recipe: Recipe = Recipe(),
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Towers:
    """Towers that learned the last days of a log, to its end.

    What was taken is explained by what was known as its day began, so that nothing of the same
    timestamp is known in a log by day. Sources: Loshchilov, Hutter, "Decoupled weight decay
    regularization", ICLR 2019, algorithm 2; Srivastava et al., "Dropout", JMLR 15 (2014).

    Args:
        facts: the whole log, from its first entry.
        takers: that has folded nothing.
        recipe: how.
        seed: of the weights, the order of days and what is left out.
        progress: told (days done, of).

    Raises:
        InputError: if nothing was taken that had been on offer before.
    """
    alphabet, days = replayed(facts, takers, recipe)
    if not days:
        raise InputError(
            f"towers: of {len(facts)} events none takes a listing that was on offer before; "
            "collect more, or leave the retriever out of the quotas"
        )
    numbers = np.concatenate([day.listings.numbers for day in days[:: -(-len(days) // 40)]])
    towers = Towers(alphabet, numbers.mean(axis=0), numbers.std(axis=0) + np.float32(1e-3), ())
    steps, members = recipe.epochs * len(days), list[Weights]()
    for member in range(recipe.members):
        tell = partial(_tell, progress, member * steps, recipe.members * steps)
        rng = np.random.default_rng([seed, member])
        members.append(_member(towers, days, recipe, rng, tell))
    return Towers(alphabet, towers.centre, towers.scale, tuple(members))


# ── what was known ──────────────────────────────────────────────────────────────────────────────


def replayed(facts: Facts, takers: Takers, recipe: Recipe) -> tuple[Alphabet, list[Day]]:
    """The alphabet of a log, and its last days as they began."""
    at = facts.events["t"] // DAY_MS
    if not len(at):
        return Alphabet(np.zeros((0, 2), np.int32), np.zeros(0, np.int32)), []
    ends = [*(np.flatnonzero(np.diff(at)) + 1).tolist(), len(at)]
    begins = [0, *ends[:-1]]
    first = int(np.searchsorted(at[begins], at[-1] - recipe.days + 1))
    takers.apply(facts[: begins[first]])
    alphabet = alphabet_of(facts, takers, recipe.least)
    had: History = defaultdict(list)
    _remember(had, facts[: begins[first]], takers)
    days = []
    for begin, end in zip(begins[first:], ends[first:], strict=True):
        part = facts[begin:end]
        day = _day(part, takers, alphabet, had, int(at[begin]) * DAY_MS)
        if day is not None:
            days.append(day)
        takers.apply(part)
        _remember(had, part, takers)
    return alphabet, days


def alphabet_of(facts: Facts, takers: Takers, least: int) -> Alphabet:
    """Values and categories with enough behind them; `takers` stands before what is learned."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    taken = facts.events[takers.taken_by[facts.events["kind"]]]
    for field in range(taken["declared"].shape[1]):
        codes, often = np.unique(taken["declared"][:, field], return_counts=True)
        counts.update({(field, int(c)): int(n) for c, n in zip(codes, often, strict=True) if c})
    values = sorted(pair for pair, often in counts.items() if often >= least)
    rows = facts.listings["category"][facts.starts[:-1][np.diff(facts.starts) > 0]]
    categories, often = np.unique(rows, return_counts=True)
    return Alphabet(
        np.array(values, np.int32).reshape(-1, 2), categories[often >= least].astype(np.int32)
    )


def _remember(had: History, facts: Facts, takers: Takers) -> None:
    slots, events = takers.taken(facts)
    people, times = facts.events["person"][events].tolist(), facts.events["t"][events].tolist()
    for person, slot, t in zip(people, slots.tolist(), times, strict=True):
        if person:
            had[person].append((slot, t))


def _day(facts: Facts, takers: Takers, alphabet: Alphabet, had: History, t: int) -> Day | None:
    there = np.flatnonzero(takers.on_offer[: takers.shelf.size])
    row = np.full(takers.shelf.size + 1, -1, np.intp)
    row[there] = np.arange(len(there))
    slots, events = takers.taken(facts)
    known = row[slots] >= 0
    slots, events = slots[known], events[known]
    if not len(slots):
        return None
    listings = takers.listings(there, t, alphabet)
    people = facts.events["person"][events].tolist()
    past = [had.get(person, [])[-HISTORY:] for person in people]
    before = [[slot for slot, _ in each] for each in past]
    categories = alphabet.of_categories(takers.shelf.column("category"))
    rows = np.repeat(np.arange(len(past)), [len(each) for each in past])
    theirs = row[np.array([slot for each in before for slot in each], np.intp)]
    days = np.array([(t - then) / DAY_MS for each in past for _, then in each], np.float64)
    there_still = theirs >= 0
    apart = there_still & (theirs != row[slots][rows])
    return Day(
        listings=Listings(
            tuple(lift.astype(_KEPT) for lift in listings.lifts),
            listings.numbers,
            listings.categories,
        ),
        asked=Asked(
            alphabet.of_declared(facts.events["declared"][events]),
            lately(before, categories, len(alphabet.categories) + 1),
            np.array([len(each) for each in before], np.int64),
            own(rows[there_still], theirs[there_still], days[there_still], (len(past), len(there))),
        ),
        taken=row[slots],
        had=(rows[apart], theirs[apart]),
    )


def lately(before: Sequence[Sequence[int]], categories: NDArray[np.intp], wide: int) -> Floats:
    """[people, wide] float32, shares of the categories of the slots each took before.

    >>> lately([[0, 1, 1, 1], []], np.array([2, 0]), 3).tolist()
    [[0.75, 0.0, 0.25], [0.0, 0.0, 0.0]]
    """
    shares = np.zeros((len(before), wide), np.float32)
    for person, slots in enumerate(before):
        if len(slots):
            np.add.at(shares[person], categories[list(slots)], np.float32(1 / len(slots)))
    return shares


def own(
    questions: NDArray[np.intp],
    listings: NDArray[np.intp],
    days: NDArray[np.float64],
    shape: tuple[int, int],
) -> "sparse.csr_matrix":
    """[questions, listings] float32, weights of what was taken so many days ago, of sum 1 a row.

    They halve in OWN_DAYS, but never come to nothing: tastes last.

    >>> weights = own(np.array([0, 0]), np.array([2, 0]), np.array([0.0, 90.0]), (2, 3))
    >>> weights.toarray().round(2).tolist()
    [[0.3400000035762787, 0.0, 0.6600000262260437], [0.0, 0.0, 0.0]]
    """
    from scipy import sparse

    weights = np.exp2(-days / OWN_DAYS) + _LASTS
    weights /= np.bincount(questions, weights, shape[0])[questions]
    return sparse.csr_matrix((weights.astype(np.float32), (questions, listings)), shape=shape)


# ── learning ────────────────────────────────────────────────────────────────────────────────────


def _member(
    towers: Towers,
    days: Sequence[Day],
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Callable[[int], None],
) -> Weights:
    weights = first_weights(towers.alphabet, recipe, rng)
    steps, total, done = _AdamW(weights, recipe), recipe.epochs * len(days), 0
    for _ in range(recipe.epochs):
        for i in rng.permutation(len(days)):
            _, slopes = loss_and_gradient(towers, weights, days[i], recipe.dropout, rng)
            steps.step(slopes, done / total)
            done += 1
            if done % 50 == 0:
                progress(done)
    return weights


def _tell(progress: Callable[[int, int], None], before: int, of: int, done: int) -> None:
    progress(before + done, of)


def first_weights(alphabet: Alphabet, recipe: Recipe, rng: np.random.Generator) -> Weights:
    """He et al., "Delving deep into rectifiers", ICCV 2015, equation 10, for the hidden layers.

    The lifts begin at a little less than naive Bayes has them.
    """
    made = {}
    for name, shape in shapes(alphabet, recipe.hidden, recipe.dim).items():
        deviation = _NARROW.get(name) or float(np.sqrt(2 / shape[0]))
        made[name] = (rng.standard_normal(shape) * deviation).astype(np.float32)
        if name.endswith("bias") or name in ("numbers", "own", "crossed"):
            made[name][:] = 0
    made["lift"][:] = 0.4
    return Weights(**made)


def loss_and_gradient(
    towers: Towers, weights: Weights, day: Day, dropout: float, rng: np.random.Generator
) -> tuple[float, Weights]:
    """Mean over what was taken of -log softmax among all on offer, and its slope by each array."""
    lifts = tuple(lift.astype(weights.first.dtype) for lift in day.listings.lifts)
    x, numbers = towers.inputs(Listings(lifts, day.listings.numbers, day.listings.categories))
    onehot, q = towers.questions(day.asked)
    scale = np.float32(1 / (1 - dropout))

    def thin(units: Floats) -> Floats:
        if not dropout:
            return units
        kept: Floats = units * scale
        kept[rng.random(units.shape, np.float32) < dropout] = 0
        return kept

    side = listing_tower(weights, x, numbers, thin)
    u, hidden = request_tower(weights, q, thin)
    pooled = day.asked.own @ side.v
    u = u + pooled @ weights.own
    scores = u @ side.v.T + side.appeal
    for each, lift in zip(lifted(weights, towers.alphabet, onehot), lifts, strict=True):
        scores += each @ lift.T
    scores[day.had] = -np.inf
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    rows = np.arange(len(day.taken))
    loss = -np.log(np.maximum(chances[rows, day.taken], 1e-30)).mean()
    chances[rows, day.taken] -= 1
    by_score = chances / np.float32(len(rows))
    by_appeal, by_v, by_u = by_score.sum(axis=0), by_score.T @ u, by_score @ side.v
    by_v += day.asked.own.T @ (by_u @ weights.own.T)
    by_hidden = (by_u @ weights.wish.T) * (hidden > 0) * scale
    by_two = by_v @ weights.vector.T + by_appeal[:, None] * weights.appeal
    by_two *= (side.two > 0) * scale
    by_one = (by_two @ weights.second.T) * (side.one > 0) * scale
    by_lift = [by_score @ lift for lift in lifts]
    by_value = [(each * onehot).sum(axis=0) for each in by_lift]
    fields = towers.alphabet.values[:, 0]
    return float(loss), Weights(
        first=x.T @ by_one,
        first_bias=by_one.sum(axis=0),
        second=side.one.T @ by_two,
        second_bias=by_two.sum(axis=0),
        vector=side.two.T @ by_v,
        appeal=by_appeal @ side.two,
        numbers=by_appeal @ numbers,
        asked=q.T @ by_hidden,
        asked_bias=by_hidden.sum(axis=0),
        wish=hidden.T @ by_u,
        wish_bias=by_u.sum(axis=0),
        own=pooled.T @ by_u,
        lift=np.stack([np.bincount(fields, each, MAX_DECLARED) for each in by_value]).astype(
            x.dtype
        ),
        crossed=onehot.T @ by_lift[-1],
    )


class _AdamW:
    """Steps on the arrays of a member, in place."""

    def __init__(self, weights: Weights, recipe: Recipe) -> None:
        self._weights = weights.arrays()
        self._recipe = recipe
        self._mean = [np.zeros_like(each) for each in self._weights]
        self._square = [np.zeros_like(each) for each in self._weights]
        # What is multiplied with what a network made shrinks; a bias and the lifts' weights do not.
        self._shrinks = [each.ndim > 1 and each is not weights.lift for each in self._weights]
        self._done = 0

    def step(self, gradient: Weights, share_done: float) -> None:
        """One step down the gradient; `share_done` of all steps lie behind."""
        self._done += 1
        rate = self._recipe.learning_rate * min(1, self._done / _WARM_UP) * (1 - share_done)
        unbiased = [1 - beta**self._done for beta in _BETAS]
        slopes = gradient.arrays()
        norm = float(np.sqrt(sum(float((slope**2).sum()) for slope in slopes)))
        cut = np.float32(min(1.0, _LONGEST / max(norm, 1e-12)))
        for i, slope in enumerate(slopes):
            slope *= cut  # noqa: PLW2901 - in place
            self._mean[i] += (1 - _BETAS[0]) * (slope - self._mean[i])
            self._square[i] += (1 - _BETAS[1]) * (slope**2 - self._square[i])
            if self._shrinks[i]:
                self._weights[i] *= 1 - rate * self._recipe.weight_decay
            stretch = np.sqrt(self._square[i] / unbiased[1]) + 1e-8
            self._weights[i] -= rate * (self._mean[i] / unbiased[0]) / stretch
