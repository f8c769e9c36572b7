"""The ranking rows, part by part, written as one result.

    python -m benchmarks.ranking --data FOLDER [--part NAME | --kept]

FOLDER holds the public sets, each in a folder of its own. A part that was measured at this very
commit is not measured again; each takes under 40 minutes on two cores. Times (parts `slate` and
`score`) mean little beside other work.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    marketplace,
    ranking_bias,
    ranking_calibration,
    ranking_ltr,
    ranking_reasons,
    ranking_score,
    ranking_shares,
    ranking_slate,
    record,
)
from benchmarks.models import MARKETPLACE
from benchmarks.parts import measured, standing
from benchmarks.record import Row


def parts(data: Path, also: Sequence[str] = ()) -> dict[str, Callable[[], list[Row]]]:
    """What there is to measure, by name."""
    return {
        "mq2008": lambda: ranking_ltr.mq2008_rows(data),
        "example": lambda: ranking_ltr.example_rows(data),
        "score": ranking_score.score_rows,
        "calibration": ranking_calibration.calibration_rows,
        "slate": ranking_slate.slate_rows,
        "shares": ranking_shares.share_rows,
        "reasons": ranking_reasons.reason_rows,
        "recovery": ranking_bias.recovery_rows,
        "learning": ranking_bias.learning_rows,
        "captured": lambda: marketplace.captured_rows(
            system=MARKETPLACE, id="ranking.captured_value", target=0.5, also=also
        ),
    }


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=sorted(parts(Path())), help="this one, and stop")
    options.add_argument(
        "--kept", action="store_true", help="measure nothing: write what was, beside what stands"
    )
    options.add_argument(
        "--also", nargs="+", default=[], metavar="COMMIT", help="whose kept rows stand too"
    )
    options.add_argument(
        "--without", choices=sorted(parts(Path())), nargs="+", default=[], help="left out"
    )
    chosen = options.parse_args()
    everything = parts(chosen.data, chosen.also)
    if chosen.kept:
        rows = standing("ranking", everything, chosen.also)
        record.write("ranking", rows, command="make bench-ranking DATA=FOLDER")
        return
    if chosen.part:
        measured("ranking", chosen.part, everything[chosen.part], chosen.also)
        return
    wanted = [name for name in everything if name not in chosen.without]
    found = [measured("ranking", name, everything[name], chosen.also) for name in wanted]
    rows = [row for part in found for row in part]
    record.write("ranking", rows, command="make bench-ranking DATA=FOLDER")


if __name__ == "__main__":
    main()
