import numpy as np
import pytest
import torch

from heirloom.core.errors import ShapeError
from heirloom.encoders.question import ASKED, MOST_WISHED, QuestionRows
from heirloom.encoders.training.asked import AskedRows
from heirloom.encoders.training.fit import Recipe, fit
from heirloom.encoders.training.objective import Objective, Sampling

from . import circle


def rows_of(events: int, rows: int, seed: int = 0) -> QuestionRows:
    """Anything may be asked, also nothing; rows of the last wish are few."""
    rng = np.random.default_rng(seed)
    wished = rng.integers(1, rows, (4, MOST_WISHED))
    wished[0] = wished[3, 1:] = 0
    return QuestionRows(
        surfaces=rng.integers(0, 4, events).astype(np.int8),
        texts=rng.integers(0, 2, events) * rng.integers(1, rows, events),
        anchors=rng.integers(0, 2, events) * rng.integers(1, rows, events),
        wishes=rng.integers(0, 4, events),
        wished=wished,
        items=rows,
    )


def test_learned_from_is_what_is_served() -> None:
    questions = rows_of(20, 9)
    table = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    foretold = torch.tensor([[3, 7, -1], [19, 0, 4]])
    asked = AskedRows.of(questions, foretold)
    made = asked.question(torch.from_numpy(table)[asked.rows()])
    wanted = questions.questions(table)
    assert made.vectors.shape == (2, 3, len(ASKED), 4)
    for place, event in np.ndenumerate(foretold.numpy()):
        if event < 0:
            assert not made.vectors[place].any()
            assert made.surfaces[place] == 0
        else:
            np.testing.assert_allclose(made.vectors[place], wanted.vectors[event], atol=1e-6)
            assert made.surfaces[place] == wanted.surfaces[event]


def test_the_first_event_is_foretold_by_its_question() -> None:
    """Each of the people does one thing, the one that the text names; and a few another."""
    items = np.arange(400) % 6 + 1
    starts = np.arange(400)
    histories = circle.Histories(
        np.concatenate([starts[:-2], [398, 400]]), items, np.zeros(400, np.int8),
        np.zeros(400, np.int8), np.zeros(400, np.int64),
    )  # fmt: skip
    nothing = np.zeros(400, np.int64)
    questions = QuestionRows(
        surfaces=np.ones(400, np.int8), texts=items + 6, anchors=nothing, wishes=nothing,
        wished=np.zeros((1, MOST_WISHED), np.int64), items=7,
    )  # fmt: skip
    model, tower = circle.model_and_tower(questions=True)
    recipe = Recipe(
        rows=32, epochs=5, patience=5, learning_rate=0.02, sampling=Sampling(uniform=12)
    )
    epochs = fit(model, tower, histories, recipe, lambda: 0.0, questions=questions)
    # A fifth of the texts is kept back in training; blind, six items are alike: log 6 is 1.8.
    assert epochs[-1].loss < 0.8


def test_questions_and_a_model_without_do_not_go_together() -> None:
    histories = circle.histories(3)
    questions = rows_of(len(histories.items), 9)
    for shape, given in (({}, questions), ({"questions": True}, None)):
        model, tower = circle.model_and_tower(**shape)
        with pytest.raises(ShapeError, match="reads questions if its shape says so"):
            Objective(model, tower, histories, Sampling(), None, given)
    model, tower = circle.model_and_tower(questions=True)
    with pytest.raises(ShapeError, match="2 questions of"):
        Objective(model, tower, histories, Sampling(), None, questions.taken(np.arange(2)))
