"""Examples from a log without impressions: what a person took, against what else there was.

Nobody wrote down what the person saw and passed over. Either retrieval stands in for it: as of
just before the action, the candidates that would have been ranked are retrieved, and some of them
are drawn as negatives, so the ranker learns to order the very pool that it will be given. Or
negatives are drawn among all that was on offer: then no action is lost because retrieval missed
what was taken, new listings among them, and nothing need be retrieved to learn.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import Event, Surface
from heirloom.core.log import Entry
from heirloom.core.query import Query, Request
from heirloom.core.slate import Candidates, FeatureBatch
from heirloom.pipelines.live import Live
from heirloom.pipelines.scope import Scope
from heirloom.ranking.ranker import Examples

Retrieve = Callable[[Request], Candidates]
Ask = Callable[[Event], Query]
Among = Literal["retrieved", "live"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How negatives are drawn.

    Attributes:
        kinds: the actions that count as taking a listing.
        count: at most so many negatives to a group.
        among: what they are drawn from: "retrieved" candidates, or all "live" listings that the
            request allows.
        gains: worth of each kind; 1 where none is named.
        seed: of the draw.
    """

    kinds: frozenset[str]
    count: int = 40
    gains: Mapping[str, float] | None = None
    seed: int = 0
    among: Among = "retrieved"

    def __str__(self) -> str:
        """The rule in words, as the bundle records it."""
        pool = {
            "retrieved": "the candidates retrieved as of just before it",
            "live": "all listings that were live and allowed just before it",
        }[self.among]
        return (
            f"{self.among}: for each {' or '.join(sorted(self.kinds))}, {self.count} listings "
            f"drawn evenly, without replacement, from {pool} (nothing of the same timestamp is "
            "known), the listing taken left out; actions whose listing was not among them are not "
            f"used; seed {self.seed}"
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
    """One group for each action whose listing was in the pool; all entries are folded.

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
        pool = retrieve(request).slots if rule.among == "retrieved" else _live(request, live)
        slots = sample_negatives(pool, positive, rule.count, rng)
        if len(slots) > 1:
            parts.append(live.look_up(request, slots))
            worths.append(gains.get(entry.event.kind, 1.0))
            times.append(entry.event.t)
    progress(seen)
    if not parts:
        raise InputError(
            f"training without impressions: of {seen} events of kind {sorted(rule.kinds)} none "
            f"names a listing that was {rule.among} just before; collect more events, widen the "
            "retrievers' quotas, or draw negatives among all live listings"
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


def _live(request: Request, live: Live) -> NDArray[np.int32]:
    return np.flatnonzero(Scope(request, live).mask).astype(np.int32)


def query_of_action(event: Event) -> Query:
    """The query that an action would have answered: home, as the person who acted."""
    return Query(
        surface=event.surface or Surface.HOME.value,
        t=event.t,
        user=event.user,
        session=event.session,
        attributes=event.attributes,
    )
