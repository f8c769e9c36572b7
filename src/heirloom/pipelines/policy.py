"""Policy: everything that decides a slate, and what of it is refused before it serves anybody."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import Surface
from heirloom.features.published import Published, difference
from heirloom.pipelines.live import Live
from heirloom.ranking.actions import weights_of
from heirloom.ranking.ranker import Ranker
from heirloom.slates.rules import Rules


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides a slate.

    Attributes:
        name: as it stands in responses and records.
        quotas: for each surface, how many candidates each retriever may give.
        ranker: orders the candidates; None keeps the order of retrieval, and says so.
        bundle: id of the bundle the ranker came from.
        action_weights: for each surface, the weight of each of the ranker's actions in the order,
            by name; an action not named weighs nothing. A ranker of one action needs none.
        pool: how many fused candidates are ranked.
        pools: the same of a surface, where it is another.
        seller_cap: at most so many listings of one seller on a page.
        retrieval_weight: weight of the log of retrieval's fused score beside the ranker's, as if
            both were chances; 0 leaves the order to the ranker alone.
        fusion: weight of each retriever in the fused score, 1 where it is not named. By a small one
            a retriever fills the pool when others find too little, and orders next to nothing.
        rules: what slates are held to beyond the order of scores and the seller's cap.
        surfaces: where the rules hold.
        spare: what scores where this policy's ranker cannot: that of the bundle before.
    """

    name: str
    quotas: Mapping[str, Mapping[str, int]]
    ranker: Ranker | None = None
    bundle: str = ""
    action_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pool: int = 300
    pools: Mapping[str, int] = field(default_factory=dict)
    seller_cap: int = 3
    retrieval_weight: float = 0.0
    fusion: Mapping[str, float] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    surfaces: tuple[str, ...] = tuple(Surface)
    spare: "Policy | None" = None
    _weights: dict[str, NDArray[np.float32]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # by surface, once they were asked for

    def pool_of(self, surface: str) -> int:
        """How many fused candidates are ranked on a surface."""
        return self.pools.get(surface, self.pool)

    def check(self, live: Live, published: Published | None = None) -> None:
        """Refuse a misconfiguration before it serves anybody.

        Args:
            live: what it is to be used with.
            published: what was published, to say how a bundle's features differ from the view's.

        Raises:
            ConfigError: listing all that is wrong.
        """
        problems = []
        for surface in Surface:
            if not self.quotas.get(surface):
                problems.append(f"surface {surface} has no retriever; name at least one")
            for name in self.quotas.get(surface, {}):
                if name not in live.retrievers:
                    known = ", ".join(sorted(live.retrievers))
                    problems.append(f"surface {surface}: no retriever {name!r}; known: {known}")
        named = {name for quota in self.quotas.values() for name in quota}
        for name in sorted(set(self.fusion) - named):
            known = ", ".join(sorted(named))
            problems.append(f"fusion: no surface names {name!r}; known: {known}")
        problems += self._slate_problems(live)
        if self.ranker is not None:
            if self.ranker.columns != live.view.columns:
                differs = difference(self.ranker.columns, live.view, published)
                problems.append(
                    f"the ranker was trained on {_sample(self.ranker.columns)}, but view "
                    f"{live.view.name!r} gives {_sample(live.view.columns)}"
                    f"{''.join(f'; {what}' for what in differs)}; "
                    "load the bundle that was trained with this view, or train again"
                )
            for surface in Surface:
                try:
                    self.weights(surface)
                except ConfigError as error:
                    problems += [f"{error.where}: {problem}" for problem in error.problems]
        if problems:
            raise ConfigError(f"policy {self.name!r}", problems)

    def weights(self, surface: str) -> NDArray[np.float32]:
        """[actions] float32, the weight of each of the ranker's actions on a surface; read only.

        Raises:
            ConfigError: if they are not those of the ranker.
        """
        if (found := self._weights.get(surface)) is None:
            actions = self.ranker.actions if self.ranker is not None else ()
            given = self.action_weights.get(surface, {})
            found = weights_of(actions, given, f"weights.{surface}")
            found.flags.writeable = False
            self._weights[surface] = found
        return found

    def _slate_problems(self, live: Live) -> list[str]:
        problems = [f"slate: {problem}" for problem in self.rules.problems()]
        unknown = sorted(set(self.surfaces) - set(Surface))
        problems += [f"slate: no surface {x!r}; known: {', '.join(Surface)}" for x in unknown]
        if self.rules.shares and live.exposure is None:
            problems.append("slate: shares are held by a Live that counts exposure; give it one")
        if self.rules.seen_cap and live.frequency is None:
            problems.append("slate: seen_cap wants a Live that counts frequency; give it one")
        return problems


def _sample(columns: tuple[str, ...]) -> str:
    return f"{len(columns)} columns ({', '.join(columns[:2])}, …)"
