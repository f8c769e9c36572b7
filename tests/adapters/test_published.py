"""The file of publications: whole, sorted, and never believed where it was edited."""

import json
from pathlib import Path

import pytest

from heirloom.adapters import published as file
from heirloom.core.errors import StoreError
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.published import Published


@pytest.fixture(scope="module")
def published() -> Published:
    both = Published().publish(marketplace_view(), offset=5, t=1_000)
    return both.publish(rental_view(["size"]), offset=6, t=2_000)


def test_what_was_written_is_read(tmp_path: Path, published: Published) -> None:
    assert file.read(tmp_path) is None
    file.write(tmp_path, published)
    assert file.read(tmp_path) == published
    published.check(marketplace_view())
    assert [path.name for path in tmp_path.iterdir()] == [file.FILE]


def test_the_file_is_sorted_and_the_same_for_the_same(tmp_path: Path, published: Published) -> None:
    file.write(tmp_path, published)
    first = (tmp_path / file.FILE).read_bytes()
    read = file.read(tmp_path)
    assert read is not None
    file.write(tmp_path, read)
    assert (tmp_path / file.FILE).read_bytes() == first
    plain = json.loads(first)
    assert json.dumps(plain, sort_keys=True) == json.dumps(plain)
    assert len(first.splitlines()) > 500  # one line a field: a change is one line of a diff


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b'"prior"', b'"prior', "cannot be read"),
        (b'"revision": 1', b'"revision": 2', "edited by hand"),
        (b'"format": 1', b'"format": 7', "format 7; this heirloom reads 1"),
        (b'"hops"', b'"hopes"', "cannot be read"),
    ],
)
def test_a_damaged_or_edited_file_is_refused(
    tmp_path: Path, published: Published, before: bytes, after: bytes, why: str
) -> None:
    file.write(tmp_path, published)
    path = tmp_path / file.FILE
    text = path.read_bytes()
    assert before in text
    path.write_bytes(text.replace(before, after, 1))
    with pytest.raises(StoreError, match=why):
        file.read(tmp_path)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, published: Published) -> None:
    file.write(tmp_path, Published())
    (tmp_path / file.FILE).unlink()
    (tmp_path / file.FILE / "in the way").mkdir(parents=True)
    with pytest.raises(StoreError, match="nothing was published"):
        file.write(tmp_path, published)
    assert [path.name for path in tmp_path.iterdir()] == [file.FILE]
