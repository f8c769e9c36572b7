"""Laws that hold for every model, and each against a plain reading of its formula."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.collaborative.ease import Ease
from heirloom.retrieval.collaborative.graph_filter import GraphFilter
from heirloom.retrieval.collaborative.ials import Ials
from heirloom.retrieval.collaborative.model import Model
from heirloom.retrieval.collaborative.popularity import Popularity
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn, Weights
from heirloom.retrieval.collaborative.spectral import Spectral

ITEMS = 7
FITS: dict[str, Callable[[Sequences], Model]] = {
    "popularity": Popularity.fit,
    "session_knn": SessionKnn.fit,
    "ease": lambda rows: Ease.fit(rows, ridge=2.0, age_decay=0.9),
    "ease_next": lambda rows: Ease.fit_next(rows, ridge=2.0, into=0.3),
    "ials": lambda rows: Ials.fit(rows, factors=2, ridge=0.05, rounds=15),
    "spectral": lambda rows: Spectral.fit(rows, rank=2),
    "graph_filter": lambda rows: GraphFilter.fit(rows, rank=2, sharpen=0.5),
}
# Two groups of items that nobody mixes, and one item that nobody took.
ROWS = Sequences.of([[0, 1, 2], [1, 2], [0, 1], [3, 4, 5], [4, 5], [3, 4]], ITEMS)
sequences = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6), max_size=6)


@pytest.fixture(scope="module", params=FITS)
def model(request: pytest.FixtureRequest) -> Model:
    return FITS[request.param](ROWS)


def test_scores_have_a_row_for_everybody_and_a_column_for_every_item(model: Model) -> None:
    found = model.scores(Sequences.of([[0], [], [6, 1]], ITEMS))
    assert (found.shape, found.dtype) == ((3, ITEMS), np.float32)
    assert np.isfinite(found).all()
    assert model.scores(Sequences.of([], ITEMS)).shape == (0, ITEMS)


def test_arrays_bring_the_same_model_back(model: Model) -> None:
    arrays = model.arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = type(model).from_arrays(arrays)
    assert again.scores(ROWS).tobytes() == model.scores(ROWS).tobytes()


def test_a_row_depends_on_its_own_history_alone(model: Model) -> None:
    together = model.scores(ROWS)
    alone = np.concatenate([model.scores(ROWS.take(np.array([i]))) for i in range(len(ROWS))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(FITS))
def test_the_same_input_gives_the_same_bytes(name: str) -> None:
    one, two = (FITS[name](ROWS).scores(ROWS) for _ in range(2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("name", sorted(set(FITS) - {"popularity"}))
def test_what_goes_together_comes_first(name: str) -> None:
    found = FITS[name](ROWS).scores(Sequences.of([[0], [3]], ITEMS))
    assert found[0, [1, 2]].min() > found[0, [3, 4, 5, 6]].max()
    assert found[1, [4, 5]].min() > found[1, [0, 1, 2, 6]].max()


# ── session kNN ─────────────────────────────────────────────────────────────────────────────────


def plain_knn(rows: list[list[int]], w: Weights) -> np.ndarray:
    """The formula of the docstring, entry by entry."""
    followed, count = np.zeros((ITEMS, ITEMS)), np.zeros(ITEMS)
    for row in rows:
        for j, b in enumerate(row):
            count[b] += 1
            for i, a in enumerate(row[:j]):
                if a != b and j - i <= w.gaps:
                    followed[a, b] += w.gap_decay ** (j - i - 1)
    near = followed + w.backward * followed.T
    near /= (count + 1)[:, None] ** w.out * (count + 1)[None] ** w.into
    return np.array(
        [
            sum(
                (w.age_decay**age * near[a] for age, a in enumerate(row[::-1][: w.history])),
                np.zeros(ITEMS),
            )
            for row in rows
        ]
    ).reshape(len(rows), ITEMS)


@settings(deadline=None, max_examples=40)
@given(sequences, st.integers(1, 4), st.integers(1, 4))
def test_session_knn_is_its_formula(rows: list[list[int]], gaps: int, history: int) -> None:
    weights = Weights(gaps=gaps, history=history, backward=0.4, out=0.2, into=0.6, age_decay=0.7)
    given = Sequences.of(rows, ITEMS)
    found = SessionKnn.fit(given, weights).scores(given)
    np.testing.assert_allclose(found, plain_knn(rows, weights), rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(sequences, st.data())
def test_new_entries_are_added_to_what_was_counted(rows: list[list[int]], data: st.DataObject):
    whole = Sequences.of(rows, ITEMS)
    known = [data.draw(st.integers(0, len(row))) for row in rows]
    before = Sequences.of([row[:cut] for row, cut in zip(rows, known, strict=True)], ITEMS)
    added = SessionKnn.fit(before).updated(whole, np.array(known, np.int64))
    at_once = SessionKnn.fit(whole)
    assert added.count.tolist() == at_once.count.tolist()
    np.testing.assert_allclose(
        added.near().toarray(), at_once.near().toarray(), rtol=1e-5, atol=1e-7
    )


def test_new_items_may_come_and_old_ones_may_not_go() -> None:
    model = SessionKnn.fit(Sequences.of([[0, 1]], 2))
    grown = model.updated(Sequences.of([[0, 1, 2]], 3), np.array([2]))
    assert grown.scores(Sequences.of([[1]], 3))[0, 2] > 0
    with pytest.raises(ShapeError, match="1 items came, 2 are counted"):
        model.updated(Sequences.of([[0]], 1), np.array([0]))


# ── EASE ────────────────────────────────────────────────────────────────────────────────────────


def test_ease_solves_each_column_without_its_own_item() -> None:
    taken = ROWS.taken().toarray().astype(np.float64)
    ridge = 2.0
    expected = np.zeros((ITEMS, ITEMS))
    for column in range(ITEMS):
        others = np.delete(np.arange(ITEMS), column)
        x = taken[:, others]
        gram = x.T @ x + ridge * np.eye(ITEMS - 1)
        expected[others, column] = np.linalg.solve(gram, x.T @ taken[:, column])
    np.testing.assert_allclose(Ease.fit(ROWS, ridge=ridge).weights, expected, atol=1e-5)


def test_ease_of_what_comes_next_is_a_ridge_regression_over_all_places() -> None:
    decay, ahead, ridge = 0.8, 0.5, 2.0
    past, following = [], []
    for row in np.split(ROWS.items, ROWS.starts[1:-1]):
        for at in range(1, len(row)):
            before, after = np.zeros(ITEMS), np.zeros(ITEMS)
            for age, item in enumerate(row[:at][::-1]):
                before[item] += decay**age
            for distance, item in enumerate(row[at:]):
                after[item] += ahead**distance
            past.append(before)
            following.append(after)
    s, t = np.array(past), np.array(following)
    expected = np.linalg.solve(s.T @ s + ridge * np.eye(ITEMS), s.T @ t)
    found = Ease.fit_next(ROWS, ridge=ridge, ahead=ahead, age_decay=decay)
    np.testing.assert_allclose(found.weights, expected, atol=1e-5)


def test_ease_next_knows_the_direction() -> None:
    rows = Sequences.of([[0, 1], [0, 1], [0, 1]], 2)
    found = Ease.fit_next(rows).scores(Sequences.of([[0], [1]], 2))
    assert found[0, 1] > 0.1
    assert abs(found[1, 0]) < 1e-6


@pytest.mark.parametrize("fit", [Ease.fit, Ease.fit_next])
def test_a_ridge_of_nothing_is_refused(fit: Callable[..., Ease]) -> None:
    with pytest.raises(InputError, match="ridge is 0"):
        fit(ROWS, ridge=0)


# ── iALS ────────────────────────────────────────────────────────────────────────────────────────


def loss(people: np.ndarray, items: np.ndarray, model: Ials, taken: np.ndarray) -> float:
    """The objective of the docstring."""
    shown = people @ items.T
    by_person, by_item = taken.sum(1), taken.sum(0)
    ridge = model.ridge * (
        ((by_person + model.unobserved * len(items)) ** model.frequency) @ (people**2).sum(1)
        + ((by_item + model.unobserved * len(people)) ** model.frequency) @ (items**2).sum(1)
    )
    return float((taken * (shown - 1) ** 2).sum() + model.unobserved * (shown**2).sum() + ridge)


def test_a_persons_factors_are_where_the_loss_is_least() -> None:
    model = Ials.fit(ROWS, factors=3, rounds=2)
    taken = ROWS.taken().toarray().astype(np.float64)
    items = model.items.astype(np.float64)
    people = model.people(ROWS).astype(np.float64)
    least = loss(people, items, model, taken)
    rng = np.random.default_rng(0)
    for _ in range(50):
        moved = people + rng.normal(0, 1e-2, people.shape)
        assert loss(moved, items, model, taken) > least


def test_a_newcomer_gets_no_factors() -> None:
    assert not Ials.fit(ROWS, factors=3, rounds=2).people(Sequences.of([[]], ITEMS)).any()


def test_settings_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="wanted more than 0"):
        Ials.fit(ROWS, factors=0)


# ── graph filter ────────────────────────────────────────────────────────────────────────────────


def test_the_graph_filter_is_its_formula() -> None:
    model = GraphFilter.fit(ROWS, rank=2, low_pass=0.3, sharpen=0.7)
    taken = ROWS.taken().toarray().astype(np.float64)
    people, items = np.maximum(taken.sum(1), 1), np.maximum(taken.sum(0), 1)
    normal = taken / np.sqrt(people)[:, None] / np.sqrt(items)[None]
    p = normal.T @ normal
    v = np.linalg.svd(normal)[2][:2].T
    expected = taken @ p + 0.3 * (taken / np.sqrt(items)) @ v @ v.T * np.sqrt(items)
    series = np.eye(ITEMS)
    for order in (4, 3, 2, 1):
        series = np.eye(ITEMS) - 0.7 / order * p @ series
    np.testing.assert_allclose(model.scores(ROWS), expected @ series, rtol=1e-3, atol=1e-5)


def test_a_rank_the_graph_has_not_is_refused() -> None:
    with pytest.raises(InputError, match="rank 7 for 6 people"):
        GraphFilter.fit(ROWS, rank=7)


# ── spectral ────────────────────────────────────────────────────────────────────────────────────


def test_spectral_is_its_formula() -> None:
    model = Spectral.fit(ROWS, rank=2, backward=0.6, age_decay=0.5)
    followed = SessionKnn.fit(ROWS).followed.toarray()
    pairs = followed + 0.6 * followed.T
    out, into = (np.maximum(pairs.sum(axis), 1e-12) for axis in (1, 0))
    normal = pairs / np.sqrt(out)[:, None] / np.sqrt(into)
    v = np.linalg.svd(normal)[2][:2].T

    def unit(rows: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.where(length > 1e-6, rows / np.where(length > 0, length, 1), 0)

    expected = unit(ROWS.matrix(0.5).toarray() @ unit(normal @ v)) @ unit(v).T
    np.testing.assert_allclose(model.scores(ROWS), expected, atol=1e-5)


def test_a_shorter_spectral_model_is_that_of_its_rank() -> None:
    rows = Sequences.of([[0, 1, 2, 3], [1, 2], [4, 5, 2], [6, 0], [3, 6, 5]], ITEMS)
    short, cut = Spectral.fit(rows, rank=2), Spectral.fit(rows, rank=4).shorter(2)
    np.testing.assert_allclose(short.scores(rows), cut.scores(rows), atol=1e-4)


def test_a_rank_beyond_the_items_is_refused() -> None:
    with pytest.raises(InputError, match="rank 8 for 7 items"):
        Spectral.fit(ROWS, rank=8)
    with pytest.raises(InputError, match="rank 3 of 2"):
        Spectral.fit(ROWS, rank=2).shorter(3)
