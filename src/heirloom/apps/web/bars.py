"""Bars: contributions as a picture of bars to both sides of a line, for the templates."""

from collections.abc import Sequence
from dataclasses import dataclass

from heirloom.pipelines.explain import Contribution

WIDTH, ROW = 160.0, 25.0
"""Of the picture, in its own units; a card is about as many pixels wide."""
MOST = 6
LEAST = 0.03
"""Of all that the groups do, without their signs; what does less is left out."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, and where it lies."""

    about: str
    raises: bool
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Picture:
    """Bars from the line at `zero`: rightwards what raised a listing, leftwards what lowered it.

    Attributes:
        words: the same in words.
    """

    bars: tuple[Bar, ...]
    zero: float
    width: float
    height: float
    words: str


def picture(contributions: Sequence[Contribution]) -> Picture | None:
    """The picture of the largest contributions; None where nothing contributed.

    >>> price, seller = Contribution("a", "its price", 3.0), Contribution("b", "its seller", -1.0)
    >>> shown = picture([price, seller])
    >>> shown.zero, [(bar.x, bar.width) for bar in shown.bars]
    (40.0, [(40.0, 120.0), (0.0, 40.0)])
    >>> shown.words
    'Raised by its price. Lowered by its seller.'
    """
    whole = sum(abs(each.value) for each in contributions)
    told = [each for each in contributions if whole and abs(each.value) >= LEAST * whole]
    told = sorted(told, key=lambda each: -abs(each.value))[:MOST]
    if not told:
        return None
    told.sort(key=lambda each: -each.value)
    most, least = max(told[0].value, 0.0), min(told[-1].value, 0.0)
    scale = WIDTH / (most - least)
    zero = -least * scale
    bars = tuple(
        Bar(
            about=each.about,
            raises=each.value > 0,
            x=round(zero + min(each.value, 0.0) * scale, 1),
            y=place * ROW,
            width=round(max(abs(each.value) * scale, 1.0), 1),
        )
        for place, each in enumerate(told)
    )
    return Picture(bars, round(zero, 1), WIDTH, len(told) * ROW, _words(bars))


def _words(bars: Sequence[Bar]) -> str:
    raised = ", ".join(bar.about for bar in bars if bar.raises)
    lowered = ", ".join(bar.about for bar in reversed(bars) if not bar.raises)
    parts = [f"Raised by {raised}." if raised else "", f"Lowered by {lowered}." if lowered else ""]
    return " ".join(part for part in parts if part)
