"""The indices under the laws of heirloom.testing: exact, compared exactly, and by codes."""

import numpy as np
import pytest

from heirloom.core.errors import InputError
from heirloom.retrieval.index import Index
from heirloom.retrieval.vectors.answer import FilteredIndex
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.searcher import Settings
from heirloom.retrieval.vectors.where import Columns
from heirloom.testing.index import IndexLaws
from heirloom.testing.vectors import DIM, FilteredIndexLaws, rows

BY_CODES = Settings(exact_rows=0, rows_share=0, rerank=3)
BY_ROWS = Settings(exact_rows=0, rows_share=1, rerank=3)


def by_codes(
    dim: int,
    model_id: str,
    columns: Columns,
    form: int | None = 1,
    settings: Settings = BY_CODES,
) -> VectorIndex:
    codebook = Codebook.trained(rows(99, 400)[0][:, :dim], model_id, lists=5, seed=1)
    return VectorIndex(codebook, columns, settings, form=form)


class TestExactVectorsAsIndex(IndexLaws):
    def make(self, dim: int) -> Index:
        return ExactVectors(dim)


class TestVectorIndexAsIndex(IndexLaws):
    def make(self, dim: int) -> Index:
        return VectorIndex(Codebook.untrained(dim, "m"))


class TestVectorIndexByCodesAsIndex(IndexLaws):
    least_recall = 0.9

    def make(self, dim: int) -> Index:
        return by_codes(dim, "m", Columns())


class TestExactVectors(FilteredIndexLaws):
    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return ExactVectors(dim, model_id, columns)


class TestVectorIndex(FilteredIndexLaws):
    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return VectorIndex(Codebook.untrained(dim, model_id), columns)


class TestVectorIndexByCodes(FilteredIndexLaws):
    least_recall = 0.8

    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return by_codes(dim, model_id, columns)


class TestVectorIndexByRows(FilteredIndexLaws):
    least_recall = 0.8

    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return by_codes(dim, model_id, columns, settings=BY_ROWS)


def test_a_codebook_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(InputError, match="NaN"):
        Codebook.trained(np.full((10, DIM), np.nan, np.float32), "m")
