"""A simulated log as rankers of several actions learn from it: examples, and who did what.

The product's own path: the frozen simulator's events are ingested, and each slate's features are
replayed as of the impression (`train.examples_of_impressions`), those of slates on which nobody
acted too. The simulator's people do all they will do within the hour.
"""

import dataclasses
import tempfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM
from heirloom.apps.parts import recipe_of
from heirloom.apps.settings import load
from heirloom.evaluation.split import by_time, moment
from heirloom.pipelines.train import examples_of_impressions
from heirloom.ranking.actions import HOUR_MS, Action
from heirloom.ranking.deep_cross import Labels
from heirloom.ranking.examples import take
from heirloom.ranking.gains import GAINS
from heirloom.ranking.ranker import Examples
from heirloom.simulator import VERSION, Mixed, Size, World

SIZE = Size(listings=3_000, people=1_200, days=4, sessions_per_day=0.5)
ACTIONS = tuple(GAINS)
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Acted:
    """Three parts in time order, to learn from, to stop by, and to test on.

    Attributes:
        train, validation, test: gains as the system's settings give them.
        labels: of train and validation.
        test_labels: [rows, actions] float32.
        validation_surfaces, test_surfaces: [rows] codes.
        worths: [actions] float32, the gain of each.
        what: for a row's note.
    """

    train: Examples
    validation: Examples
    test: Examples
    labels: Labels
    test_labels: NDArray[np.float32]
    validation_surfaces: NDArray[np.int8]
    test_surfaces: NDArray[np.int8]
    worths: NDArray[np.float32]
    what: str


def acted(seed: int = 0, size: Size = SIZE) -> Acted:
    """Simulate, ingest and replay; the latest 20 % is the test, 10 % before it the validation."""
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(SYSTEM, folder=folder), answering=False)
        try:
            world = World(size, seed=seed, start_ms=system.now_ms() - 90 * DAY_MS)
            system.ingest_history(world.opening(), source="simulator")
            logging = Mixed(world)
            while world.day < size.days:
                system.ingest_history(world.step(logging).events(), source="simulator")
            recipe = recipe_of(system.settings)
            actions = tuple(Action(kind, (kind,), HOUR_MS) for kind in ACTIONS)
            examples, surfaces = examples_of_impressions(
                system.log,
                system.empty_live(retrievers=False),
                dataclasses.replace(recipe, actions=actions),
                lambda *_: None,
            )
        finally:
            system.close()
    labels = examples.done
    if labels is None or np.isnan(labels).any():
        raise RuntimeError("the log ends before its labels are known")
    worths = np.array([recipe.gains[action] for action in ACTIONS], np.float32)
    rows = by_time(examples.t, moment(examples.t, 0.7), moment(examples.t, 0.8))
    train, validation, test = (take(examples, part) for part in rows)
    return Acted(
        train=train,
        validation=validation,
        test=test,
        labels=Labels(ACTIONS, labels[rows[0]], labels[rows[1]]),
        test_labels=labels[rows[2]],
        validation_surfaces=surfaces[rows[1]],
        test_surfaces=surfaces[rows[2]],
        worths=worths,
        what=(
            f"simulator version {VERSION}, seed {seed}, {size.listings:,} listings, "
            f"{size.people:,} people, {size.days} days: {len(train.gains):,} rows learned from, "
            f"{len(test.gains):,} rows of {len(np.unique(test.groups)):,} slates tested on, "
            f"{len(examples.columns)} features"
        ),
    )
