import numpy as np
import pytest

from heirloom.core.slate import Candidates
from heirloom.pipelines.scoring import blended
from heirloom.retrieval.fusion import fuse


@pytest.fixture
def found() -> Candidates:
    one = Candidates.of("one", np.array([4, 9, 2], np.int32), np.array([3, 2, 1], np.float32))
    return fuse([one], 3)


def test_without_weight_the_ranker_decides_alone(found: Candidates) -> None:
    scores = np.array([0.1, 0.3, 0.2], np.float32)
    assert blended(scores, found, 0.0).tobytes() == scores.tobytes()


def test_the_score_is_a_product_of_chances(found: Candidates) -> None:
    scores = np.array([0.1, 0.3, 0.2], np.float32)
    chances = np.exp(scores) * (1 / (60 + np.arange(1, 4))) ** 1.5
    np.testing.assert_allclose(np.exp(blended(scores, found, 1.5)), chances, rtol=1e-5)


def test_a_ranker_that_knows_nothing_leaves_the_order_of_retrieval(found: Candidates) -> None:
    scores = blended(np.zeros(3, np.float32), found, 0.5)
    assert found.slots[np.argsort(-scores)].tolist() == [4, 9, 2]
