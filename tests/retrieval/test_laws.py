"""The retrievers under the laws of heirloom.testing."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from heirloom.adapters.tantivy_search import TantivyIndex
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.followed import Followed
from heirloom.retrieval.lexical_search import LexicalSearch
from heirloom.retrieval.neighbours import Similar, Taste
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.recent import Recent
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.search import Search
from heirloom.retrieval.word_index import WordIndex
from heirloom.testing.retrieval import RetrieverLaws


class WithContent:
    """A retriever together with the content index it reads, as the live state folds both."""

    def __init__(self, make: Callable[[ContentIndex], Retriever]) -> None:
        self.content = ContentIndex(Hashed())
        self.inner = make(self.content)
        self.name = self.inner.name

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        self.content.apply(facts, listings)
        self.inner.apply(facts, listings)

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        vector = self.content.text(request.query.text)
        return self.inner.retrieve(replace(request, text_vector=vector), allowed, k)


class TestRecent(RetrieverLaws):
    def make(self) -> Retriever:
        return Recent()


class TestPopular(RetrieverLaws):
    def make(self) -> Retriever:
        return Popular()


class TestPopularOverTwoHalfLives(RetrieverLaws):
    def make(self) -> Retriever:
        # So short that the landmark of the decay moves while the world is folded.
        return Popular(half_lives_ms=(60_000, 600_000))


class TestFollowed(RetrieverLaws):
    def make(self) -> Retriever:
        return Followed()


class TestSimilar(RetrieverLaws):
    def make(self) -> Retriever:
        return WithContent(Similar)


class TestTaste(RetrieverLaws):
    def make(self) -> Retriever:
        return WithContent(Taste)


class TestSearch(RetrieverLaws):
    def make(self) -> Retriever:
        return WithContent(Search)


class TestLexicalSearch(RetrieverLaws):
    def make(self) -> Retriever:
        return WithContent(lambda content: LexicalSearch(WordIndex(), content))


class TestLexicalSearchWithTantivy(RetrieverLaws):
    def make(self) -> Retriever:
        return WithContent(lambda content: LexicalSearch(TantivyIndex(), content))
