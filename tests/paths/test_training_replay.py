"""What training looks up impression by impression is what the replay driver gives in one call."""

import numpy as np
import pytest

from heirloom.apps.parts import recipe_of
from heirloom.core.query import Request
from heirloom.features.replay import Rows, replay
from heirloom.features.state import FeatureState
from heirloom.pipelines.train import examples_of_impressions

from .conftest import Marketplace


class Recorded:
    """The lookups of a state, as rows for a replay."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Request, np.ndarray, dict[str, np.ndarray]]] = []

    def rows(self) -> Rows:
        def each(value, dtype: type) -> np.ndarray:
            parts = [np.full(len(slots), value(n, r), dtype) for n, r, slots, _ in self.asked]
            return np.concatenate(parts)

        given = self.asked[0][3]
        return Rows(
            n=each(lambda n, _: n, np.int64),
            t=each(lambda _, request: request.query.t, np.int64),
            person=each(lambda _, request: request.person, np.int32),
            surface=each(lambda _, request: request.surface, np.int8),
            text=each(lambda _, request: request.text, np.int32),
            declared=np.concatenate(
                [np.tile(r.declared, (len(s), 1)) for _, r, s, _ in self.asked]
            ),
            slot=np.concatenate([slots for _, _, slots, _ in self.asked]),
            given={name: np.concatenate([each[3][name] for each in self.asked]) for name in given},
        )


def test_training_reads_the_bytes_of_the_replay_driver(
    trained: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, recorded, lookup = trained.system, Recorded(), FeatureState.lookup

    def record(state: FeatureState, request, slots, given):
        recorded.asked.append((state.n, request, slots, given))
        return lookup(state, request, slots, given)

    live = system.empty_live(retrievers=False)
    with monkeypatch.context() as patch:
        patch.setattr(FeatureState, "lookup", record)
        examples, _ = examples_of_impressions(
            system.log, live, recipe_of(system.settings), lambda *_: None
        )
    rows = recorded.rows()
    replayed = replay(live.view, system.log.facts(), rows)
    assert len(rows) == len(examples.values) > 1_000
    assert replayed.values.tobytes() == examples.values.tobytes()
