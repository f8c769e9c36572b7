import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.retrieval.collaborative.sequences import Sequences

rows = st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=6)


def lists(sequences: Sequences) -> list[list[int]]:
    return [part.tolist() for part in np.split(sequences.items, sequences.starts[1:-1])][
        : len(sequences)
    ]


@given(rows, st.integers(0, 7))
def test_cuts_are_those_of_lists(given: list[list[int]], n: int) -> None:
    sequences = Sequences.of(given, 9)
    assert lists(sequences.before_last(n)) == [row[: max(len(row) - n, 0)] for row in given]
    assert lists(sequences.latest(n)) == [row[max(len(row) - n, 0) :] for row in given]
    assert sequences.at(n).tolist() == [row[-1 - n] if len(row) > n else -1 for row in given]


@given(rows, st.data())
def test_rows_are_taken_in_the_order_asked(given: list[list[int]], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, max(len(given) - 1, 0)))) if given else []
    taken = Sequences.of(given, 9).take(np.array(order, np.int64))
    assert lists(taken) == [given[i] for i in order]


@given(rows)
def test_the_matrix_sums_what_ages_leave(given: list[list[int]]) -> None:
    expected = np.zeros((len(given), 9))
    for i, row in enumerate(given):
        for age, item in enumerate(reversed(row)):
            expected[i, item] += 0.5**age
    found = Sequences.of(given, 9)
    np.testing.assert_allclose(found.matrix(0.5).toarray(), expected)
    np.testing.assert_array_equal(found.taken().toarray(), expected > 0)


@pytest.mark.parametrize(
    ("items", "starts", "words"),
    [
        ([1, 2], [0, 1], "wanted 0 first"),
        ([1, 2], [0, 2, 1, 2], "go down"),
        ([1, 9], [0, 2], "wanted 0 to 8"),
        ([-1], [0, 1], "wanted 0 to 8"),
        ([], [], "wanted 0 first"),
    ],
)
def test_rows_that_do_not_fit_are_refused(items, starts, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Sequences(np.array(items, np.int32), np.array(starts, np.int64), 9)
