"""What was found, and rows of it with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.record import Row
from numpy.typing import NDArray

from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import expected_hit_rate, expected_ndcg_of_one


@dataclass(frozen=True, slots=True)
class Found:
    """[queries] float64 each; ties count in expectation."""

    hr10: NDArray[np.float64]
    ndcg10: NDArray[np.float64]
    hr100: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    """Without a cut, ties in the middle."""

    def said(self, which: NDArray[np.bool_] | None = None) -> str:
        """In words, of the queries of a mask."""
        part = slice(None) if which is None else which
        names = ("hr10", "ndcg10", "hr100")
        return ", ".join(f"{name} {getattr(self, name)[part].mean():.4f}" for name in names)


def of_places(above: NDArray[np.int64], level: NDArray[np.int64]) -> Found:
    """From how many stand above each target, and level with it."""
    return Found(
        expected_hit_rate(above, level, 10),
        expected_ndcg_of_one(above, level, 10),
        expected_hit_rate(above, level, 100),
        1 / np.log2(1 + above + (1 + level) / 2),
    )


def rows(
    prefix: str,
    found: dict[str, list[Found]],
    which: NDArray[np.bool_],
    people: NDArray[np.int64],
    *,
    against: str,
    names: Sequence[str],
    metrics: Sequence[str],
    notes: dict[str, str],
) -> list[Row]:
    """A row for each representation and metric, beside the same of `against` in the same run.

    Args:
        prefix: of the ids.
        found: by representation, one of each seed.
        which: [queries], the slice.
        people: [queries], whose each is; intervals are by bootstrap over them.
        against: the representation the others are set beside.
        names: which representations.
        metrics: of Found.
        notes: more to be said, by representation.
    """
    out = []
    for metric in metrics:
        base = _mean(found[against], metric)[which]
        for name in names:
            values = _mean(found[name], metric)[which]
            whole = bootstrap(values, people[which], seed=0)
            gain = bootstrap(values - base, people[which], seed=0)
            seeds = ", ".join(f"{getattr(one, metric)[which].mean():.4f}" for one in found[name])
            note = f"{which.sum():,} targets; seeds {seeds}"
            if name != against:
                note += f"; minus {against} {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
            out.append(
                Row(
                    id=f"semantic_ids.{prefix}_{name}_{metric}",
                    value=round(whole.mean, 5),
                    unit="NDCG" if "ndcg" in metric else "share",
                    better="higher",
                    peer=None if name == against else against,
                    peer_value=None if name == against else round(float(base.mean()), 5),
                    interval=(round(whole.low, 5), round(whole.high, 5)),
                    note=note + (f"; {notes[name]}" if name in notes else ""),
                )
            )
    return out


def _mean(found: Sequence[Found], metric: str) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean([getattr(one, metric) for one in found], axis=0)
    return mean
