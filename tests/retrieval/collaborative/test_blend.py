import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.core.slate import Candidates
from heirloom.retrieval.collaborative.blend import (
    blended,
    log_share,
    log_softmax,
    reciprocal_ranks,
    tuned,
)
from heirloom.retrieval.fusion import fuse

A = np.array([[4.0, 1.0, 3.0, 2.0]], np.float32)
B = np.array([[1.0, 2.0, 4.0, 3.0]], np.float32)


def test_shares_and_softmax_are_logs_of_chances() -> None:
    np.testing.assert_allclose(np.exp(log_share(A)).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_softmax(A * 100)).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(log_share(A), np.log(A / A.sum()), rtol=1e-5)


def test_a_row_without_any_score_is_level() -> None:
    found = log_share(np.array([[0.0, -1.0]], np.float32))
    assert np.isfinite(found).all()
    assert found[0, 0] == found[0, 1]


def test_parts_of_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="one weight a part"):
        blended([A, B], [1.0])
    with pytest.raises(ShapeError, match="one shape"):
        blended([A, B[:, :2]], [1.0, 1.0])


def test_ranks_are_merged_as_retrievers_are() -> None:
    found = reciprocal_ranks([A, B], 3)
    parts = []
    for name, scores in (("a", A), ("b", B)):
        order = np.argsort(-scores[0], kind="stable")[:3].astype(np.int32)
        parts.append(Candidates.of(name, order, scores[0, order]))
    fused = fuse(parts, 4)
    np.testing.assert_allclose(found[0, fused.slots], fused.scores, rtol=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4))
def test_tuning_climbs_to_the_best_weights_on_a_smooth_hill(raw: list[float]) -> None:
    goal = np.array(raw) + 0.1
    goal /= goal.sum()
    found = tuned(lambda w: -float(np.square(np.array(w) - goal).sum()), [1.0] * len(goal))
    assert abs(sum(found) - 1) < 1e-5
    assert min(found) >= 0
    assert np.abs(np.array(found) - goal).max() <= 0.1


def test_tuning_never_ends_below_its_start() -> None:
    rough = {(0.5, 0.5): 3.0}
    assert tuned(lambda w: rough.get(w, 0.0), (1, 1)) == (0.5, 0.5)
