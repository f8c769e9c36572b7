"""Cbm: CatBoost's model files read without CatBoost.

To import CatBoost takes half a second, pandas and polars with it, and a process that only answers
needs its trees alone. A file is `CBM1`, a length, and a FlatBuffer. Source: CatBoost,
libs/model/flatbuffers/model.fbs and features.fbs, whose fields stand here by their numbers;
FlatBuffers, "Internals". A bundle's golden scores tell whether it was read as it was meant.
"""

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.ranking.symmetric import SymmetricTrees

if TYPE_CHECKING:
    from catboost import CatBoost

_MAGIC = b"CBM1"
_TREES = 1
"""Of the root."""
_OUTPUTS, _SPLITS, _SIZES, _FLOATS, _LEAVES, _SCALE, _BIAS, _BIASES = 0, 1, 2, 5, 8, 14, 15, 16
_OTHERS = (4, 6, 7, 10, 12, 13, 18)
"""Of the trees: categories, one-hot and counted features, uneven trees, texts, embeddings."""
_PLACE, _BORDERS, _NAME, _NAN = 2, 3, 4, 5
"""Of a feature."""
_NAN_IS_GREATER = 2
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Cbm:
    """One ensemble.

    Attributes:
        file: as CatBoost writes it.
        columns: names of what it is asked by.
        trees: what it answers with.
    """

    file: bytes
    columns: tuple[str, ...]
    trees: SymmetricTrees

    @classmethod
    def of(cls, model: "CatBoost") -> Self:
        """Of a model of one output, over numbers alone.

        Raises:
            BundleError: the model is none of that kind.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            model.save_model(str(path))
            return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of a file.

        Raises:
            BundleError: it is missing, damaged, or no ensemble of symmetric trees of one output,
                over numbers alone.
        """
        try:
            file = path.read_bytes()
            if file[: len(_MAGIC)] != _MAGIC:
                raise BundleError(f"CatBoost: {path.name} is none of its files")
            (size,) = struct.unpack_from("<I", file, len(_MAGIC))
            core = file[len(_MAGIC) + 4 :][:size]
            trees = _Table(core, _followed(core, 0)).table(_TREES)
            features = sorted(trees.tables(_FLOATS), key=_place)
            return cls(file, tuple(map(_name, features)), _trees(trees, path.name))
        except (OSError, struct.error, ValueError, IndexError) as error:
            raise BundleError(f"CatBoost: {path.name} cannot be read: {error}") from error

    @property
    def size(self) -> int:
        """How many trees."""
        return len(self.trees.starts) - 1


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer: its fields by number, those left out as their defaults."""

    data: bytes
    at: int

    def number(self, field: int, kind: str, default: float) -> float:
        """A scalar, of a format of `struct`."""
        at = self._at(field)
        return default if at is None else float(struct.unpack_from(f"<{kind}", self.data, at)[0])

    def vector(self, field: int, dtype: str) -> NDArray[Any]:
        """Numbers side by side; none where they are left out."""
        at = self._at(field)
        if at is None:
            return np.zeros(0, dtype)
        at = _followed(self.data, at)
        (count,) = struct.unpack_from("<I", self.data, at)
        return np.frombuffer(self.data, dtype, count, at + 4) if count else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        """A string."""
        return self.vector(field, "|u1").tobytes().decode()

    def table(self, field: int) -> "_Table":
        """A table within."""
        at = self._at(field)
        if at is None:
            raise ValueError(f"field {field} is missing")
        return _Table(self.data, _followed(self.data, at))

    def tables(self, field: int) -> "Sequence[_Table]":
        """Tables side by side."""
        at = self._at(field)
        if at is None:
            return ()
        first = _followed(self.data, at) + 4
        offsets = self.vector(field, "<u4").tolist()
        return [_Table(self.data, first + 4 * i + by) for i, by in enumerate(offsets)]

    def _at(self, field: int) -> int | None:
        """Where a field's bytes begin, by the table of offsets that this one names."""
        (back,) = struct.unpack_from("<i", self.data, self.at)
        layout = self.at - back
        (size,) = struct.unpack_from("<H", self.data, layout)
        if 6 + 2 * field > size:
            return None
        (offset,) = struct.unpack_from("<H", self.data, layout + 4 + 2 * field)
        return self.at + int(offset) if offset else None


def _followed(data: bytes, at: int) -> int:
    """What the offset at a place leads to."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _place(feature: _Table) -> float:
    return feature.number(_PLACE, "i", -1)


def _name(feature: _Table) -> str:
    return feature.text(_NAME)


def _trees(told: _Table, name: str) -> SymmetricTrees:
    features = told.tables(_FLOATS)
    places = [int(_place(feature)) for feature in features]
    borders = [feature.vector(_BORDERS, "<f4") for feature in features]
    # A split names one of all features' borders, side by side.
    owner = np.repeat(np.array(places, np.int32), [len(each) for each in borders])
    border = np.concatenate([*borders, np.zeros(0, np.float32)]).astype(np.float32)
    splits, sizes = told.vector(_SPLITS, "<i4"), told.vector(_SIZES, "<i4")
    leaves = told.vector(_LEAVES, "<f8")
    outputs, biases = told.number(_OUTPUTS, "i", 0), told.vector(_BIASES, "<f8")
    if (
        outputs != 1
        or len(biases) > 1
        or any(len(told.vector(field, "|u1")) for field in _OTHERS)
        or sorted(places) != list(range(len(places)))
        or not np.all((sizes >= 0) & (sizes <= _DEEPEST))
        or sizes.sum() != len(splits)
        or (1 << sizes.astype(np.int64)).sum() != len(leaves)
        or not np.all((splits >= 0) & (splits < len(border)))
    ):
        raise BundleError(
            f"CatBoost: {name}: wanted symmetric trees of one output, over numbers alone"
        )
    greater = [each.number(_NAN, "b", 0) == _NAN_IS_GREATER for each in features]
    return SymmetricTrees(
        features=owner[splits],
        borders=border[splits],
        splits=_edges(sizes),
        leaves=leaves.astype(np.float64),
        starts=_edges(1 << sizes.astype(np.int64)),
        nan_first=np.array(places, np.intp)[greater],
        scale=told.number(_SCALE, "d", 1.0),
        bias=told.number(_BIAS, "d", 0.0) + float(biases.sum()),
    )


def _edges(lengths: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
