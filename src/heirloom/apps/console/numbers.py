"""Numbers: what one process counts, read from its metrics in Prometheus's text format."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

Labels = Mapping[str, str]
Fits = Callable[[Labels], bool]


class Numbers:
    r"""The samples of one process, by name.

    Args:
        text: as its registry tells it.

    >>> told = Numbers('a_total{b="x"} 2.0\na_total{b="y"} 3.0\nc 4.0\n')
    >>> told.total("a_total"), told.total("c"), told.total("d")
    (5.0, 4.0, 0.0)
    >>> told.by("a_total", "b")
    {'x': 2.0, 'y': 3.0}
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for name, labels, value in _SAMPLE.findall(text):
            self._samples[name].append((dict(_labels(labels)), float(value)))

    def samples(self, name: str) -> Sequence[tuple[Labels, float]]:
        """(labels, value) of each sample of a name."""
        return self._samples.get(name, ())

    def total(self, name: str, fits: Fits = lambda _: True) -> float:
        """The sum of the samples whose labels fit; 0 where there is none."""
        return math.fsum(value for labels, value in self.samples(name) if fits(labels))

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by the value of a label."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self.samples(name):
            sums[labels.get(label, "")] += value
        return dict(sums)

    def buckets(self, name: str, bounds: Sequence[float], fits: Fits) -> NDArray[np.float64]:
        """[bounds + 1] how many observations lie in each bucket of a histogram, the last above all.

        Args:
            name: of the histogram, without `_bucket`.
            bounds: the upper bounds that it was made with, s.
            fits: which of its samples are meant.
        """
        places = {bound: i for i, bound in enumerate(bounds)} | {math.inf: len(bounds)}
        below = np.zeros(len(bounds) + 1)
        for labels, value in self.samples(f"{name}_bucket"):
            at = places.get(float(labels["le"].replace("+Inf", "inf")))
            if at is not None and fits(labels):
                below[at] += value
        return np.diff(below, prepend=0.0)


def quantile(counts: NDArray[np.float64], bounds: Sequence[float], q: float) -> float | None:
    """The q-quantile of a histogram, by a straight line within its bucket; None where it is empty.

    Above the highest bound it is that bound: the histogram does not say more. As Prometheus's
    `histogram_quantile` has it.

    >>> quantile(np.array([0.0, 10.0, 0.0]), (0.1, 0.3), 0.5)
    0.2
    >>> quantile(np.array([0.0, 0.0, 4.0]), (0.1, 0.3), 0.5)
    0.3
    """
    whole = float(counts.sum())
    if not whole:
        return None
    wanted, below = q * whole, np.cumsum(counts)
    at = int(np.searchsorted(below, wanted))
    if at >= len(bounds):
        return bounds[-1]
    low = bounds[at - 1] if at else 0.0
    before = float(below[at - 1]) if at else 0.0
    part = (wanted - before) / float(counts[at]) if counts[at] else 0.0
    return round(low + (bounds[at] - low) * part, 9)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value)
