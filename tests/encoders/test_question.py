import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError, ShapeError
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.question import (
    ASKED,
    MOST_WISHED,
    QuestionRows,
    Questions,
    asked_text,
    wish_vector,
    wished,
)


def test_a_wish_is_listings_that_have_what_was_stated() -> None:
    made = wished(
        {
            "brands": ["cos", "arket", " "],
            "sizes": ["m"],
            "clothing_size": "m",
            "shoe_size": 38.0,
            "department": "women",
            "price_min_minor": 1_000,
            "price_max_minor": 3_000,
            "locale": "fr",
        }
    )
    assert [(one.brand, one.size, one.category, one.price_minor) for one in made] == [
        ("cos", "m", "women", 2_000), ("arket", "38", "women", 2_000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stated", "price"),
    [
        ({"price_max_minor": 5_000}, 2_500),
        ({"price_min_minor": 5_000}, 5_000),
        ({"price_max_minor": -1, "price_min_minor": 700}, 700),
    ],
)
def test_a_price_alone_is_a_wish(stated: dict[str, int], price: int) -> None:
    assert [one.price_minor for one in wished(stated)] == [price]


values = st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text(), max_size=30)
)
names = st.sampled_from(
    ["brands", "sizes", "shoe_size", "department", "price_min_minor", "price_max_minor", "x"]
)


@given(st.dictionaries(names, values))
def test_whatever_is_stated_is_a_wish_or_none(stated: dict[str, object]) -> None:
    made = wished(stated)  # type: ignore[arg-type]
    assert len(made) <= MOST_WISHED
    assert all(one.brand or one.size or one.category or one.price_minor > 0 for one in made)
    encoder = Hashed(16)
    assert np.isfinite(wish_vector(encoder, made)).all()


def test_the_vector_of_a_wish_is_the_mean_of_its_listings() -> None:
    encoder = Hashed(64)
    both = wished({"brands": ["cos", "arket"]})
    alone = [wish_vector(encoder, wished({"brands": [name]})) for name in ("cos", "arket")]
    np.testing.assert_allclose(wish_vector(encoder, both), np.mean(alone, axis=0), atol=1e-6)
    assert not wish_vector(encoder, ()).any()


ROWS = QuestionRows(
    surfaces=np.array([1, 2, 0], np.int8),
    texts=np.array([6, 0, 0]),
    anchors=np.array([0, 2, 0]),
    wishes=np.array([1, 1, 0]),
    wished=np.array([[0] * MOST_WISHED, [7, 8] + [0] * (MOST_WISHED - 2)]),
    items=6,
)


def test_rows_become_vectors() -> None:
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    made = ROWS.questions(table)
    nothing, wish = np.zeros(4), (table[7] + table[8]) / 2
    wanted = [[table[6], wish, nothing], [nothing, wish, table[2]], [nothing] * 3]
    np.testing.assert_allclose(made.vectors, wanted, atol=1e-6)
    assert made.surfaces.tolist() == [1, 2, 0]


def test_rows_stay_themselves_among_fewer_items() -> None:
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    fewer = ROWS.with_items(3)
    left = np.delete(table, [3, 4, 5], axis=0)
    np.testing.assert_array_equal(
        fewer.questions(left).vectors, ROWS.questions(table).vectors
    )  # fmt: skip
    assert fewer.taken(np.array([2, 0])).texts.tolist() == [0, 3]


def test_questions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"wanted \(2, 3\)"):
        Questions(np.zeros(2, np.int8), np.zeros((1, len(ASKED), 4), np.float32))
    with pytest.raises(InputError, match="surface 9"):
        Questions(np.array([9], np.int8), np.zeros((1, len(ASKED), 4), np.float32))
    with pytest.raises(InputError, match="no number"):
        Questions(np.zeros(1, np.int8), np.full((1, len(ASKED), 4), np.nan, np.float32))


def test_a_text_is_read_as_a_title() -> None:
    assert asked_text("red dress").title == "red dress"
