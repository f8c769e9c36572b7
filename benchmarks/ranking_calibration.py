"""Whether probabilities of actions hold: by action, by surface, and by tenth of the rows shown.

The default ranker of probabilities learns from one simulated log (`ranking_log`), is calibrated
on its validation part, and judged on the latest slates. The simulator's people hide nothing.
"""

import numpy as np

from benchmarks import ranking_log
from benchmarks.record import Row
from heirloom.evaluation.calibration import Bin
from heirloom.pipelines.judge import calibrations
from heirloom.ranking.by_action import CatBoostActions
from heirloom.simulator import Size

SIZE = Size(listings=3_000, people=2_400, days=6, sessions_per_day=0.5)
PARTS = 10


def calibration_rows(size: Size = SIZE) -> list[Row]:
    """`ranking.calibration_ece`: the worst action on the worst surface."""
    log = ranking_log.acted(size=size)
    ranker = CatBoostActions.fit(log.train, log.validation, seed=0)
    found = calibrations(ranker, log.test, log.test_surfaces)
    worst = max(found, key=lambda name: found[name]["ece"])
    of = found[worst]
    every = [_parts(each) for each in found.values()]
    agree = sum(part.agrees() for parts in every for part in parts)
    return [
        Row(
            id="ranking.calibration_ece",
            value=round(of["ece"], 5),
            unit="probability",
            better="lower",
            target=0.01,
            interval=(round(of["ece_low"], 5), round(of["ece_high"], 5)),
            note=(
                f"worst of {len(found)} by action and surface: {worst}, chance alone gives "
                f"{of['ece_noise']:.4f}, 95 % bootstrap over slates; {agree} of "
                f"{sum(map(len, every))} tenths of the rows shown have observed / predicted within "
                f"5 % of 1, or the prediction in the 95 % interval of what was observed; "
                f"{log.what}; observed / predicted by tenth, ! where neither: "
                + "; ".join(
                    f"{name} ece {each['ece']:.4f} ({each['observed'] / each['predicted']:.3f}) "
                    + " ".join(_said(part) for part in _parts(each))
                    for name, each in found.items()
                )
            ),
        )
    ]


def _parts(of: dict[str, float]) -> list[Bin]:
    """The tenths, as the metrics have them."""
    return [
        Bin(
            rows=0,
            predicted=of[f"predicted_{i}"],
            observed=of[f"observed_{i}"],
            low=of[f"observed_{i}_low"],
            high=of[f"observed_{i}_high"],
        )
        for i in range(1, PARTS + 1)
        if f"predicted_{i}" in of
    ]


def _said(part: Bin) -> str:
    ratio = "-" if np.isnan(part.ratio) else f"{part.ratio:.2f}"
    return ratio if part.agrees() else f"{ratio}!"
