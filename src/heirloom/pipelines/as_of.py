"""As of: features of training rows, computed again from a log that ends at the impression.

A model must not learn from what was not known. The state that training folds stands just before
each impression, so nothing later should reach a value; here that is seen to, for a sample. The log
is cut off, not only read less far: whoever asks it for more finds nothing. Bytes are compared.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import LISTING_ROW, Facts
from heirloom.core.log import Entry, EventLog
from heirloom.core.slate import FeatureBatch
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.labels import label
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import Retrieve, Rule, examples_of_actions, query_of_action
from heirloom.pipelines.train import Recipe, query_of, slates_to_use
from heirloom.pipelines.training_report import Finding
from heirloom.ranking.examples import starts_of
from heirloom.ranking.ranker import Examples

Empty = Callable[[EventLog], tuple[Live, Retrieve | None]]
"""A state that has folded nothing of a log, and what retrieves from it where that is needed."""
CHECK = "features as of the impression"
CUTS = 3
A_CUT = 6
"""Slates that are looked at before each cut, the one at the cut among them."""


class CutOff:
    """A log that ends at an offset; it only reads."""

    def __init__(self, log: EventLog, end: int) -> None:
        self._log, self._end = log, end

    def append(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> list[int | None]:
        """Nothing is appended to a log of the past."""
        raise NotImplementedError("a log that was cut off only reads")

    def seen(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that stand before the end."""
        wanted = set(event_ids)
        return {entry.event.event_id for entry in self.read() if entry.event.event_id in wanted}

    def read(self, from_offset: int = 0, to_offset: int | None = None) -> Iterator[Entry]:
        """Entries up to the end."""
        return self._log.read(from_offset, self._until(to_offset))

    def facts(self, from_offset: int = 0, to_offset: int | None = None) -> Facts:
        """The same as arrays."""
        return self._log.facts(from_offset, self._until(to_offset))

    def vocabulary(self) -> Vocabulary:
        """All codes: rewound, a string is known from the entry on that brought it."""
        return self._log.vocabulary()

    def end(self) -> int:
        """Where it was cut."""
        return min(self._end, self._log.end())

    def _until(self, to_offset: int | None) -> int:
        return self.end() if to_offset is None else min(to_offset, self.end())


@dataclass(slots=True)
class _Compared:
    """What was compared so far, by column."""

    slates: int = 0
    rows: int = 0
    differ: dict[str, int] = field(default_factory=dict)
    strange: set[str] = field(default_factory=set)
    first: str = ""

    def add(
        self, used: NDArray[np.float32], columns: Sequence[str], batch: FeatureBatch, where: str
    ) -> None:
        self.slates, self.rows = self.slates + 1, self.rows + len(used)
        at = {column: j for j, column in enumerate(batch.columns)}
        self.strange |= {column for column in columns if column not in at}
        before = np.ascontiguousarray(used).view(np.uint32)
        again = np.ascontiguousarray(batch.values).view(np.uint32)
        for i, column in enumerate(columns):
            if column not in at:
                continue
            pair = before[:, i], again[:, at[column]]
            rows = np.flatnonzero(pair[0] != pair[1])
            if not len(rows):
                continue
            self.differ[column] = self.differ.get(column, 0) + len(rows)
            was, now = used[rows[0], i], batch.values[rows[0], at[column]]
            self.first = self.first or f"{column} of {where}: used {was:.6g}, known then {now:.6g}"

    def finding(self) -> Finding:
        numbers: dict[str, float] = {
            "slates": self.slates,
            "rows": self.rows,
            "differ": sum(self.differ.values()),
        }
        columns = (*sorted(self.differ), *sorted(self.strange))
        text = (
            f"{self.rows:,} rows of {self.slates} slates, computed again from a log that ends at "
            "their impression, are the bytes that were learned from"
        )
        problems = []
        if self.differ:
            problems.append(
                f"{len(self.differ)} column(s) were learned from with values that a log that ends "
                f"at the impression does not give ({', '.join(sorted(self.differ))}; first "
                f"{self.first}): they read what came later, or do not fold in the log's order"
            )
        if self.strange:
            problems.append(
                f"column(s) {', '.join(sorted(self.strange))} are not of the feature view, so "
                "nobody can say what they knew; define them in the view (`heirloom features`)"
            )
        return Finding(
            check=CHECK, holds=not problems, text="; ".join(problems) or text, columns=columns,
            numbers=numbers,
        )  # fmt: skip


def as_of_impressions(
    log: EventLog, empty: Empty, examples: Examples, recipe: Recipe, *, entries: int
) -> Finding:
    """Features of the listings shown on a sample of slates, from the log cut off before each cut.

    Args:
        log: that was learned from.
        empty: makes a state over a log that was cut off.
        examples: as `train.examples_of_impressions` made them: a group for each slate, in the
            order of the log, those shown first.
        recipe: by which.
        entries: of the log that are folded, from the first slate on, at most, CUTS times: the
            budget. Who looks ahead does so from the log's beginning.
    """
    facts = log.facts()
    wanted = slates_to_use(facts, label(facts, recipe.gains), recipe)
    shown = (facts.events["kind"] == KIND_CODE[Kind.IMPRESSION]) & np.isin(
        facts.events["slate"], np.fromiter(wanted, np.uint64, len(wanted))
    )
    offsets = facts.events["seq"][shown].astype(np.int64)
    starts = starts_of(examples.groups)
    if len(offsets) != len(starts):
        text = f"not made: {len(starts)} slates were learned from, the log has {len(offsets)}"
        return Finding(check=CHECK, holds=None, text=text)
    first = int(offsets[0])
    cuts = CUTS if first < entries else 1
    within = int(np.searchsorted(offsets, first + entries))
    compared, done = _Compared(), 0
    for cut in range(1, cuts + 1):
        last = max(round(within * cut / cuts) - 1, 0)
        groups = np.unique(np.linspace(done, last, A_CUT).round().astype(np.int64))
        part = CutOff(log, int(offsets[last]))
        live, _ = empty(part)
        for group in groups.tolist():
            live.replay(part.read(live.n, int(offsets[group])))
            _compare_slate(log, live, int(offsets[group]), examples, int(starts[group]), compared)
        done = last
    return compared.finding()


def as_of_actions(
    log: EventLog, empty: Empty, examples: Examples, recipe: Recipe, *, actions: int
) -> Finding:
    """The first examples of a log without impressions, made again from the log cut off there.

    Args:
        log: that was learned from.
        empty: makes a state over a log that was cut off, and what retrieves from it.
        examples: as training made them: in the order of the log.
        recipe: by which.
        actions: about so many are looked at, the budget.
    """
    kinds = frozenset(kind for kind, gain in recipe.gains.items() if gain > 0)
    cut = _before(log.facts(), kinds, actions)
    part = CutOff(log, cut)
    live, retrieve = empty(part)
    rule = Rule(kinds, recipe.negatives, recipe.gains, recipe.seed, recipe.among)
    again = None
    if retrieve is not None and cut:
        with suppress(InputError):  # nothing to make examples of so early
            again = examples_of_actions(part.read(), live, query_of_action, retrieve, rule)
    if again is None or not (kept := again.t >= recipe.from_t).any():
        text = f"not made: no example comes of the log's first {cut} entries"
        return Finding(check=CHECK, holds=None, text=text)
    values = again.values[kept]
    used = examples.values[: len(values)]
    if len(used) < len(values):
        text = f"{len(values)} rows come of the log's first {cut} entries; {len(used)} were used"
        return Finding(check=CHECK, holds=False, text=text)
    compared = _Compared()
    batch = FeatureBatch(values, again.columns, live.n)
    compared.add(used, examples.columns, batch, f"the log's first {cut} entries")
    compared.slates = len(np.unique(again.groups[kept]))
    return compared.finding()


def _before(facts: Facts, kinds: frozenset[str], actions: int) -> int:
    """The offset after so many actions, at the end of their moment; 0 where there are none.

    A moment is not torn: what happens in it is not known to what else does.
    """
    acts = np.flatnonzero(np.isin(facts.events["kind"], [KIND_CODE[kind] for kind in kinds]))
    if not len(acts):
        return 0
    t = facts.events["t"]
    last = int(acts[min(actions, len(acts)) - 1])
    later = np.flatnonzero(t[last:] != t[last])
    return last + int(later[0]) if len(later) else len(t)


def _compare_slate(
    log: EventLog, live: Live, offset: int, examples: Examples, start: int, compared: _Compared
) -> None:
    """Look up again what was shown at this offset; `live` stands just before it."""
    (entry,) = log.read(offset, offset + 1)
    rows = np.frombuffer(entry.listing_rows, LISTING_ROW)
    slots = rows["slot"][rows["slot"] >= 0].astype(np.int32)
    batch = live.look_up(live.request(query_of(entry.event)), slots)
    used = examples.values[start : start + len(slots)]
    compared.add(used, examples.columns, batch, f"slate {entry.event.slate} at offset {offset}")
