"""Lexicon: what a query names, in a vocabulary of a few words."""

import numpy as np
import pytest

from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.lexicon import Lexicon


@pytest.fixture
def vocabulary() -> Vocabulary:
    vocabulary = Vocabulary()
    for field, texts in {
        "brand": ["Saint Laurent", "Yves Saint Laurent", "Gucci"],
        "category": ["women/bags/totes", "women/bags/clutches", "women/shoes/boots"],
        "colour": ["red"],
        "size": ["38"],
    }.items():
        for text in texts:
            vocabulary.code(field, text)
    return vocabulary


def meant(lexicon: Lexicon, text: str) -> dict[str, list[int]]:
    return {
        field: np.flatnonzero(mask).tolist() for field, mask in lexicon.named(text).codes.items()
    }


def test_each_field_by_its_words(vocabulary: Vocabulary) -> None:
    found = meant(Lexicon(vocabulary), "Red GUCCI totes 38")
    assert found == {"brand": [3], "category": [1], "colour": [1], "size": [1]}


def test_a_step_of_the_path_means_all_below_it(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "bag") == {"category": [1, 2]}


def test_steps_named_together_narrow_each_other(vocabulary: Vocabulary) -> None:
    vocabulary.code("category", "men/shoes/boots")
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, "boots")["category"] == [3, 4]
    assert meant(lexicon, "women's boots")["category"] == [3]
    assert meant(lexicon, "boots men") == {"category": [4]}
    # Nothing is a tote and a boot: either is meant.
    assert meant(lexicon, "totes boots")["category"] == [1, 3, 4]


def test_the_longer_phrase_is_meant(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "yves saint laurent")["brand"] == [2]
    assert meant(Lexicon(vocabulary), "saint laurent")["brand"] == [1]


def test_nothing_named(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "something for a wedding") == {}


def test_it_grows_with_the_vocabulary(vocabulary: Vocabulary) -> None:
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, "ganni") == {}
    vocabulary.code("brand", "Ganni")
    assert meant(lexicon, "ganni") == {"brand": [4]}
