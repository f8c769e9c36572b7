"""Name → class, for what a TOML may name: our own, and any installed package's by entry point.

A package offers a retriever with

    [project.entry-points."heirloom.retrievers"]
    neighbours = "my_package:Neighbours"

and likewise `heirloom.rankers` and `heirloom.views`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from heirloom.core.errors import ConfigError
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.deep_cross import DeepCross
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.linear import Linear
from heirloom.ranking.neural import Neural
from heirloom.ranking.ranker import Ranker
from heirloom.retrieval.followed import Followed
from heirloom.retrieval.lexical_search import LexicalSearch
from heirloom.retrieval.neighbours import Personal, Similar, Taste
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.recent import Recent
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.saved_search import SavedSearch
from heirloom.retrieval.search import Search
from heirloom.retrieval.towers.retriever import ByTakers
from heirloom.retrieval.word_index import WordIndex

MakeRetriever = Callable[[Live], Retriever]
MakeView = Callable[[tuple[str, ...]], FeatureView]
"""Declared attributes → view."""


def _tantivy(live: Live) -> Retriever:
    """Its library is loaded where it is named alone: that takes a start's time."""
    from heirloom.adapters.tantivy_search import TantivyIndex

    return LexicalSearch(TantivyIndex(live.synonyms), live.content, "tantivy")


OWN_RETRIEVERS: dict[str, MakeRetriever] = {
    "recent": lambda _: Recent(),
    "popular": lambda _: Popular(),
    "takers": lambda _: ByTakers(),
    "similar": lambda live: Similar(live.content),
    "taste": lambda live: Taste(live.content),
    "personal": lambda live: Personal(live.content),
    "search": lambda live: Search(live.content),
    "lexical": lambda live: LexicalSearch(WordIndex(live.synonyms), live.content, "lexical"),
    "tantivy": _tantivy,
    "followed": lambda _: Followed(),
    "saved_search": lambda live: SavedSearch(
        live.saved_searches, live.catalogue, lambda: live.matcher(live.retrievers)
    ),
}
OWN_RANKERS: dict[str, type[Ranker]] = {
    "actions": CatBoostActions,
    "catboost": CatBoostListwise,
    "deep_cross": DeepCross,
    "expected": CatBoostExpected,
    "lightgbm": LightGBMLambdaMART,
    "linear": Linear,
    "neural": Neural,
}
OWN_VIEWS: dict[str, MakeView] = {
    "marketplace": lambda _: marketplace_view(),
    "rental": rental_view,
    "rental_dense": lambda declared: rental_view(declared, codes=False),
}


@dataclass(frozen=True, slots=True)
class Registry:
    """What names stand for. Immutable: `with_…` gives a new one."""

    retrievers: Mapping[str, MakeRetriever]
    rankers: Mapping[str, type[Ranker]]
    views: Mapping[str, MakeView]

    @classmethod
    def installed(cls) -> "Registry":
        """Our own, and what installed packages offer.

        Raises:
            ConfigError: if a package takes a name that is taken, or its class cannot be loaded.
        """
        return cls(
            retrievers=_with_installed("heirloom.retrievers", OWN_RETRIEVERS),
            rankers=_with_installed("heirloom.rankers", OWN_RANKERS),
            views=_with_installed("heirloom.views", OWN_VIEWS),
        )

    def with_retriever(self, name: str, make: MakeRetriever) -> "Registry":
        """With one more retriever; `make` is given the live state."""
        return replace(self, retrievers={**self.retrievers, name: make})

    def with_ranker(self, name: str, ranker: type[Ranker]) -> "Registry":
        """With one more ranker."""
        return replace(self, rankers={**self.rankers, name: ranker})

    def with_view(self, name: str, make: MakeView) -> "Registry":
        """With one more feature view."""
        return replace(self, views={**self.views, name: make})


def _with_installed(group: str, own: Mapping[str, Any]) -> dict[str, Any]:
    found, problems = dict(own), []
    for point in entry_points(group=group):
        if point.name in found:
            problems.append(f"{point.name!r} of {point.value} is taken; rename the entry point")
            continue
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:
            problems.append(f"{point.name!r} = {point.value} cannot be loaded: {error}")
    if problems:
        raise ConfigError(f"entry points {group}", problems)
    return found


def pick(kind: str, table: Mapping[str, Any], name: str) -> Any:
    """The entry of a name.

    Raises:
        ConfigError: that lists the known names.
    """
    if name not in table:
        raise ConfigError(f"{kind} {name!r}", [f"unknown; known: {', '.join(sorted(table))}"])
    return table[name]
