"""Safetensors: named arrays in one file that cannot carry code.

The format: 8 bytes little-endian, the header's length; the header, JSON of name → dtype, shape and
begin and end in what follows; the arrays, row-major, without gaps (github.com/huggingface/
safetensors, format section). Written here because reading it takes fifty lines.
"""

import json
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I8": np.dtype("i1"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000
METADATA = "__metadata__"


def write(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays and text in one file, beside and then renamed: it is there whole or not at all.

    The same arrays give the same bytes.

    Raises:
        BundleError: for a dtype that the format, or this module, does not know.
    """
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
    parts = []
    at = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        if array.dtype not in _NAMES:
            raise BundleError(f"{path.name}: array {name!r} is {array.dtype}; known: {[*_DTYPES]}")
        data = array.tobytes()
        shape = list(arrays[name].shape)
        header[name] = {
            "dtype": _NAMES[array.dtype], "shape": shape, "data_offsets": [at, at + len(data)]
        }  # fmt: skip
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            file.write(struct.pack("<Q", len(text)) + text)
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and text of a file that `write`, or anybody else's writer of the format, made.

    Raises:
        BundleError: if the file is missing, damaged, or lies about its lengths.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error}") from error
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(_MAX_HEADER, len(data) - 8):
            raise BundleError(f"{path.name}: the header says {length} bytes; the file is shorter")
        header = json.loads(data[8 : 8 + length])
        metadata = dict(header.pop(METADATA, {}))
        body = memoryview(data)[8 + length :]
        arrays = {name: _array(body, entry) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path.name} is damaged or no safetensors file: {error}") from error
    return arrays, metadata


def _array(body: memoryview, entry: Mapping[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype: np.dtype[Any] = _DTYPES[entry["dtype"]]
    shape = [int(size) for size in entry["shape"]]
    if not 0 <= begin <= end <= len(body) or any(size < 0 for size in shape):
        raise ValueError(f"offsets {[begin, end]} leave the {len(body)} bytes there are")
    flat: NDArray[Any] = np.frombuffer(bytes(body[begin:end]), dtype)
    return flat.reshape(shape).copy()
