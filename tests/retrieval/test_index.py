from heirloom.retrieval.index import ExactIndex, Index
from heirloom.testing.index import IndexLaws


class TestExactIndex(IndexLaws):
    def make(self, dim: int) -> Index:
        return ExactIndex(dim)
