import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from heirloom.core.errors import BundleError, ConfigError, InputError, ShapeError
from heirloom.encoders.history import Histories, gap_buckets
from heirloom.encoders.person import About, PersonEncoder
from heirloom.encoders.question import ASKED, Questions
from heirloom.encoders.training.graph import person_graph
from heirloom.encoders.training.person import Events, PersonModel, Question, Shape

LENGTHS = (3, 0, 50, 80, 1)
SHAPES = (
    Shape(dim=16, heads=2),
    Shape(dim=32, layers=3, heads=4, vectors=4, unit=True, events=20),
    Shape(dim=16, heads=2, questions=True, events=20),
    Shape(dim=32, layers=2, heads=4, vectors=4, unit=True, questions=True),
)
ASKING = SHAPES[2:]


def fitted(shape: Shape) -> PersonModel:
    """A model in which every weight matters."""
    torch.manual_seed(0)
    model = PersonModel(shape)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model.eval()


def served(model: PersonModel) -> PersonEncoder:
    shape = model.shape
    about = About(
        dim=shape.dim, vectors=shape.vectors, events=shape.events, listings="listing-x",
        questions=shape.questions,
    )  # fmt: skip
    return PersonEncoder(person_graph(model), about)


def people(lengths: tuple[int, ...], dim: int) -> tuple[Histories, np.ndarray]:
    rng = np.random.default_rng(0)
    n = sum(lengths)
    histories = Histories(
        starts=np.cumsum([0, *lengths]),
        items=rng.integers(1, 100, n),
        kinds=rng.integers(0, 20, n).astype(np.int8),
        surfaces=rng.integers(0, 4, n).astype(np.int8),
        t=np.sort(rng.integers(0, 10**9, n)),
    )
    return histories, rng.normal(size=(n, dim)).astype(np.float32) * 0.2


def asked(people: int, dim: int) -> Questions:
    """Different questions; the second asks nothing."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(people, len(ASKED), dim)).astype(np.float32) * 0.2
    vectors[1:2] = 0
    return Questions((np.arange(people) % 4).astype(np.int8), vectors)


def by_torch(
    model: PersonModel,
    histories: Histories,
    vectors: np.ndarray,
    person: int,
    questions: Questions | None = None,
) -> np.ndarray:
    begin, end = histories.starts[person : person + 2]
    kept = slice(max(begin, end - model.shape.events), end)
    gaps = gap_buckets(histories.t[begin:end])[kept.start - begin :]
    columns = (histories.items[kept], histories.kinds[kept], gaps, histories.surfaces[kept])
    events = Events(*(torch.from_numpy(column.astype(np.int64))[None] for column in columns))
    question = None
    if questions is not None:
        # The question is one and the same at each place; the last place answers.
        places = 1 + kept.stop - kept.start
        surfaces = torch.full((1, places), int(questions.surfaces[person]))
        of = torch.from_numpy(questions.vectors[person])
        question = Question(surfaces, of.expand(1, places, *of.shape))
    with torch.no_grad():
        return model(torch.from_numpy(vectors[kept])[None], events, question)[0, -1].numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_served_is_trained(shape: Shape) -> None:
    model = fitted(shape)
    histories, vectors = people(LENGTHS, shape.dim)
    came = served(model).encode(histories, vectors)
    assert came.shape == (len(LENGTHS), shape.vectors, shape.dim)
    for person, length in enumerate(LENGTHS):
        if length:
            wanted = by_torch(model, histories, vectors, person)
            np.testing.assert_allclose(came[person], wanted, atol=1e-5)
        else:
            assert not came[person].any()


@pytest.mark.parametrize("shape", ASKING)
def test_what_is_asked_is_served_as_trained(shape: Shape) -> None:
    model = fitted(shape)
    histories, vectors = people(LENGTHS, shape.dim)
    questions = asked(len(LENGTHS), shape.dim)
    came = served(model).encode(histories, vectors, questions)
    for person in range(len(LENGTHS)):
        if person == 1:  # no events, and nothing asked
            assert not came[person].any()
        else:
            wanted = by_torch(model, histories, vectors, person, questions)
            np.testing.assert_allclose(came[person], wanted, atol=1e-5)


def test_a_newcomer_is_known_by_what_is_asked() -> None:
    encoder = served(fitted(ASKING[0]))
    nobody, none = people((0, 0, 0), 16)
    came = encoder.encode(nobody, none, asked(3, 16))
    assert np.abs(came[0] - came[2]).max() > 1e-3
    assert came[0].any()
    assert not came[1].any()
    assert not encoder.encode(nobody, none).any()


@pytest.mark.parametrize("part", range(len(ASKED)))
def test_each_part_of_a_question_matters(part: int) -> None:
    encoder = served(fitted(ASKING[0]))
    histories, vectors = people((5,), 16)
    questions = asked(1, 16)
    without = questions.vectors.copy()
    without[:, part] = 0
    came = encoder.encode(histories, vectors, questions)
    other = encoder.encode(histories, vectors, Questions(questions.surfaces, without))
    assert np.abs(other - came).max() > 1e-3
    elsewhere = Questions(np.array([3], np.int8), questions.vectors)
    assert np.abs(encoder.encode(histories, vectors, elsewhere) - came).max() > 1e-3


def test_without_questions_they_are_left_aside() -> None:
    encoder = served(fitted(SHAPES[0]))
    histories, vectors = people(LENGTHS, 16)
    np.testing.assert_array_equal(
        encoder.encode(histories, vectors, asked(len(LENGTHS), 16)),
        encoder.encode(histories, vectors),
    )


def test_questions_of_others_are_refused() -> None:
    encoder = served(fitted(ASKING[0]))
    histories, vectors = people((3, 2), 16)
    for questions in (asked(3, 16), asked(2, 8)):
        with pytest.raises(ShapeError, match="of 2 people; wanted one each, of dim 16"):
            encoder.encode(histories, vectors, questions)


def test_an_encoder_without_questions_is_no_encoder_with() -> None:
    about = About(dim=16, vectors=1, events=50, listings="x", questions=True)
    with pytest.raises(BundleError, match="asked_surface"):
        PersonEncoder(person_graph(fitted(SHAPES[0])), about)


def test_several_side_by_side_answer_one_after_another() -> None:
    shapes = Shape(dim=16, heads=2), Shape(dim=32, layers=2, heads=4)
    models = [fitted(shape) for shape in shapes]
    about = About(dim=48, vectors=1, events=50, listings="listing-x")
    histories, vectors = people(LENGTHS, 48)
    joined = PersonEncoder(person_graph(*models), about).encode(histories, vectors)
    parts = [
        served(model).encode(histories, part)
        for model, part in zip(models, (vectors[:, :16], vectors[:, 16:]), strict=True)
    ]
    np.testing.assert_allclose(joined, np.concatenate(parts, axis=-1), atol=1e-5)
    for shape in (Shape(dim=16, vectors=2), Shape(dim=16, unit=True)):
        with pytest.raises(ConfigError, match="wanted one vector of free length"):
            person_graph(models[0], fitted(shape))


def test_batch_is_one_by_one() -> None:
    encoder = served(fitted(SHAPES[0]))
    histories, vectors = people(LENGTHS, 16)
    whole = encoder.encode(histories, vectors)
    for person in range(len(LENGTHS)):
        part = slice(*histories.starts[person : person + 2])
        alone = Histories(
            np.array([0, part.stop - part.start]), histories.items[part], histories.kinds[part],
            histories.surfaces[part], histories.t[part],
        )  # fmt: skip
        np.testing.assert_allclose(
            encoder.encode(alone, vectors[part])[0], whole[person], atol=1e-6
        )


def test_later_events_do_not_reach_back() -> None:
    model = fitted(SHAPES[1])
    items = torch.randn(1, 6, 32)
    none = torch.zeros(1, 6, dtype=torch.int64)
    events = Events(none, none, none, none)
    with torch.no_grad():
        before = model(items, events)
        items[:, 4:] = 9.0
        after = model(items, events)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("what", ["kinds", "surfaces", "t"])
def test_what_was_done_where_and_when_matters(what: str) -> None:
    encoder = served(fitted(SHAPES[0]))
    histories, vectors = people((5,), 16)
    other = {
        name: getattr(histories, name) for name in ("starts", "items", "kinds", "surfaces", "t")
    }
    other[what] = other[what][::-1].copy() if what == "t" else (other[what] + 1) % 4
    changed = encoder.encode(Histories(**other), vectors)
    assert np.abs(changed - encoder.encode(histories, vectors)).max() > 1e-3


def test_saved_is_loaded(tmp_path: Path) -> None:
    encoder = served(fitted(SHAPES[0]))
    encoder.save(tmp_path)
    again = PersonEncoder.load(tmp_path)
    assert again.model_id == encoder.model_id
    histories, vectors = people(LENGTHS, 16)
    np.testing.assert_array_equal(
        again.encode(histories, vectors), encoder.encode(histories, vectors)
    )


def test_other_weights_are_another_model() -> None:
    model = fitted(SHAPES[0])
    first = served(model).model_id
    with torch.no_grad():
        model.kinds[0, 0] += 1
    assert served(model).model_id != first


def test_a_damaged_or_strange_graph_is_refused(tmp_path: Path) -> None:
    encoder = served(fitted(SHAPES[0]))
    encoder.save(tmp_path)
    graph = tmp_path / "person.onnx"
    graph.write_bytes(graph.read_bytes()[:500])
    with pytest.raises(BundleError, match="cannot be read"):
        PersonEncoder.load(tmp_path)
    graph.unlink()
    with pytest.raises(BundleError, match=r"person\.onnx"):
        PersonEncoder.load(tmp_path)
    about = About(dim=16, vectors=2, events=50, listings="x")
    with pytest.raises(BundleError, match="says otherwise"):
        PersonEncoder(person_graph(fitted(SHAPES[0])), about)


def test_vectors_of_two_models_never_meet() -> None:
    encoder = served(fitted(SHAPES[0]))
    encoder.meets("listing-x")
    with pytest.raises(ConfigError, match="trained with listing-x"):
        encoder.meets("hashed-1-64-0")


def test_vectors_that_do_not_fit_are_refused() -> None:
    encoder = served(fitted(SHAPES[0]))
    histories, vectors = people((3, 2), 16)
    with pytest.raises(ShapeError, match=r"wanted \(5, 16\)"):
        encoder.encode(histories, vectors[:, :8])
    vectors[4, 3] = np.nan
    with pytest.raises(InputError, match="event 4"):
        encoder.encode(histories, vectors)


def test_serving_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, heirloom.encoders.person, heirloom.encoders.listing;"
        "print({'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
