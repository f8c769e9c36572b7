import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import BundleError
from heirloom.encoders import safetensors

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.int8),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    safetensors.write(tmp_path / "x.safetensors", ARRAYS, {"of": "é"})
    arrays, metadata = safetensors.read(tmp_path / "x.safetensors")
    assert metadata == {"of": "é"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.write(path, {"w": np.array([1.5], np.float32)}, {})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert header["w"] == {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    assert (8 + length) % 8 == 0
    assert path.read_bytes()[8 + length :] == struct.pack("<f", 1.5)


def test_the_order_of_arrays_does_not_change_the_file(tmp_path: Path) -> None:
    safetensors.write(tmp_path / "1", ARRAYS, {})
    safetensors.write(tmp_path / "2", dict(reversed(ARRAYS.items())), {})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    safetensors.write(path, ARRAYS, {})
    before = path.read_bytes()
    with pytest.raises(BundleError, match="complex"):
        safetensors.write(path, {"w": np.zeros(1, np.complex64)}, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@given(cut=st.integers(0, 200), at=st.integers(0, 199), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read_but_nothing_else(
    cut: int, at: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("st") / "x"
    safetensors.write(path, ARRAYS, {})
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(data[: len(data) - cut])
    try:
        arrays, _ = safetensors.read(path)
    except BundleError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"x\.safetensors"):
        safetensors.read(tmp_path / "x.safetensors")
