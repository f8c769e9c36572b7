"""Vocabulary: a code is given once, never changes, and is handed out for keeping exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.vocabulary import Vocabulary

_words = st.lists(st.tuples(st.sampled_from(["brand", "size"]), st.text(max_size=3)), max_size=20)


@given(_words)
def test_codes_are_dense_from_one_in_order_of_first_use(words):
    vocabulary = Vocabulary()
    given_codes = {(field, text): vocabulary.code(field, text) for field, text in words}
    for field in ("brand", "size"):
        first_use = list(dict.fromkeys(text for f, text in words if f == field and text))
        assert vocabulary.texts(field) == ["", *first_use]
        assert vocabulary.size(field) == len(first_use) + 1
    for (field, text), code in given_codes.items():
        assert vocabulary.find(field, text) == vocabulary.code(field, text) == code
        assert vocabulary.text(field, code) == text


@given(_words, _words)
def test_what_was_drained_rebuilds_it(words, more):
    vocabulary = Vocabulary()
    kept = []
    for part in (words, more):
        for field, text in part:
            vocabulary.code(field, text)
        kept += vocabulary.drain_new()
    again = Vocabulary(kept)
    assert again.drain_new() == vocabulary.drain_new() == []
    assert [again.texts(f) for f in ("brand", "size")] == [
        vocabulary.texts(f) for f in ("brand", "size")
    ]
    assert len(again) == len(kept)


@given(st.lists(st.sampled_from(["Arket", "Cos", "", None, "Toast"])), st.booleans())
def test_codes_of_many_are_those_of_each(texts, rewound):
    """Given anew, known, or brought back by a replay."""
    one, many = Vocabulary([("brand", 1, "Cos")]), Vocabulary([("brand", 1, "Cos")])
    if rewound:
        given_all = [
            ("brand", code, text) for code, text in enumerate(("Toast", "Arket", "Cos"), 1)
        ]
        one, many = Vocabulary(given_all).rewound(), Vocabulary(given_all).rewound()
        one.know("brand", 1), many.know("brand", 1)
    assert many.codes("brand", texts) == [one.code("brand", text) for text in texts]
    assert many.drain_new() == one.drain_new()
    assert many.texts("brand") == one.texts("brand")


@given(_words, _words)
def test_what_was_given_back_is_drained_again_in_order(words, more):
    vocabulary, twin = Vocabulary(), Vocabulary()
    for field, text in words:
        vocabulary.code(field, text), twin.code(field, text)
    new = vocabulary.drain_new()
    for field, text in more:
        vocabulary.code(field, text), twin.code(field, text)
    vocabulary.give_back(new)
    assert vocabulary.drain_new() == twin.drain_new()


def test_looking_up_gives_no_code():
    vocabulary = Vocabulary()
    assert vocabulary.find("brand", "Miu Miu") == 0
    assert (vocabulary.texts("brand"), vocabulary.drain_new(), len(vocabulary)) == ([""], [], 0)


def test_codes_out_of_order_are_refused():
    with pytest.raises(ValueError, match="came out of order"):
        Vocabulary([("brand", 2, "Miu Miu")])
