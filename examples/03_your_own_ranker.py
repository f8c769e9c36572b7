"""A retriever and a ranker of your own, from train to evaluate to serve.

    python examples/03_your_own_ranker.py

In a package of yours, two lines under [project] take the place of the two `with_…` calls:

    entry-points."heirloom.retrievers".bargains = "my_package:Bargains"
    entry-points."heirloom.rankers".ridge = "my_package:Ridge"
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.registry import Registry
from heirloom.apps.settings import load
from heirloom.core.query import Query
from heirloom.core.slate import Candidates, FeatureBatch
from heirloom.pipelines.live import Live
from heirloom.ranking.ranker import Examples

SYSTEM = Path(__file__).parent / "03_system.toml"


class Bargains:
    """Live listings whose price fell most since they were listed."""

    name = "bargains"

    def __init__(self, live: Live) -> None:
        self.catalogue = live.catalogue

    def apply(self, facts, listings) -> None:
        """Nothing to fold."""

    def retrieve(self, request, allowed, k) -> Candidates:
        now, first = (self.catalogue.column(c) for c in ("price_minor", "first_price_minor"))
        drop = np.where(allowed & (first > 0), 1 - now / np.maximum(first, 1), 0)
        slots = np.argsort(-drop, kind="stable")[:k]
        slots = slots[drop[slots] > 0].astype(np.int32)
        return Candidates.of(self.name, slots, drop[slots].astype(np.float32))


@dataclass(frozen=True)
class Ridge:
    """Least squares on standardised features, with missing ones at their mean."""

    columns: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    actions: tuple[str, ...] = ("engagement",)

    @classmethod
    def fit(cls, train: Examples, validation: Examples, *, seed: int) -> Self:
        known = np.maximum((~np.isnan(train.values)).sum(axis=0), 1)
        mean = np.nansum(train.values, axis=0) / known
        scale = np.sqrt(np.nansum((train.values - mean) ** 2, axis=0) / known) + 1e-6
        x = np.nan_to_num((train.values - mean) / scale).astype(np.float64)
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ train.gains)
        return cls(train.columns, mean, scale, weights)

    def score(self, batch: FeatureBatch) -> np.ndarray:
        x = np.nan_to_num((batch.values - self.mean) / self.scale)
        return (x @ self.weights).astype(np.float32)[:, None]

    def save(self, folder: Path) -> None:
        arrays = [self.mean.tolist(), self.scale.tolist(), self.weights.tolist()]
        (folder / "ridge.json").write_text(json.dumps([self.columns, *arrays]))

    @classmethod
    def load(cls, folder: Path) -> Self:
        columns, *arrays = json.loads((folder / "ridge.json").read_text())
        return cls(tuple(columns), *map(np.array, arrays))


def main() -> None:
    registry = Registry.installed().with_retriever("bargains", Bargains)
    registry = registry.with_ranker("ridge", Ridge)
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(SYSTEM, folder=folder), registry=registry)
        simulate_into(system, "tiny", 0, None, Silent())
        bundle, trained = system.train()
        print(f"bundle {bundle.bundle_id}:", {k: round(v, 3) for k, v in trained.metrics.items()})
        slate = system.recommend(Query(t=system.now_ms(), user="somebody-new", k=8))
        for shown in slate.shown:
            print(f"  {shown.score:7.3f}  {shown.listing}  from {', '.join(shown.sources)}")
        system.close()


if __name__ == "__main__":
    main()
