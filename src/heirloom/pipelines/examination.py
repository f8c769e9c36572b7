"""Examination from the log: what was shown again elsewhere, by surface and by form of the grid.

A log of several policies, of refitted models and of pages asked for again shows the same listing
to the same person for the same question at different places. That is all that is read here; which
policy answered need not be known. Where policies' places are logged, or swaps are made, `ranking`
has sharper estimators.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import SURFACE_CODE, Kind, Surface, named, person_key
from heirloom.core.facts import LISTING_ROW
from heirloom.core.log import Entry, EventLog
from heirloom.core.words import query_key
from heirloom.pipelines.labels import label, slate_of
from heirloom.ranking.examination import Examination, position_logits
from heirloom.ranking.examples import take
from heirloom.ranking.harvesting import Pairs, examination_of_pairs, harvested_again
from heirloom.ranking.propensity import CLIP, Weighed, debiased
from heirloom.ranking.ranker import Examples

COLUMNS = "grid_columns"
"""Attribute of an impression: columns of the grid on which it was shown; a list where absent."""
IN_VIEW = "in_view"
"""Attribute of an impression: so many of its listings came into view, from the first; all where
absent. What did not is no impression."""
MAX_COLUMNS = 16


@dataclass(frozen=True, slots=True, order=True)
class Layout:
    """Where places mean the same: a surface, in a grid of so many columns."""

    surface: str
    columns: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the log tells of one layout.

    Attributes:
        examination: the chances; None where the log does not tell, as `reason` says.
        depth: how many positions were asked for, or came into view if fewer did.
        impressions: listings shown in view.
        clicks: those of them that were clicked.
        compared: weighed clicks on what stood at several places: what the chances rest on.
        reason: why there is no examination; '' where there is one.
    """

    examination: Examination | None
    depth: int
    impressions: int
    clicks: int
    compared: float
    reason: str = ""


@dataclass(slots=True)
class _Rows:
    """Impressions of one layout, as growing columns."""

    keys: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    clicks: list[int] = field(default_factory=list)


def examination_of_log(
    log: EventLog,
    *,
    depth: int = 24,
    maturity_ms: int = 3_600_000,
    within_ms: int = 24 * 3_600_000,
    least_clicks: float = 200.0,
) -> dict[Layout, Found]:
    """The examination of each layout in the log.

    Args:
        log: impressions, and clicks that carry their `slate`.
        depth: how many positions are wanted; later ones are as likely seen as the last row.
        maturity_ms: impressions younger than this at the log's end wait for their clicks.
        within_ms: what is shown again counts as the same if both fall into one such span: worth
            ages.
        least_clicks: fewer compared clicks give no examination.

    Raises:
        InputError: if `depth` or `within_ms` are too small to compare anything.
    """
    if depth < 2 or within_ms < 1:
        raise InputError(
            f"examination_of_log: depth is {depth} and within_ms {within_ms}; wanted at least "
            "2 places and 1 ms"
        )
    facts = log.facts()
    until = int(facts.events["t"].max()) - maturity_ms if len(facts) else 0
    clicked = label(facts, {Kind.CLICK: 1.0})
    numbers: dict[object, int] = {}
    layouts: dict[Layout, _Rows] = {}
    for entry in log.read():
        if entry.event.kind == Kind.IMPRESSION and entry.event.t <= until:
            rows = layouts.setdefault(_layout(entry), _Rows())
            _take(rows, entry, clicked, numbers, within_ms)
    return {
        layout: _found(rows, layout.columns, depth, least_clicks)
        for layout, rows in sorted(layouts.items())
    }


def corrected(
    examples: Examples,
    surfaces: NDArray[np.int8],
    found: Mapping[Layout, Found],
    *,
    clip: float = CLIP,
) -> tuple[Examples, dict[str, Weighed]]:
    """Examples whose gains are weighed, surface by surface, as `ranking.propensity.debiased` does.

    Of the layouts of a surface the one most seen stands for all. A surface without an examination
    stays as it is, positions included.

    Args:
        examples: to train on, or to stop early by.
        surfaces: [rows] codes, as `train` has them beside its examples.
        found: of the log.
        clip: largest weight.

    Returns:
        The examples, and by surface what the weights do.
    """
    gains, positions = examples.gains.copy(), examples.positions.copy()
    told: dict[str, Weighed] = {}
    for name, rows, examination in _by_surface(surfaces, found):
        part, told[name] = debiased(take(examples, rows), examination, clip=clip)
        gains[rows], positions[rows] = part.gains, part.positions
    return replace(examples, gains=gains, positions=positions), told


def with_baseline(
    examples: Examples, surfaces: NDArray[np.int8], found: Mapping[Layout, Found]
) -> tuple[Examples, tuple[str, ...]]:
    """Examples with the logits of their places, for a ranker that adds them while it is fitted.

    Positions become 0 where the logits say it all; a surface without an examination stays as it
    is, with logits of 0.

    Args:
        examples: to train on, to stop early by, or to be calibrated with.
        surfaces: [rows] codes, as `train` has them beside its examples.
        found: of the log.

    Returns:
        The examples, and the surfaces whose places are known.
    """
    logits, positions = np.zeros(len(examples.positions), np.float32), examples.positions.copy()
    known = []
    for name, rows, examination in _by_surface(surfaces, found):
        logits[rows] = position_logits(examination, positions[rows])
        positions[rows] = 0
        known.append(name)
    return replace(examples, positions=positions, place_logits=logits), tuple(known)


def _by_surface(
    surfaces: NDArray[np.int8], found: Mapping[Layout, Found]
) -> Iterator[tuple[str, NDArray[np.intp], Examination]]:
    """Surfaces, their rows, and the examination of the layout that is most seen there."""
    for name, code in SURFACE_CODE.items():
        known = [
            (of.impressions, layout.columns, of.examination)
            for layout, of in found.items()
            if layout.surface == name and of.examination is not None
        ]
        rows = np.flatnonzero(surfaces == code)
        if known and len(rows):
            yield name, rows, max(known, key=lambda each: each[:2])[2]


def _layout(entry: Entry) -> Layout:
    columns = entry.event.attributes.get(COLUMNS, 1)
    if not isinstance(columns, int) or not 1 <= columns <= MAX_COLUMNS:
        columns = 1
    return Layout(entry.event.surface or Surface.HOME, columns)


def _take(
    rows: _Rows,
    entry: Entry,
    clicked: dict[tuple[int, int], float],
    numbers: dict[object, int],
    within_ms: int,
) -> None:
    event, slate = entry.event, slate_of(entry)
    anchor = event.listing or event.attributes.get("anchor")
    person = person_key(event.user, event.session)
    if not slate or not person:
        return
    asked = (person, event.surface, query_key(event.text), anchor, event.t // within_ms)
    in_view = event.attributes.get(IN_VIEW, len(event.listings))
    stamped = np.frombuffer(entry.listing_rows, LISTING_ROW)
    seen = zip(named(event), stamped["slot"].tolist(), stamped["position"].tolist(), strict=True)
    for i, (listing, slot, position) in enumerate(seen):
        if slot < 0 or position < 0 or (isinstance(in_view, int) and i >= in_view):
            continue
        rows.keys.append(numbers.setdefault((*asked, listing), len(numbers)))
        rows.positions.append(position)
        rows.clicks.append(int((slate, slot) in clicked))


def _found(rows: _Rows, columns: int, depth: int, least_clicks: float) -> Found:
    positions, clicks = _column(rows.positions), _column(rows.clicks)
    seen = np.unique(positions)
    depth = min(depth, int(np.argmin(np.append(np.isin(np.arange(depth), seen), False))))
    if depth < 2:
        return Found(None, depth, len(clicks), int(clicks.sum()), 0.0, "one place is ever in view")
    pairs = harvested_again(
        _column(rows.keys), positions, clicks, depth=depth, columns=min(columns, depth)
    )
    examination, reason, compared = None, "", float(pairs.clicked.sum())
    if compared < least_clicks:
        reason = (
            f"{compared:.0f} clicks on listings shown at several places; wanted {least_clicks:.0f}"
        )
    else:
        examination, reason = _estimated(pairs)
    return Found(examination, depth, len(clicks), int(clicks.sum()), compared, reason)


def _estimated(pairs: Pairs) -> tuple[Examination | None, str]:
    try:
        return examination_of_pairs(pairs), ""
    except InputError as error:
        return None, str(error)


def _column(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)
