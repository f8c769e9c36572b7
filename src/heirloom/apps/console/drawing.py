"""Drawing: numbers as a person reads them, and lines of the last minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 200.0, 40.0
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of numbers, oldest first, as paths of SVG.

    Attributes:
        line: one stroke for each part without a gap.
        area: the same, closed at the bottom.
        most: the largest number; the line's height.
    """

    line: str
    area: str
    most: float


def line_of(values: Sequence[float | None], least_top: float = 0.0) -> Line:
    """A line over WIDTH x HEIGHT from 0 to the largest number; None leaves a gap.

    Args:
        values: one for each place from left to right.
        least_top: what the height stands for at least, so that noise about 0 looks like it.

    >>> line_of([0.0, 1.0, None, 2.0], 4.0).line
    'M0 40L66.67 30M200 20'
    """
    most = max((v for v in values if v is not None), default=0.0)
    top, step = max(most, least_top) or 1.0, WIDTH / max(len(values) - 1, 1)
    parts: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((place * step, HEIGHT - value / top * HEIGHT))
    lines = ["M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in part) for part in parts if part]
    areas = [
        f"{line}L{part[-1][0]:.4g} {HEIGHT:g}L{part[0][0]:.4g} {HEIGHT:g}Z"
        for line, part in zip(lines, filter(None, parts), strict=True)
    ]
    return Line("".join(lines), "".join(areas), most)


def number(value: float | None) -> str:
    """Three digits of a small number, all of a large one.

    >>> [number(v) for v in (None, 0.0, 0.04567, 3.14159, 31.4159, 314.159, 31415.9)]
    ['–', '0', '0.05', '3.14', '31.4', '314', '31,416']
    """
    if value is None:
        return "–"
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share as a percentage that says 100 only where it is all.

    >>> [percent(v) for v in (None, 0.0, 0.5, 0.99996, 1.0, 0.00001)]
    ['–', '0 %', '50 %', '99.9 %', '100 %', '0.1 %']
    """
    if share is None:
        return "–"
    tenths = min(max(round(share * 1_000), 1), 999) if 0 < share < 1 else round(share * 1_000)
    return f"{tenths / 10:g} %"


def age(seconds: float | None) -> str:
    """How long ago, in its largest unit.

    >>> [age(v) for v in (None, 0.4, 59.0, 60.0, 7_300.0, 200_000.0)]
    ['–', '0 s', '59 s', '1 min', '2 h', '2 d']
    """
    if seconds is None:
        return "–"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def size(count: float | None) -> str:
    """Bytes.

    >>> size(1_500_000_000), size(640_000)
    ('1.50 GB', '0.64 MB')
    """
    if count is None:
        return "–"
    return f"{number(count / 1e9)} GB" if count >= 1e9 else f"{number(count / 1e6)} MB"
