"""Popular: what people engage with lately, in the context of the request."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice, pairwise, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import MAX_DECLARED, Facts
from heirloom.core.kept import Arrays, Given, Kept, alike, joined, object_of, of_object, within
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.decayed import Decayed, read_all, read_at
from heirloom.retrieval.front import Front
from heirloom.retrieval.lifts import (
    Declared,
    Lifts,
    declared_lift,
    declared_shares,
    lifted,
    lifts_of,
    own_weights,
)
from heirloom.retrieval.rate import DAY_MS, Rate
from heirloom.retrieval.retriever import Passes
from heirloom.retrieval.shelf import EDITED, LISTED, Shelf, mentions
from heirloom.retrieval.top import best_first, fitted, where

ENGAGEMENT: Mapping[str, int] = {
    Kind.CLICK: 1,
    Kind.SAVE: 3,
    Kind.MESSAGE: 4,
    Kind.OFFER: 5,
    Kind.PURCHASE: 8,
}
"""How much each action counts towards popularity."""
_ENDED = (KIND_CODE[Kind.SOLD], KIND_CODE[Kind.REMOVED])
_STOCK = sum(1 << code for code in (LISTED, EDITED, *_ENDED))
_TELLS, _MOVES = np.zeros((2, len(Kind)), np.bool_)
"""[kinds] bool: listed and edited; and with these what ends a listing."""
_TELLS[[LISTED, EDITED]] = _MOVES[[LISTED, EDITED, *_ENDED]] = True
_RECENT_HALF_LIFE_MS = 30 * DAY_MS
LARGE = 16_384
"""From so many slots on, a request compares a part of the stock."""
REVIEW_EVERY = 8_192
"""Log entries between two moments at which the front may be laid anew."""
CHANGED_SHARE = 128
"""It is, when one in so many slots was listed, edited or engaged with since."""
WIDE = 3
_Column = Callable[[Hashable, NDArray[Any]], NDArray[Any]]
"""From a column's name and the whole of it to the column as it is read: `Gathered.column`."""


class _Asked(NamedTuple):
    """Of a request what says how much each kind of listing is lifted for it."""

    t: int
    declared: list[Declared]
    lifts: Lifts

    def of_categories(self) -> NDArray[np.float64]:
        """[category codes] float64, the lifts of the person and of what is declared."""
        declared = np.ones(len(self.lifts[0]))
        for of in self.declared:
            declared *= (of.by_category / of.share) ** of.weight if of.share > 0 else 1.0
        return declared * self.lifts[0]


class Popular:
    """Engagement per day on offer, shrunk upward, times what the context says.

    A listing's rate is decayed engagement over decayed days on offer. It is shrunk to the rate
    of its brand x category, that to the category's, that to all, so that a new listing starts at
    what is usual for its like (`rate.py`). With several half-lives the rate is their geometric
    mean.

    Context multiplies the rate by lifts, as naive Bayes does: P(value | listing) / P(value) for
    each declared attribute of the request, the listing's share shrunk to its category's and that
    to all (a prior of `prior_events`); and P(category | person) / P(category) and
    P(size | person) / P(size) by the person's own recent events, a category shrunk to its
    department, the first step of its path. A category asked for by a filter is in the mask.
    Declared attributes that say the same twice (height, weight, size) would count twice; the
    exponents `declared_weights`, one for each, temper them.

    The same state serves stock that sells once and stock that is rented for years. Sums by
    declared value and listing are dense: 8 bytes a value and slot.

    From LARGE slots on not all are compared (`sift`): a front of the best of each category and
    size is laid at log offsets fixed in advance, and a request compares the WIDE · k of it that the
    lifts of category and size put first, and whatever changed since. Where a filter leaves less
    than half of these, all are compared (docs/adr/0029).
    """

    def __init__(
        self,
        name: str = "popular",
        *,
        half_lives_ms: tuple[int, ...] = (7 * DAY_MS,),
        context_half_life_ms: int = 60 * DAY_MS,
        prior_days: float = 3.0,
        prior_events: float = 8.0,
        declared_weights: Sequence[float] = (1.0,) * MAX_DECLARED,
        engagement: Mapping[str, int] = ENGAGEMENT,
    ) -> None:
        if len(declared_weights) != MAX_DECLARED:
            given = f"{len(declared_weights)} declared_weights"
            raise ConfigError(f"retriever {name!r}", [f"{given}; wanted {MAX_DECLARED}"])
        self.name = name
        self.prior_events = prior_events
        self._declared_weights = tuple(declared_weights)
        self._worth = np.zeros(len(Kind))
        for kind, weight in engagement.items():
            self._worth[KIND_CODE[kind]] = weight
        self._engages = sum(1 << code for code in np.flatnonzero(self._worth > 0).tolist())
        self._shelf = Shelf()
        self._rates = [Rate(half_life, prior_days) for half_life in half_lives_ms]
        self._context = Decayed(context_half_life_ms)
        self._groups: dict[tuple[int, int], int] = {}
        self._pairs = np.zeros((0, 2), np.int64)
        self._categories = 1  # how many codes of categories `_pairs` has
        self._group = np.zeros(0, np.int64)
        self._on_offer = np.zeros(0, np.bool_)
        self._departments: dict[str, int] = {"": 0}
        self._department = np.zeros(1, np.int64)
        self._codes = (1, 1)  # how many of categories and of sizes were seen
        self._front = Front()

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        parts: dict[str, Kept] = {
            "shelf": self._shelf, "front": self._front, "context": self._context,
            **{f"rate.{at}": rate for at, rate in enumerate(self._rates)},
        }  # fmt: skip
        return {
            "worth": self._worth,
            "groups": np.array(list(self._groups), np.int64).reshape(-1, 2),
            "pairs": self._pairs,
            "group": self._group,
            "on_offer": self._on_offer,
            "departments": of_object(list(self._departments)),
            "department": self._department,
            "seen": np.array([*self._codes, len(self._front.changed)], np.int64),
            "changed": self._front.changed,
            **joined({name: part.arrays() for name, part in parts.items()}),
        }

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        for at, rate in enumerate(self._rates):
            rate.restore(within(arrays, f"rate.{at}"))
        self._shelf.restore(within(arrays, "shelf"))
        self._front.restore(within(arrays, "front"))
        self._context.restore(within(arrays, "context"))
        own = alike("Popular", arrays, Popular().arrays())
        if own["worth"].tolist() != self._worth.tolist():
            raise InputError("Popular: counted by other worths of actions")
        self._groups = {(int(b), int(c)): at for at, (b, c) in enumerate(own["groups"])}
        self._pairs, self._group, self._on_offer = own["pairs"], own["group"], own["on_offer"]
        self._categories = 1 + int(self._pairs[:, 1].max(initial=0))
        departments = object_of(own["departments"], list[str])
        self._departments = {text: at for at, text in enumerate(departments)}
        categories, sizes, changes = own["seen"].tolist()
        self._department, self._codes = own["department"], (categories, sizes)
        self._front.note(own["changed"][:changes])

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Fold stock events and engagement."""
        if not len(facts):
            return
        for part in _parts(facts):
            self._fold(part)
        self._learn_departments(listings)

    def _fold(self, facts: Facts) -> None:
        written = self._shelf.apply(facts)
        if len(written):
            codes = (self._shelf.column(name)[written].max() for name in ("category", "size"))
            seen = (max(seen, int(code) + 1) for seen, code in zip(self._codes, codes, strict=True))
            self._codes = next(seen), next(seen)
        latest = int(facts.events["t"].max())
        moved = [counts.to(latest) for counts in (*(r.counts for r in self._rates), self._context)]
        if any(moved):
            self._front.listings.forget()
        opened = self._fold_stock(facts) if facts.kinds & _STOCK else {}
        if facts.kinds & self._engages:
            self._fold_engagement(facts, opened)
        self._look_over(facts, latest)

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k, best first; the score is the log of the rate times lifts."""
        slots = np.flatnonzero(allowed[: self._shelf.size])
        return self._best(self._asked(request), slots, slots, _whole, k)

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`; of a large stock it compares the front alone."""
        asked = self._asked(request)
        if len(self._front):
            near = self._front.listings
            rows = self._front.near(asked.of_categories(), asked.lifts[1], WIDE * k)
            slots = near.slots.take(rows)
            passing = where(passes(slots))
            if 2 * len(passing) >= len(slots):
                return self._best(asked, slots.take(passing), rows.take(passing), near.column, k)
        every = np.flatnonzero(self._on_offer[: self._shelf.size])
        every = every[passes(every)]
        return self._best(asked, every, every, _whole, k)

    def _asked(self, request: Request) -> _Asked:
        return _Asked(request.query.t, self._declared(request), self._lifts(request))

    def _best(
        self, asked: _Asked, slots: NDArray[Any], rows: NDArray[np.int64], column: _Column, k: int
    ) -> Candidates:
        """The best k of these slots, each once, whose columns stand at these rows."""
        if not len(slots):
            return Candidates.none(self.name)
        value = self._rate(rows, asked.t, column)
        categories = column("category", self._shelf.column("category"))
        sizes = column("size", self._shelf.column("size"))
        for of in asked.declared:
            lift = self._declared_lift(of, rows, categories, asked.t, column)
            value *= lift if of.weight == 1 else lift**of.weight
        value = lifted(value, rows, categories, sizes, *asked.lifts)
        chosen = best_first(value, slots, k)
        scores = np.log(np.maximum(value[chosen], 1e-300)).astype(np.float32)
        return Candidates.of(self.name, slots[chosen].astype(np.int32), scores)

    # --- folding ---------------------------------------------------------------------------

    def _fold_stock(self, facts: Facts) -> dict[int, int]:
        """Open and close listings; gives the event that last opened each slot that was opened."""
        self._group = fitted(self._group, self._shelf.size)
        self._on_offer = fitted(self._on_offer, self._shelf.size)
        kinds = facts.events["kind"]
        events, rows = mentions(facts, _MOVES.take(kinds))
        inside = rows["slot"] < self._shelf.size
        events, rows = events[inside], rows[inside]
        listed = kinds[events] == LISTED
        opened = dict(zip(rows["slot"][listed].tolist(), events[listed].tolist(), strict=True))
        if opened:
            slots = np.array(sorted(opened), np.int64)
            times = facts.events["t"][[opened[slot] for slot in slots.tolist()]]
            self._context.forget("slot", slots)
            for rate in self._rates:
                rate.counts.forget("slot", slots)
                rate.open(slots, times)
        self._move(facts, events, rows)
        return opened

    def _look_over(self, facts: Facts, t: int) -> None:
        """Note what changed, and lay the front anew when much did: at fixed log offsets."""
        if self._shelf.size < LARGE:
            return
        _, rows = mentions(facts, ((self._worth > 0) | _TELLS).take(facts.events["kind"]))
        slots = np.unique(rows["slot"])
        self._front.note(slots[slots < self._shelf.size])
        at_end = (int(facts.events["seq"][-1]) + 1) % REVIEW_EVERY == 0
        enough = len(self._front.changed) > self._shelf.size // CHANGED_SHARE
        if at_end and (enough or not len(self._front)):
            slots = np.flatnonzero(self._on_offer[: self._shelf.size])
            category, size = (self._shelf.column(name)[slots] for name in ("category", "size"))
            self._front.lay(slots, self._rate(slots, t, _whole), category, size)

    def _move(self, facts: Facts, events: NDArray[np.intp], rows: NDArray[np.void]) -> None:
        """Count listings in and out of their groups, in log order."""
        moves: list[tuple[int, int, int]] = []  # group, t, sign
        kinds, times = facts.events["kind"][events].tolist(), facts.events["t"][events].tolist()
        slots, brands, categories = (rows[of].tolist() for of in ("slot", "brand", "category"))
        for kind, t, slot, brand, category in zip(
            kinds, times, slots, brands, categories, strict=True
        ):
            was = bool(self._on_offer[slot])
            if was:
                moves.append((int(self._group[slot]), t, -1))
            now = kind == LISTED or (kind == EDITED and was)
            if now:
                self._group[slot] = self._group_of((brand, category))
                moves.append((int(self._group[slot]), t, 1))
            self._on_offer[slot] = now
        if not moves:
            return
        self._know_pairs()
        group, t_moved, signs = np.array(moves, np.int64).T
        for rate in self._rates:
            rate.move("group", group, t_moved, signs)
            rate.move("category", self._pairs[group, 1], t_moved, signs)
            rate.move("all", 0 * group, t_moved, signs)

    def _fold_engagement(self, facts: Facts, opened: Mapping[int, int]) -> None:
        worth = self._worth[facts.events["kind"]]
        engaged = np.flatnonzero((worth > 0) & (np.diff(facts.starts) > 0))
        if not len(engaged):
            return
        rows = facts.listings[facts.starts[engaged]]
        amounts, t = worth[engaged], facts.events["t"][engaged]
        slot = rows["slot"].astype(np.int64)
        own = (slot >= 0) & (slot < self._shelf.size)
        # An event before the slot was opened anew belongs to the listing before.
        if opened:
            since = map(opened.get, slot.tolist(), repeat(-1))
            own &= engaged > np.fromiter(since, np.int64, len(slot))
        pairs = zip(rows["brand"].tolist(), rows["category"].tolist(), strict=True)
        group = np.array([self._group_of(pair) for pair in pairs], np.int64)
        self._know_pairs()
        category = rows["category"].astype(np.int64)
        for rate in self._rates:
            weighted = amounts * rate.counts.decay.weight(t)
            rate.engage("slot", slot[own], weighted[own])
            rate.engage("group", group, weighted)
            rate.engage("category", category, weighted)
            rate.engage("all", 0 * category, weighted)
        weight = self._context.decay.weight(t)
        self._context.add("category", category, weight)
        self._context.add("size", rows["size"], weight)
        declared = facts.events["declared"][engaged]
        for field in np.flatnonzero(declared.any(axis=0)).tolist():
            # Under code 0: that any value was declared.
            for code in {0, *np.unique(declared[:, field]).tolist()}:
                held = declared[:, field] == code if code else declared[:, field] > 0
                at = held & own
                self._context.add((field, code, "slot"), slot[at], weight[at])
                self._context.add((field, code, "category"), category[held], weight[held])
                self._context.add((field, code, "all"), 0 * category[held], weight[held])

    def _group_of(self, pair: tuple[int, int]) -> int:
        return self._groups.setdefault(pair, len(self._groups))

    def _know_pairs(self) -> None:
        """The groups as an array too."""
        if len(self._groups) > len(self._pairs):
            new = list(islice(self._groups, len(self._pairs), None))
            self._pairs = np.concatenate([self._pairs, np.array(new, np.int64)])
            self._categories = 1 + max(self._categories - 1, *(pair[1] for pair in new))

    def _learn_departments(self, listings: Mapping[int, Listing]) -> None:
        categories = self._shelf.column("category")
        for slot, listing in listings.items():
            code = int(categories[slot])
            if code >= len(self._department) or not self._department[code]:
                step = listing.category.split("/", 1)[0]
                self._department = fitted(self._department, code + 1)
                self._department[code] = self._departments.setdefault(step, len(self._departments))

    # --- reading ---------------------------------------------------------------------------

    def _rate(self, rows: NDArray[np.int64], t: int, column: _Column) -> NDArray[np.float64]:
        """[rows] float64, the geometric mean of the rates of all half-lives."""
        rates, category = [], self._pairs[:, 1]
        group = column("group", self._group)
        for at, rate in enumerate(self._rates):
            above = rate.by_category(self._categories, t)
            since, engaged = rate.per_listing
            columns = group, column((at, "since"), since), column((at, "engaged"), engaged)
            rates.append(rate.of_listings(rows, columns, category, t, above))
        if len(rates) == 1:
            return rates[0]
        product = np.ones(len(rows))
        for each in rates:
            product *= each
        root: NDArray[np.float64] = product ** (1 / len(rates))
        return root

    def _declared(self, request: Request) -> list[Declared]:
        """What the request declares that is weighed here."""
        t, context, prior = request.query.t, self._context, self.prior_events
        scale, kept, declared = context.decay.scale(t), context.kept, []
        for field, code in enumerate(request.declared.tolist()):
            weight = self._declared_weights[field]
            if not code or not weight:
                continue
            every = read_at(kept((field, 0, "all")), 0, scale)
            share = read_at(kept((field, code, "all")), 0, scale) / max(every, 1e-300)
            of_value, of_any = kept((field, code, "category")), kept((field, 0, "category"))
            by_category = declared_shares(self._codes[0], of_value, of_any, (scale, prior, share))
            declared.append(Declared(field, code, weight, by_category, share))
        return declared

    def _declared_lift(
        self,
        of: Declared,
        rows: NDArray[np.int64],
        categories: NDArray[np.int32],
        t: int,
        column: _Column,
    ) -> NDArray[np.float64]:
        """[rows] float64, P(value | listing) / P(value); 1 for a value never seen."""
        if of.share <= 0:
            return np.ones(len(rows))
        names = (of.field, of.code, "slot"), (of.field, 0, "slot")
        of_value, of_any = (column(name, self._context.kept(name)) for name in names)
        constants = self._context.decay.scale(t), self.prior_events, of.share
        lift: NDArray[np.float64] = declared_lift(
            rows, categories, of_value, of_any, of.by_category, constants
        )
        return lift

    def _lifts(self, request: Request) -> Lifts:
        """How much more the person goes for each category and each size [codes] than all do."""
        categories, sizes = self._codes
        known = (request.recent >= 0) & (request.recent < self._shelf.size)
        known &= self._worth[request.recent_kinds] > 0
        recent = request.recent[known]
        if not len(recent):
            return np.ones(categories), np.ones(sizes)
        t, kept = request.query.t, self._context.kept
        weights = np.exp2(-np.maximum(t - request.recent_t[known], 0) / _RECENT_HALF_LIFE_MS)
        columns = self._shelf.column("category"), self._shelf.column("size")
        own = own_weights(recent, weights, columns, self._department, self._codes)
        scale = self._context.decay.scale(t)
        # Of all engagement the share of each code; a unit count for each.
        counts = [
            read_all(kept(name), codes, scale) + 1.0
            for name, codes in zip(("category", "size"), self._codes, strict=True)
        ]
        usual = counts[0] / counts[0].sum(), counts[1] / counts[1].sum()
        sums = own[0].sum(), own[1].sum(), own[2].sum()
        lifts: Lifts = lifts_of(own, sums, usual, self._department, self.prior_events)
        return lifts


def _whole(name: Hashable, column: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG001
    """The rows of a whole column are slots."""
    return column


def _parts(facts: Facts) -> Iterator[Facts]:
    """Cut at the offsets at which the front may be laid."""
    seq = facts.events["seq"]
    cuts = np.flatnonzero((seq + 1) % REVIEW_EVERY == 0) + 1
    edges = sorted({0, *cuts.tolist(), len(seq)})
    return (facts[start:stop] for start, stop in pairwise(edges))
