"""What Feast reads of an export is what training reads, by bytes.

The tests marked `engine("feast")` run the real Feast, in the environment that `make feast` makes
under var/ (half a gigabyte). They skip without it, and fail without it under REQUIRE_FEAST=1.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heirloom.adapters.feast_repository import column
from heirloom.apps.export_feast import export_feast, exported
from heirloom.apps.parts import recipe_of
from heirloom.apps.settings import load
from heirloom.core.errors import InputError, NotFoundError, StoreError
from heirloom.core.event import Kind
from heirloom.features.algebra import Age
from heirloom.features.view import FeatureView
from heirloom.pipelines.train import examples_of_impressions, query_of

from .conftest import LAPTOP, Marketplace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository(trained: Marketplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "repository"
    assert export_feast(trained.system.settings, folder) > 1_000
    return folder


def view_of(trained: Marketplace) -> FeatureView:
    return trained.system.live.view


def by_key(table) -> dict[tuple, int]:
    keys = zip(
        table["listing"].to_pylist(),
        table["person"].to_pylist(),
        table["event_timestamp"].cast(pa.timestamp("ms", "UTC")).cast("int64").to_pylist(),
        strict=True,
    )
    return {key: row for row, key in enumerate(keys)}


def bits(table, names: list[str]) -> np.ndarray:
    """[rows, features] uint32; NaN, however it is written, as 1."""
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in names]
    values = np.stack(columns, axis=1)
    return np.where(np.isnan(values), np.uint32(1), values.view(np.uint32))


def test_rows_are_those_of_training(trained: Marketplace, repository: Path) -> None:
    """All that training learns from, without the listings it draws, with the same labels."""
    system, view = trained.system, view_of(trained)
    live = system.empty_live(retrievers=False)
    recipe = recipe_of(system.settings)
    examples, _ = examples_of_impressions(system.log, live, recipe, lambda *_: None)
    labels = pq.read_table(repository / "data" / "entities.parquet")
    values = pq.read_table(repository / "data" / f"{view.name}_{view.version}.parquet")
    names = [name.partition(".")[2] for name in view.columns]
    assert values.column_names == ["listing", "person", "event_timestamp", "created", *names]
    learned = {
        (int(t), row.tobytes())
        for t, row in zip(examples.t, np.nan_to_num(examples.values, nan=-1), strict=True)
    }
    matrix = np.stack([values[name].to_numpy() for name in names], axis=1)
    times = values["event_timestamp"].cast("int64").to_numpy()
    written = [
        (int(t), row.tobytes()) for t, row in zip(times, np.nan_to_num(matrix, nan=-1), strict=True)
    ]
    assert set(written) <= learned
    assert len(by_key(values)) == values.num_rows == labels.num_rows
    assert by_key(values) == by_key(labels)
    slates = len(set(labels["slate"].to_pylist()))
    assert slates == len(np.unique(examples.groups))
    gains = labels["gain"].to_numpy()
    assert gains.sum(dtype=np.float64) == examples.gains.sum(dtype=np.float64) > 0


def test_a_row_is_as_of_its_offset(trained: Marketplace, repository: Path) -> None:
    """The first and the last row, looked up anew in a state folded up to the row's n."""
    system, view = trained.system, view_of(trained)
    labels = pq.read_table(repository / "data" / "entities.parquet").to_pylist()
    values = pq.read_table(repository / "data" / f"{view.name}_{view.version}.parquet").to_pylist()
    for label, value in ((labels[0], values[0]), (labels[-1], values[-1])):
        live = system.empty_live(retrievers=False)
        live.replay(system.log.read(0, label["n"]))
        (shown,) = (e.event for e in system.log.read(label["n"], label["n"] + 1))
        assert shown.kind == Kind.IMPRESSION
        assert shown.slate == label["slate"]
        slots = live.catalogue.slots_of([label["listing"]])
        expected = live.look_up(live.request(query_of(shown)), slots).values[0]
        row = [value[name.partition(".")[2]] for name in view.columns]
        assert np.array(row, np.float32).tobytes() == expected.tobytes()


def test_a_folder_in_use_is_refused(trained: Marketplace, repository: Path) -> None:
    with pytest.raises(InputError, match="in use"):
        export_feast(trained.system.settings, repository)


def test_who_owns_the_view_is_told() -> None:
    view = FeatureView("shop", (Age("listing_age"),), owner="ranking@shop.test")
    told = exported(view, 7)
    assert (told.owner, told.name) == ("ranking@shop.test", f"shop_{view.version}")


def test_reading_makes_no_system(tmp_path: Path) -> None:
    """A folder mistyped stays what it was."""
    with pytest.raises(NotFoundError, match=r"no log in .*--folder"):
        export_feast(load(LAPTOP, folder=tmp_path / "mistyped"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_named(trained: Marketplace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/out cannot be written"):
        export_feast(trained.system.settings, tmp_path / "file" / "out")


@pytest.mark.engine("feast")
def test_feast_reads_our_bytes(trained: Marketplace, repository: Path, tmp_path: Path) -> None:
    view = view_of(trained)
    out = tmp_path / "rows.parquet"
    done = subprocess.run(
        [
            ROOT / "var" / "feast" / "bin" / "python",
            ROOT / "benchmarks" / "feast" / "read_back.py", repository, out,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    registered = json.loads(done.stdout.splitlines()[-1])
    described = {name: told for name, *told in view.describe()}
    assert registered["tags"]["version"] == view.version
    assert [f["column"] for f in registered["features"].values()] == list(view.columns)
    for name, told in registered["features"].items():
        assert [told["about"], told["unit"], told["nan"]] == described[name]
        assert column(f"{registered['view']}:{name}") == told["column"]
    ours = pq.read_table(repository / "data" / f"{registered['view']}.parquet")
    theirs = pq.read_table(out)
    at = by_key(theirs)
    assert at.keys() == by_key(ours).keys()
    assert theirs.num_rows == ours.num_rows
    names = list(registered["features"])
    order = [at[key] for key in by_key(ours)]
    assert np.array_equal(bits(theirs, names)[order], bits(ours, names))
