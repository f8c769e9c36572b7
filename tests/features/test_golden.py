"""Frozen bytes: a value of a version that was published never changes.

`golden.json` holds a small log and, by view version, the bytes of every column for a few requests.
Where a definition or the kernel changed, and with it the version, write it anew with

    python -m tests.features.test_golden

which refuses where bytes changed under a version that stands: raise `kernel.KERNEL_VERSION` then.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.testing.features import HOUR_MS, all_words_view, random_log, random_request

FILE = Path(__file__).with_name("golden.json")
VIEWS = (marketplace_view(), rental_view(("occasion", "size")), all_words_view())
SLOTS = np.arange(6, dtype=np.int32)
LATER_MS = (0, 5 * HOUR_MS, 9 * 24 * HOUR_MS)


def packed(log: Facts) -> dict[str, Any]:
    return {
        "events": [log.events[i : i + 1].tobytes().hex() for i in range(len(log))],
        "listings": [row.tobytes().hex() for row in np.split(log.listings, log.starts[1:-1])],
    }


def unpacked(log: dict[str, Any]) -> Facts:
    rows = ([bytes.fromhex(row) for row in log[name]] for name in ("events", "listings"))
    return Facts.unpack(*rows)


def values(view: FeatureView, log: Facts) -> dict[str, str]:
    """By column, the little-endian bytes of its values; one NaN stands for all."""
    state, end = view.state(), int(log.events["t"].max())
    state.apply(log)
    answers = []
    for i, later_ms in enumerate(LATER_MS):
        answers.append(state.lookup(random_request(i, end + later_ms), SLOTS).values)
    table = np.concatenate(answers).astype("<f4")
    table[np.isnan(table)] = np.nan
    names = [column.partition(".")[2] for column in view.columns]
    return {name: table[:, j].tobytes().hex() for j, name in enumerate(names)}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_bytes_are_those_that_were_published(view: FeatureView) -> None:
    golden = json.loads(FILE.read_text())
    frozen = golden["values"].get(f"{view.name}@{view.version}")
    assert frozen is not None, "a new version: python -m tests.features.test_golden"
    got = values(view, unpacked(golden["log"]))
    assert [name for name in got if got[name] != frozen[name]] == []
    assert list(got) == list(frozen)


def test_the_log_is_read_as_it_was_written() -> None:
    log = unpacked(json.loads(FILE.read_text())["log"])
    assert log.events.dtype == EVENT_ROW
    assert log.listings.dtype == LISTING_ROW
    assert len(log) > 100
    assert len(set(log.events["kind"].tolist())) == 20


def write() -> None:
    golden = json.loads(FILE.read_text()) if FILE.exists() else {}
    log = golden.get("log") or packed(random_log(7, 200, span_ms=20 * 24 * HOUR_MS))
    frozen = golden.get("values", {})
    new = {f"{view.name}@{view.version}": values(view, unpacked(log)) for view in VIEWS}
    changed = [version for version in new if frozen.get(version, new[version]) != new[version]]
    if changed:
        raise SystemExit(
            f"{changed}: bytes changed under a version that stands; raise KERNEL_VERSION"
        )
    FILE.write_text(json.dumps({"log": log, "values": new}, indent=0) + "\n")


if __name__ == "__main__":
    write()
