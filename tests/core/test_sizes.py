"""Sizes: one body, one number, however it is written; and nothing where it is not sure."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.sizes import (
    CHILDREN,
    CHILDREN_SHOES,
    CLOTHING,
    SHOES,
    Wear,
    size_number,
    size_point,
    worn,
)

WOMEN, MEN = Wear("women", CLOTHING), Wear("men", CLOTHING)
JEANS, CHINOS = WOMEN._replace(legs=True), MEN._replace(legs=True)
CHILD = Wear("children", CHILDREN)
ALL = (
    WOMEN, MEN, JEANS, CHINOS, CHILD, Wear("", CLOTHING), Wear("women", SHOES),
    Wear("men", SHOES), Wear("", SHOES), Wear("children", CHILDREN_SHOES),
)  # fmt: skip


@pytest.mark.parametrize(
    ("wear", "texts"),
    [
        (WOMEN, ("m", "M", "38", "EU 38", "38 EU", "eu38", "FR 38", "IT 42", "UK 10", "UK10",
                 "US 6", "medium", "Size M", "M (EU 38)", "UK 10 / US 6", "UK 10 EU 38", "S-L",
                 "36/40", "36/38/40", "W28")),
        (MEN, ("m", "48", "IT 48", "UK 38", "US 38", "W32", "US M", "46-50")),
        (JEANS, ("28", "W28", "w28 l32", "28/32", "W28/L32", "28W 32L", "38", "m")),
        (CHINOS, ("32", "W32L34", "32x34", "32/32", "48", "46/50")),
    ],
)  # fmt: skip
def test_one_body_one_number(wear: Wear, texts: tuple[str, ...]) -> None:
    assert {text: size_number(text, wear) for text in texts} == dict.fromkeys(texts, 2.0)


def test_letters_are_a_step_apart() -> None:
    letters = ("xxxs", "xxs", "xs", "s", "m", "l", "xl", "xxl", "xxxl")
    assert [size_number(text, WOMEN) for text in letters] == list(range(-2, 7))
    assert [size_number(text, MEN) for text in ("2XS", "2xl", "3XL")] == [-1, 5, 6]
    assert [size_number(text, MEN) for text in ("X-Small", "extra extra large")] == [0, 5]


@pytest.mark.parametrize(
    ("text", "women", "men"),
    [("34", 0, None), ("44", 5, 0), ("EU 54", 10, 5), ("UK 8", 1, None), ("US 0", -1, None),
     ("US 00", -2, None), ("IT 38", 0, None), ("W30", 4, 1), ("W31", 5, 1.5), ("38/40", 2.5, None)],
)  # fmt: skip
def test_a_number_means_what_its_department_means(
    text: str, women: float | None, men: float | None
) -> None:
    assert (size_number(text, WOMEN), size_number(text, MEN)) == (women, men)


def test_shoes() -> None:
    women, men = Wear("women", SHOES), Wear("men", SHOES)
    assert [size_number(text, women) for text in ("38", "EU 38", "UK 5", "US 7")] == [38.0] * 4
    assert [size_number(text, men) for text in ("42", "UK 8", "US 9", "41/43")] == [42.0] * 4
    halves = ("37.5", "37,5", "37½", "37 1/2", "37/38", "37-38")
    assert [size_number(text, women) for text in halves] == [37.5] * 6
    assert size_number("38 2/3", men) == pytest.approx(38.67)
    assert [size_number(text, women) for text in ("5", "m", "12", "FR 39", "36-41")] == [None] * 5
    assert size_number("UK 5", Wear("", SHOES)) is None
    assert size_number("27", Wear("children", CHILDREN_SHOES)) == 27.0


def test_children_by_age_and_by_height() -> None:
    ages = {2: 92, 4: 104, 6: 116, 10: 140, 14: 164}
    for years, height in ages.items():
        spellings = (f"{years} years", f"{years}y", f"{years} ans", f"{years}A", f"{height} cm")
        assert {size_number(text, CHILD) for text in (*spellings, str(height))} == {years}
    assert size_number("4-5 years", CHILD) == size_number("110", CHILD)
    assert size_number("3-6 months", CHILD) == size_number("68", CHILD)
    assert size_number("1 year", CHILD) == size_number("12m", CHILD) == size_number("80", CHILD)
    assert size_number("98/104", CHILD) == 3.5


@pytest.mark.parametrize(
    "text",
    ["", "one size", "os", "O/S", "TU", "no size", "10", "6", "37", "39", "120", "DE 38", "XS/XL",
     "38/m/?", "75B", "UK 38 EU", "38 cm", "4 years", "xm", "1xl", "-38", "m" * 300, "٣٨", "EU"],
)  # fmt: skip
def test_what_is_not_sure_is_not_read(text: str) -> None:
    assert size_number(text, WOMEN) is None


def test_a_bare_number_that_may_be_two_sizes_is_not_read() -> None:
    assert size_number("32", JEANS) is None  # inches, or EU 32
    assert size_number("32", WOMEN) == -1.0
    assert [size_number(text, CHINOS) for text in ("31/32", "30/31")] == [None, None]
    assert [size_number(text, MEN) for text in ("38", "40", "42")] == [None] * 3  # chest, or collar
    assert size_number("38", Wear("", CLOTHING)) is None
    assert size_number("m", Wear("", CLOTHING)) == 2.0


@pytest.mark.parametrize(
    ("category", "wear"),
    [
        ("women/clothing/trench-coats", WOMEN),
        ("Ladies/Dresses", WOMEN),
        ("men/clothing/t-shirts", MEN),
        ("men/trousers", CHINOS),
        ("women/shoes/ballet-flats", Wear("women", SHOES)),
        ("unisex/sneakers", Wear("", SHOES)),
        ("kids/girls/dresses", CHILD),
        ("kids/shoes", Wear("children", CHILDREN_SHOES)),
        ("women/clothing/belts", None),
        ("women/accessories/dress-watches", None),
        ("kids/toys", None),
        ("women", None),
    ],
)
def test_what_is_worn(category: str, wear: Wear | None) -> None:
    assert worn(category) == wear


def test_a_point_needs_both() -> None:
    assert size_point("m", "women/bags") is None
    assert size_point("one size", "women/coats") is None
    assert size_point("m", "women/coats") == (CLOTHING, 2.0)


# ── the laws ─────────────────────────────────────────────────────────────────────────────────

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789smlxwukeit /-.,()½", max_size=12),
)


@given(text=TEXTS, wear=st.sampled_from(ALL))
def test_whatever_is_written_it_is_a_size_or_none(text: str, wear: Wear) -> None:
    number = size_number(text, wear)
    assert number is None or math.isfinite(number)


@given(text=TEXTS.filter(str.isascii), wear=st.sampled_from(ALL))
def test_case_and_spaces_around_do_not_matter(text: str, wear: Wear) -> None:
    assert size_number(f" {text.upper()} "[:40], wear) == size_number(text.lower()[:38], wear)


@given(
    first=st.integers(-2, 6), wide=st.integers(0, 4), wear=st.sampled_from((WOMEN, MEN))
)  # fmt: skip
def test_two_sizes_are_their_middle_or_too_far_apart(first: int, wide: int, wear: Wear) -> None:
    start = 34 if wear == WOMEN else 44
    text = f"EU {start + 2 * first}/{start + 2 * (first + wide)}"
    assert size_number(text, wear) == (first + wide / 2 if wide <= 2 else None)
