import pytest

from heirloom.ranking.examples import difference


@pytest.mark.parametrize(
    ("came", "wanted", "words"),
    [
        (("a",), ("a", "b"), "missing: b"),
        (("a", "z"), ("a",), "not trained on: z"),
        (("b", "a"), ("a", "b"), "out of order: column 0 is 'b', wanted 'a'"),
        (("a", "a"), ("a",), "2 columns came, 1 wanted"),
        ((), ("a",), "missing: a"),
    ],
)
def test_the_difference_is_named(
    came: tuple[str, ...], wanted: tuple[str, ...], words: str
) -> None:
    assert words in difference(came, wanted)
