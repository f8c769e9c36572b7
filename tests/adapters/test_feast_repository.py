import ast
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.adapters.feast_repository import (
    ExportedFeature,
    ExportedView,
    column,
    reference,
    write,
)
from heirloom.core.errors import ConfigError, InputError, SchemaError
from heirloom.core.slate import FeatureBatch

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
COLUMNS = ("shop@0a1b2c3d.seen_7d", "shop@0a1b2c3d.price")
QUOTES = "How often {it} was 'seen', \"clicked\" or \\ not.\nNew line."


@dataclass(frozen=True)
class Shown:
    listings: tuple[str, ...]
    person: str
    t: int
    created: int
    slate: str
    surface: str
    positions: np.ndarray
    gains: np.ndarray
    batch: FeatureBatch


def shown(*listings: str, t: int = 1_700_000_000_123, columns=COLUMNS) -> Shown:
    n = len(listings)
    values = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    values[0, 1] = np.nan
    return Shown(
        listings, "anna", t, t + 5, f"s{t}", "home",
        np.arange(n, dtype=np.int16), np.zeros(n, np.float32), FeatureBatch(values, columns, 7),
    )  # fmt: skip


def view(*about: str) -> ExportedView:
    return ExportedView(
        [
            ExportedFeature(name, text, {"nan": "never"})
            for name, text in zip(COLUMNS, about or ("", ""), strict=True)
        ],
        owner=QUOTES,
        about=QUOTES,
    )


@given(name=NAMES, version=VERSIONS, feature=NAMES)
def test_a_name_is_found_again(name: str, version: str, feature: str) -> None:
    ours = f"{name}@{version}.{feature}"
    theirs = reference(ours)
    assert column(theirs) == ours
    assert "@" not in theirs
    assert "." not in theirs


@pytest.mark.parametrize("wrong", ["price", "shop.price", "shop@x.price", "Shop@0a.price", ""])
def test_other_names_are_refused(wrong: str) -> None:
    with pytest.raises(SchemaError, match="wanted view@version"):
        reference(wrong)
    with pytest.raises(SchemaError, match="wanted view_version"):
        column(wrong)


def test_a_repository_holds_rows_labels_and_definitions(tmp_path: Path) -> None:
    rows = [shown("a", "b"), shown("a", t=1_700_000_000_124)]
    assert write(tmp_path / "new", view(QUOTES, "Log price."), rows) == 3
    values = pq.read_table(tmp_path / "new" / "data" / "shop_0a1b2c3d.parquet")
    assert values["listing"].to_pylist() == ["a", "b", "a"]
    assert values["event_timestamp"].cast("int64").to_pylist() == [
        r.t for r in rows for _ in r.listings
    ]
    assert values["seen_7d"].to_numpy().tobytes() == np.array([0, 2, 0], np.float32).tobytes()
    assert np.isnan(values["price"].to_numpy()).tolist() == [True, False, True]
    labels = pq.read_table(tmp_path / "new" / "data" / "entities.parquet")
    assert labels["position"].to_pylist() == [0, 1, 0]
    assert labels["n"].to_pylist() == [7, 7, 7]
    tree = ast.parse((tmp_path / "new" / "features.py").read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {QUOTES, "Log price.", *COLUMNS} <= texts


def test_nothing_is_left_of_an_export_that_failed_but_its_draft(tmp_path: Path) -> None:
    others = tuple(name.replace("0a", "0b") for name in COLUMNS)
    with pytest.raises(SchemaError, match="wanted"):
        write(tmp_path / "new", view(), [shown("a"), shown("b", columns=others)])
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="broke off"):
        write(tmp_path / "new", view(), [shown("a")])


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="in use"):
        write(tmp_path, view(), [])
    with pytest.raises(InputError, match="in use"):
        write(tmp_path / "mine.txt", view(), [])


def test_views_that_feast_cannot_tell_apart_are_refused() -> None:
    both = [*view().features, ExportedFeature("other@0a1b2c3d.price", "")]
    with pytest.raises(ConfigError, match="wanted one view"):
        ExportedView(both)
    with pytest.raises(ConfigError, match="key column"):
        replace(view(), features=[ExportedFeature("shop@0a1b2c3d.person", "")])
