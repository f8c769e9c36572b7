"""The benchmarks' methods agree with each other on small data: ours, DuckDB's SQL and polars'."""

from pathlib import Path

import numpy as np
from benchmarks import feature_join, feature_windows
from benchmarks.feature_data import Market, clicks, log
from benchmarks.feature_view import asked

from heirloom.core.facts import Facts


def test_windowed_counts_are_those_of_sql():
    data = clicks(events=20_000, keys=300, seed=5)
    ours = feature_windows.ours(data, workers=2)
    assert ours.shape == (int((data.kind == 7).sum()), 3)
    assert ours.max() > 10
    assert np.array_equal(ours, feature_windows.duckdb_asof(data, threads=1))
    assert np.array_equal(ours, feature_windows.polars_asof(data))


def test_point_in_time_joins_find_the_same_rows(tmp_path: Path):
    feature_join.write(tmp_path, rows=20_000, asked=5_000, listings=400, features=3)
    ours = feature_join.ours(tmp_path)
    assert 0 < np.isnan(ours).any(axis=1).sum() < 5_000
    np.testing.assert_array_equal(ours, feature_join.polars_asof(tmp_path))
    np.testing.assert_array_equal(ours, feature_join.duckdb_asof(tmp_path, threads=1))


def test_the_log_is_the_same_each_time_it_is_read():
    market = Market(events=5_000, listings=200, people=50)
    first, again = (Facts.joined(list(log(market, seed=1, part=1_500))) for _ in range(2))
    assert len(first) == 5_000
    assert first.events.tobytes() == again.events.tobytes()
    assert first.listings.tobytes() == again.listings.tobytes()
    assert (np.diff(first.events["t"]) < 0).any()  # late ones
    assert 400 < len(asked(market, 500)) < 600
