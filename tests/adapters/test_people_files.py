"""Files of people: each once, in order, and what is wrong with a file is said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heirloom.adapters.people_files import PeopleFile
from heirloom.core.errors import InputError

IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1)


def of(path: Path, column: str | None = None) -> list[str]:
    return list(PeopleFile.surveyed(path, column).people())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(ids=st.lists(st.sampled_from(["a", "b", "ü", "x y"]) | IDS, min_size=1, max_size=30))
def test_each_person_comes_once_in_order(ids: list[str], tmp_path: Path) -> None:
    wanted = list(dict.fromkeys(ids))
    pq.write_table(pa.table({"n": range(len(ids)), "user": ids}), tmp_path / "p.parquet")
    assert of(tmp_path / "p.parquet") == wanted
    (tmp_path / "p.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    assert of(tmp_path / "p.txt") == [each for each in wanted if each.strip()]


def test_formats(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('﻿n,person\n1,anna\n2,"b, c"\n\n3, dora \n', encoding="utf-8")
    assert of(tmp_path / "a.csv") == ["anna", "b, c", "dora"]
    assert of(tmp_path / "a.csv", "n") == ["1", "2", "3"]
    (tmp_path / "a.tsv").write_text("user_id\tage\nanna\t3\n")
    assert of(tmp_path / "a.tsv") == ["anna"]
    pq.write_table(pa.table({"user": pa.array([3, 5, 3], pa.int64())}), tmp_path / "n.parquet")
    assert of(tmp_path / "n.parquet") == ["3", "5"]


@pytest.mark.parametrize(
    ("name", "content", "column", "told"),
    [
        ("no.txt", None, None, "no such file"),
        ("p.txt", b"\n\n", None, "nobody stands in it"),
        ("p.txt", b"anna\n", "user", "has no column 'user'"),
        ("p.txt", b"anna\n" + b"x" * 257, None, "row 2: .* is no person's id"),
        ("p.txt", b"anna\n\xff\xfe", None, "not UTF-8"),
        ("p.csv", b"name,age\nanna,3\n", None, "no column person or user.*name, age"),
        ("p.csv", b"name,age\nanna,3\n", "user", "no column user; its columns are name, age"),
        ("p.csv", b"", None, "its columns are none"),
        ("p.csv", b"n,user\n1,anna\n2\n", None, "row 3: None is no person's id"),
        ("p.csv", b'user\n"anna\n', None, "line 2"),
        ("p.parquet", b"PAR1", None, "no Parquet file"),
    ],
)
def test_a_file_that_is_none_is_refused(
    name: str, content: bytes | None, column: str | None, told: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        of(tmp_path / name, column)


@pytest.mark.parametrize("value", [None, 1.5, True])
def test_a_value_that_is_no_id_is_refused(value: object, tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": pa.array([value, value])}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"row 1: .* is no person's id"):
        of(tmp_path / "p.parquet")


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a\nb\n")
    found = PeopleFile.surveyed(path)
    path.write_text("a\nc\n")
    with pytest.raises(InputError, match="it was changed"):
        list(found.people())
