import numpy as np
import pytest
import torch

from heirloom.core.errors import ShapeError
from heirloom.encoders.training.negatives import Queue, hardest
from heirloom.encoders.training.towers import AttributeBag, module_of, vectors_of

STARTS = np.array([0, 0, 2, 2, 3])  # rows 0 and 2 have no attribute, 1 has two, 3 has one
ATTRIBUTES = np.array([0, 1, 1])


def test_an_item_is_the_mean_of_its_attributes() -> None:
    tower = AttributeBag(STARTS, ATTRIBUTES, 4, ids=False)
    table = tower.table.detach()
    made = tower(torch.tensor([3, 1, 0, 2, 1])).detach()
    wanted = [table[1], (table[0] + table[1]) / 2, 0 * table[0], 0 * table[0], made[1]]
    torch.testing.assert_close(made, torch.stack(wanted))


def test_ids_are_added_where_they_are_told() -> None:
    tower = AttributeBag(STARTS, ATTRIBUTES, 4, ids=True)
    rows = torch.arange(4)
    without = AttributeBag(STARTS, ATTRIBUTES, 4, ids=False)
    without.load_state_dict({"table": tower.table.detach()})
    torch.testing.assert_close(tower(rows), without(rows) + tower.ids)
    torch.testing.assert_close(vectors_of(tower, at_once=3), tower(rows).detach())


@pytest.mark.parametrize("starts", [[0, 1, 2], [1, 3], [0, 2, 1, 3]])
def test_starts_that_do_not_fit_are_refused(starts: list[int]) -> None:
    with pytest.raises(ShapeError, match="starts do not fit 3"):
        AttributeBag(np.array(starts), ATTRIBUTES, 4, ids=True)


def test_items_that_would_all_be_alike_are_refused() -> None:
    with pytest.raises(ShapeError, match="all be alike"):
        AttributeBag(np.zeros(4, np.int64), np.zeros(0, np.int64), 4, ids=False)


def test_what_is_no_module_cannot_be_fitted() -> None:
    with pytest.raises(TypeError, match="int came"):
        module_of(3)  # type: ignore[arg-type]


def test_a_queue_keeps_the_latest_without_gradient() -> None:
    queue = Queue(3)
    assert queue.items_and_vectors(torch.device("cpu")) == []
    for i in range(5):
        queue.put(torch.tensor([i]), torch.full((1, 2), float(i), requires_grad=True))
    ((items, vectors),) = queue.items_and_vectors(torch.device("cpu"))
    assert items.tolist() == [2, 3, 4]
    assert vectors[:, 0].tolist() == [2.0, 3.0, 4.0]
    assert not vectors.requires_grad
    queue.clear()
    assert queue.items_and_vectors(torch.device("cpu")) == []


def test_the_very_likeliest_are_not_mined() -> None:
    logits = torch.arange(300.0)[None]
    assert hardest(logits, 2).tolist() == [296, 295]
