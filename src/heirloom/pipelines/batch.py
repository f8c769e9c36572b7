"""A batch, from top to bottom: people in, a page each by the same `recommend`, as of one moment.

The state stands still while it runs: no event is folded, no deadline is set, and what was announced
since is not asked. So a page is a function of the Batch and the person, and a batch that was killed
goes on where it stopped with the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from heirloom.core.batch import Batch, BatchPage, PartDone
from heirloom.core.event import derived_id, person_key
from heirloom.core.query import Query
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend

Keep = Callable[[Batch, int, Sequence[BatchPage]], PartDone]
"""Writes the pages of a part, whole or not at all."""
Tell = Callable[[int], None]
"""Told of so many more people."""
_TOLD_EVERY = 50


class Scorer:
    """Pages of one state. Strangers share one slate, made once, where nothing is drawn.

    Args:
        batch: what is asked.
        policy: what decides.
        live: at offset `batch.n`, and standing still.
    """

    def __init__(self, batch: Batch, policy: Policy, live: Live) -> None:
        if live.n != batch.n:
            raise ValueError(f"Scorer: the state stands at offset {live.n}; wanted {batch.n}")
        self._batch, self._policy, self._live = batch, policy, live
        self._of_strangers: BatchPage | None = None
        self._draws = policy.rules.explore > 0 and batch.surface in policy.surfaces

    def anyone(self) -> BatchPage:
        """The page of who says no name."""
        return self._made(None, stranger=True)

    def page(self, person: str) -> BatchPage:
        """The page of a user."""
        find = self._live.vocabulary.find
        stranger = not find("person", person_key(person, None))
        if not stranger or self._draws or find("seller", person):
            return self._made(person, stranger=stranger)
        if self._of_strangers is None:
            self._of_strangers = self._made(person, stranger=stranger)
        return msgspec.structs.replace(
            self._of_strangers, person=person, slate=self._slate_id(self._query(person))
        )

    def _made(self, person: str | None, *, stranger: bool) -> BatchPage:
        slate = recommend(self._query(person), self._policy, self._live, reasons=0)
        return BatchPage(
            person=person or "",
            slate=slate.slate_id,
            listings=tuple(slate.shown.listings),
            scores=tuple(slate.shown.scores),
            sources=tuple(slate.shown.sources),
            propensities=tuple(slate.shown.propensities),
            stranger=stranger,
            degraded=tuple(f"{step.step}: {step.reason}" for step in slate.degraded),
        )

    def _query(self, person: str | None) -> Query:
        batch = self._batch
        return Query(surface=batch.surface, t=batch.t, user=person, k=batch.k)

    def _slate_id(self, query: Query) -> str:
        policy = self._policy
        return derived_id(msgspec.msgpack.encode(query), self._live.n, policy.name, policy.bundle)


def cut(people: Iterable[str], size: int) -> Iterator[tuple[int, list[str]]]:
    """Consecutive people in numbered parts of `size`; the last may be smaller.

    >>> list(cut("abcde", 2))
    [(0, ['a', 'b']), (1, ['c', 'd']), (2, ['e'])]
    """
    part: list[str] = []
    number = 0
    for person in people:
        part.append(person)
        if len(part) == size:
            yield number, part
            number, part = number + 1, []
    if part:
        yield number, part


def score_part(
    scorer: Scorer,
    batch: Batch,
    number: int,
    people: Sequence[str],
    keep: Keep,
    tell: Tell = lambda _: None,
) -> PartDone:
    """Score a part and keep it."""
    pages, told = [], 0
    for person in people:
        pages.append(scorer.page(person))
        if len(pages) - told == _TOLD_EVERY:
            tell(_TOLD_EVERY)
            told = len(pages)
    tell(len(pages) - told)
    return keep(batch, number, pages)
