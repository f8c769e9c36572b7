"""Examples from a log without impressions: what a person took, against what was retrieved.

Nobody wrote down what the person saw and passed over, so retrieval stands in for it: as of just
before the action, the candidates that would have been ranked are retrieved, and some of them are
drawn as negatives. The ranker then learns to order the very pool that it will be given.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import Event, Surface
from heirloom.core.log import Entry
from heirloom.core.query import Query, Request
from heirloom.core.slate import Candidates, FeatureBatch
from heirloom.pipelines.live import Live
from heirloom.ranking.ranker import Examples

Retrieve = Callable[[Request], Candidates]
Ask = Callable[[Event], Query]


@dataclass(frozen=True, slots=True)
class Rule:
    """How negatives are drawn.

    Attributes:
        kinds: the actions that count as taking a listing.
        count: at most so many negatives to a group.
        gains: worth of each kind; 1 where none is named.
        seed: of the draw.
    """

    kinds: frozenset[str]
    count: int = 40
    gains: Mapping[str, float] | None = None
    seed: int = 0

    def __str__(self) -> str:
        """The rule in words, as the bundle records it."""
        return (
            f"retrieved: for each {' or '.join(sorted(self.kinds))}, {self.count} listings drawn "
            "evenly, without replacement, from the candidates retrieved as of just before it "
            "(nothing of the same timestamp is known), the listing taken left out; actions whose "
            f"listing was not among the candidates are not used; seed {self.seed}"
        )


def sample_negatives(
    pool: NDArray[np.int32], positive: int, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Slots of one group: the positive first, then at most `count` others of the pool.

    Empty if the pool lacks the positive. Such a group would teach the ranker to dislike whatever
    retrieval likes, for only negatives would come from there.

    Args:
        pool: [candidates] slots retrieved, without duplicates.
        positive: slot of what was taken.
        count: how many negatives are wanted.
        rng: source of the draw.

    >>> pool = np.array([7, 3, 9], np.int32)
    >>> sample_negatives(pool, 3, 5, np.random.default_rng(0)).tolist()
    [3, 7, 9]
    >>> sample_negatives(pool, 4, 5, np.random.default_rng(0)).tolist()
    []
    """
    others = pool[pool != positive]
    if len(others) == len(pool):
        return np.zeros(0, np.int32)
    if count < len(others):
        others = others[np.sort(rng.choice(len(others), count, replace=False))]
    return np.concatenate([np.array([positive], np.int32), others])


def just_before(
    entries: Iterator[Entry], live: Live, kinds: Collection[str], from_t: int = 0
) -> Iterator[Entry]:
    """Yield each entry of some kinds when `live` stands just before its moment; fold them all.

    Entries in a row with one timestamp are one moment: their order is unknown (a log by day), so
    none of them is known to another. Entries before `from_t` are folded and not yielded.
    """
    pending: list[Entry] = []
    for t, moment in groupby(entries, key=lambda entry: entry.event.t):
        together = list(moment)
        wanted = [entry for entry in together if entry.event.kind in kinds and t >= from_t]
        if wanted:
            live.replay(pending)
            pending = []
            yield from wanted
        pending += together
    live.replay(pending)


def examples_of_actions(
    entries: Iterator[Entry],
    live: Live,
    ask: Ask,
    retrieve: Retrieve,
    rule: Rule,
    *,
    from_t: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Examples:
    """One group for each action whose listing was retrieved; all entries are folded.

    Args:
        entries: consecutive lines of the log; the first is the next that `live` will fold.
        live: state up to the first entry; it stands behind the last afterwards.
        ask: the query that an action would have answered.
        retrieve: candidates for a request, as serving finds them.
        rule: how negatives are drawn.
        from_t: actions before are history only.
        progress: told the number of actions seen so far, now and then.

    Raises:
        InputError: if there is no group to learn from.
    """
    rng = np.random.default_rng(rule.seed)
    gains, parts, worths, times = rule.gains or {}, list[FeatureBatch](), list[float](), list[int]()
    seen = 0
    for seen, entry in enumerate(just_before(entries, live, rule.kinds, from_t), 1):
        if seen % 200 == 0:
            progress(seen)
        positive = live.catalogue.slot_of(entry.event.listing or "")
        if positive < 0:
            continue
        request = live.request(ask(entry.event))
        slots = sample_negatives(retrieve(request).slots, positive, rule.count, rng)
        if len(slots) > 1:
            parts.append(live.look_up(request, slots))
            worths.append(gains.get(entry.event.kind, 1.0))
            times.append(entry.event.t)
    progress(seen)
    if not parts:
        raise InputError(
            f"training without impressions: of {seen} events of kind {sorted(rule.kinds)} none "
            "names a listing that was retrieved just before; collect more events, or widen the "
            "retrievers' quotas"
        )
    sizes = [len(part.values) for part in parts]
    first = np.cumsum([0, *sizes[:-1]])
    gained = np.zeros(sum(sizes), np.float32)
    gained[first] = worths
    return Examples(
        values=np.concatenate([part.values for part in parts]),
        columns=parts[0].columns,
        groups=np.repeat(np.arange(len(parts), dtype=np.int64), sizes),
        gains=gained,
        positions=np.zeros(sum(sizes), np.int16),
        t=np.repeat(np.array(times, np.int64), sizes),
    )


def query_of_action(event: Event) -> Query:
    """The query that an action would have answered: home, as the person who acted."""
    return Query(
        surface=event.surface or Surface.HOME.value,
        t=event.t,
        user=event.user,
        session=event.session,
        attributes=event.attributes,
    )
