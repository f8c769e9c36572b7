"""Semantic ids on a simulated marketplace: the latest actions, cold listings apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from benchmarks.listing_encoders import encoded, taste
from judge_rows import Found, of_places
from numpy.typing import NDArray
from semantic_ids.codebook import Codebook, prefixes
from semantic_ids.retriever import KIND_WEIGHT, shared
from semantic_ids.tower import SemanticIdTower, Together

from heirloom.core.errors import InputError
from heirloom.core.log import Entry
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.person import About, PersonEncoder
from heirloom.encoders.tokens import PriceRanks, tokens_of
from heirloom.encoders.training.fit import fit
from heirloom.encoders.training.graph import person_graph
from heirloom.encoders.training.listing import ListingTower
from heirloom.encoders.training.objective import Lifetimes
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag, Tower, vectors_of
from heirloom.evaluation.split import moment
from heirloom.pipelines.train_encoders import (
    FOREVER,
    LEAST_COLD,
    Asked,
    Captured,
    EncoderRecipe,
    capture,
)
from heirloom.retrieval.content import HALF_LIFE_MS
from heirloom.simulator.policies import Mixed
from heirloom.simulator.world import Size, World

REPRESENTATIONS = ("content", "ids", "content_ids", "semantic", "content_semantic")
SIZE = Size(listings=5_000, people=1_500, days=8, sessions_per_day=0.5, tick_ms=40 * 60_000)
START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
LATEST = 0.3
HELD_OUT = 0.2
ASKED = 10_000
LEVELS = 3
CODES = 64
SCALE = 0.1
"""As the table of ListingTower begins."""


@dataclass(frozen=True, slots=True)
class Market:
    """A log cut in time: what is learned from ends at `split`, what is asked begins at `cut`.

    Attributes:
        captured: listings and histories.
        first: [rows] int64, ms, when each row's listing was first written.
        asked, held_out: actions to be foretold, after `cut` and before it.
    """

    captured: Captured
    first: NDArray[np.int64]
    split: int
    cut: int
    asked: Asked
    held_out: Asked

    @classmethod
    def simulated(cls) -> "Market":
        """Eight days of SIZE, under the simulator's mixed policies."""
        world = World(SIZE, 0, start_ms=START_MS)
        events, policy = list(world.opening()), Mixed(world)
        for _ in range(round(SIZE.days * DAY_MS / SIZE.tick_ms)):
            events += world.step(policy).events()
        captured = capture(
            Entry(event=event, ingested_at=event.t, event_row=b"", listing_rows=b"")
            for event in events
        )
        written: dict[str, int] = {}
        for listing, t in zip(captured.listings, captured.begin[1:].tolist(), strict=True):
            written.setdefault(listing.listing_id, t)
        first = np.array([0, *(written[one.listing_id] for one in captured.listings)])
        t = captured.histories.t
        cut = moment(t, 1 - LATEST)
        split = moment(t[t < cut], 1 - HELD_OUT)
        held_out = captured.actions(split, cut, ASKED)
        held_out = held_out.only(first[held_out.targets] >= split)
        if len(held_out.targets) < LEAST_COLD:
            raise InputError(f"market: {len(held_out.targets)} cold actions to choose an epoch by")
        return cls(captured, first, split, cut, captured.actions(cut, FOREVER, ASKED), held_out)

    @property
    def cold(self) -> NDArray[np.bool_]:
        """[asked], on listings first written after the cut."""
        after: NDArray[np.bool_] = self.first[self.asked.targets] >= self.cut
        return after

    @property
    def people(self) -> NDArray[np.int64]:
        """[asked], whose: a history begins with its person's first event."""
        histories = self.asked.histories
        first = histories.starts[:-1]
        pairs = np.column_stack([histories.items[first], histories.t[first]])
        return np.unique(pairs, axis=0, return_inverse=True)[1].astype(np.int64)

    def codes(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """[rows - 1, LEVELS]; the codebook knows only listings written before `split`."""
        known = self.captured.begin[1:] < self.split
        book = Codebook.fit(vectors[1:][known], levels=LEVELS, codes=CODES)
        return book.encode(vectors[1:])

    def found(self, asked: Asked, scores: Callable[[int], NDArray[np.floating]]) -> Found:
        """Where each target stands among all live at that moment, by scores [rows] of each."""
        above, level = np.zeros((2, len(asked.targets)), np.int64)
        for i, (target, t) in enumerate(zip(asked.targets.tolist(), asked.t.tolist(), strict=True)):
            live = (self.captured.begin <= t) & (t < self.captured.end)
            # Listings of one id tie; float sums of equal terms differ in the last digits.
            of = np.round(scores(i), 5)
            above[i] = (of[live] > of[target]).sum()
            level[i] = max(int((of[live] == of[target]).sum()), 1)
        return of_places(above, level)


def tower_of(name: str, market: Market, codes: NDArray[np.int32] | None, dim: int) -> Tower:
    """The tower of a representation over all rows; its vectors have unit length.

    What came after `split` is in it but not learned from: no label names it, and it is live at
    none's moment.
    """
    captured, recipe = market.captured, EncoderRecipe()
    parts: list[Tower] = []
    if name.startswith("content"):
        known = int((captured.begin[1:] < market.split).sum())
        prices = PriceRanks.learned(captured.listings[:known])
        tokens = tokens_of(captured.listings, recipe.buckets, prices)
        parts.append(ListingTower(tokens, recipe.buckets, dim, drop=recipe.drop))
    if name.endswith("ids"):
        # An edit writes a row anew and keeps the id.
        numbers: dict[str, int] = {}
        for listing in captured.listings:
            numbers.setdefault(listing.listing_id, len(numbers))
        which = np.array([numbers[one.listing_id] for one in captured.listings], np.int64)
        starts = np.concatenate([[0], np.arange(len(which) + 1)]).astype(np.int64)
        parts.append(AttributeBag(starts, which, dim, ids=False, scale=SCALE))
    if name.endswith("semantic"):
        if codes is None:
            raise ValueError(f"tower_of: {name} wants semantic ids; none came")
        parts.append(SemanticIdTower(codes, CODES, dim, scale=SCALE))
    return Together(parts, unit=True)


def learn(
    name: str, market: Market, codes: NDArray[np.int32] | None, seed: int, epochs: int
) -> tuple[PersonEncoder, NDArray[np.float32], float, float]:
    """The person encoder, vectors [rows, dim], best validation and s of CPU.

    Validation is NDCG without a cut of the held-out actions on listings written after `split`.
    """
    recipe, captured = EncoderRecipe(), market.captured
    torch.manual_seed(seed)
    tower = tower_of(name, market, codes, recipe.dim)
    shape = Shape(dim=recipe.dim, unit=True)
    model = PersonModel(shape, dropout=recipe.dropout)

    def person() -> PersonEncoder:
        about = About(dim=recipe.dim, vectors=1, events=shape.events, listings=name)
        return PersonEncoder(person_graph(model), about)

    def validate() -> float:
        vectors = vectors_of(tower).numpy()
        return float(by_encoder(market, market.held_out, person(), vectors).ndcg.mean())

    done = fit(
        model, tower, captured.before(market.split),
        replace(
            recipe.fit, epochs=epochs, patience=epochs, learning_rate=4e-3, seed=seed,
            sampling=replace(recipe.fit.sampling, uniform=256),
        ),
        validate,
        lifetimes=Lifetimes(captured.begin, captured.end),
    )  # fmt: skip
    best = max(epoch.validation for epoch in done)
    return person(), vectors_of(tower).numpy(), best, sum(epoch.cpu_s for epoch in done)


def by_encoder(
    market: Market, asked: Asked, person: PersonEncoder, vectors: NDArray[np.float32]
) -> Found:
    """By the person encoder's vector."""
    people = person.encode(asked.histories, vectors[asked.histories.items])[:, 0]
    return market.found(asked, lambda i: vectors @ people[i])


def by_taste(market: Market, asked: Asked, vectors: NDArray[np.float32]) -> Found:
    """By the nearest of up to three interests: what `taste` searches for."""
    people = taste(market.captured, asked, vectors)
    return market.found(asked, lambda i: (vectors @ people[i].T).max(axis=1))


def by_prefixes(
    market: Market, asked: Asked, codes: NDArray[np.int32], steep: float, *, newest: bool = True
) -> Found:
    """By the prefixes shared with what was acted on; of those level, the newest first."""
    named = np.concatenate([np.full((1, LEVELS), -1), prefixes(codes, CODES)])
    histories, begin = asked.histories, market.captured.begin
    # Younger than any step between two scores of `shared` after rounding is worth nothing more.
    order = np.zeros(len(begin))
    order[1:] = np.argsort(np.argsort(begin[1:], kind="stable")) / len(begin) * 1e-3

    def scores(i: int) -> NDArray[np.floating]:
        part = slice(*histories.starts[i : i + 2])
        rows = histories.items[part]
        weights = KIND_WEIGHT[histories.kinds[part]]
        weights = weights * np.exp2(-(asked.t[i] - histories.t[part]) / HALF_LIFE_MS)
        found = np.round(shared(named, named[rows], weights, steep=steep), 2)
        return found + order if newest else found

    return market.found(asked, scores)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found on the actions asked, by seed, and what was chosen on validation."""

    found: dict[str, list[Found]]
    market: Market
    notes: dict[str, str]
    cpu_s: float


def judge(seeds: Sequence[int], epochs: int, say: Callable[[str], None]) -> Iterator[Judged]:
    """All representations with all seeds: what was found, after each seed."""
    market = Market.simulated()
    out: dict[str, list[Found]] = {name: [] for name in REPRESENTATIONS}
    notes = {name: f"3 x {CODES} codes" for name in REPRESENTATIONS if "semantic" in name}
    cpu, codes = 0.0, None
    for seed in seeds:
        for name in REPRESENTATIONS:
            person, vectors, validation, cpu_s = learn(name, market, codes, seed, epochs)
            if name == "content":
                # Ids code the vectors of the content tower of the same seed.
                codes, trained = market.codes(vectors), vectors
            cpu += cpu_s
            out[name].append(by_encoder(market, market.asked, person, vectors))
            say(f"{name} seed {seed}: validation {validation:.4f}, {cpu_s:.0f} s")
            say(f"  {out[name][-1].said()}; cold: {out[name][-1].said(market.cold)}")
        if seed == seeds[0]:
            hashed = encoded(Hashed(64), market.captured)
            for source, of in (("hashed", hashed), ("trained", trained)):
                notes |= _retrievers(market, source, of, out, say)
        yield Judged(out, market, notes, cpu)


def _retrievers(
    market: Market,
    source: str,
    vectors: NDArray[np.float32],
    out: dict[str, list[Found]],
    say: Callable[[str], None],
) -> dict[str, str]:
    """Add the two ways of retrieving over vectors of a source; the prefixes' on validation."""
    codes = market.codes(vectors)
    ways = [(steep, newest) for steep in (1.0, 2.0, 4.0) for newest in (True, False)]
    scores = [
        by_prefixes(market, market.held_out, codes, steep, newest=newest).hr100.mean()
        for steep, newest in ways
    ]
    steep, newest = ways[int(np.argmax(scores))]
    out[f"vectors_{source}"] = [by_taste(market, market.asked, vectors)]
    found = by_prefixes(market, market.asked, codes, steep, newest=newest)
    out[f"prefixes_{source}"] = [found]
    for name in (f"vectors_{source}", f"prefixes_{source}"):
        say(f"{name}: {out[name][0].said()}; cold: {out[name][0].said(market.cold)}")
    ties = "the newest first" if newest else "in expectation"
    return {f"prefixes_{source}": f"3 x {CODES} codes, steepness {steep:g}, ties {ties}"}
