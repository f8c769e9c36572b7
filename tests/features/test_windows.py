"""The window formula in SQL, by an engine that shares no code with the kernel."""

import duckdb
import numpy as np
import polars as pl

from heirloom.core.event import KIND_CODE
from heirloom.features.algebra import Counter
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS
from heirloom.testing.features import random_log, random_request

NAMES = tuple(name for name in WINDOWS if name != "ever")


def test_counts_are_those_of_sql():
    kinds = ("click", "save", "impression")
    view = FeatureView("v", (Counter("n", ("brand", "category"), kinds, NAMES),))
    checked = 0
    for seed in range(4):
        log = random_log(seed, 600)
        listed = np.flatnonzero(log.events["kind"] == KIND_CODE["listed"])
        last = {
            int(log.listings[log.starts[e]]["slot"]): log.listings[log.starts[e]] for e in listed
        }
        log.events["kind"][np.isin(log.events["kind"], [1, 2])] = KIND_CODE["search"]
        state = view.state()
        state.apply(log)
        at = np.repeat(np.arange(len(log)), np.diff(log.starts))
        mentions = pl.DataFrame(
            {
                "t": log.events["t"][at],
                "kind": log.events["kind"][at],
                "brand": log.listings["brand"],
                "category": log.listings["category"],
            }
        )
        for later_ms in (0, 3_599_999, 26 * 3_600_000, 31 * 86_400_000):
            t = int(log.events["t"].max()) + later_ms
            slots = np.arange(5, dtype=np.int32)
            got = state.lookup(random_request(0, t), slots).values
            for slot in slots.tolist():
                brand, category = int(last[slot]["brand"]), int(last[slot]["category"])
                if not brand or not category:
                    assert np.isnan(got[slot]).all()
                    continue
                for j, name in enumerate(NAMES):
                    expected = sql_count(mentions, brand, category, t, name)
                    assert got[slot, j] == expected, (seed, slot, name)
                    checked += expected > 0
    assert checked > 100


def sql_count(mentions: pl.DataFrame, brand: int, category: int, t: int, name: str) -> int:
    length, hop = WINDOWS[name].length_ms, WINDOWS[name].hop_ms
    kinds = [KIND_CODE[kind] for kind in ("click", "save", "impression")]
    row = duckdb.execute(
        """select count(*) from mentions
           where brand = $brand and category = $category and kind in (select unnest($kinds))
             and floor(t / $hop) between floor(($t - $length) / $hop) and floor($t / $hop)""",
        {
            "brand": brand,
            "category": category,
            "kinds": kinds,
            "hop": hop,
            "t": t,
            "length": length,
        },
    ).fetchone()
    return row[0]
