"""Which listings have a word: by its postings and by their words, the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval import words as module
from heirloom.retrieval.words import HASHTAG_WEIGHT, Words

Said = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([HASHTAG_WEIGHT, 0.8, 1.0]))


@given(st.lists(st.tuples(st.integers(0, 20), Said | st.none()), max_size=60), st.integers(0, 60))
def test_a_word_is_found_in_postings_and_in_listings_alike(
    puts: list[tuple[int, dict[str, float] | None]], restored_at: int
) -> None:
    words = Words()
    for at, (slot, said) in enumerate(puts):
        if at == restored_at:
            kept, words = words.arrays(), Words()
            words.restore({name: array.copy() for name, array in kept.items()})
        if said is None:
            words.remove(slot)
        else:
            words.put(slot, said)
    slots = np.array(sorted({slot for slot, _ in puts})[::2], np.int32)
    for word in "abcde":
        having, weights = words.having(word)
        wanted = np.isin(slots, having[weights > HASHTAG_WEIGHT]).tolist()
        for scanned in (module.SCANNED, -1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "SCANNED", scanned)
                assert words.strongly(word, slots).tolist() == wanted


@given(
    st.lists(st.tuples(st.integers(0, 20), Said | st.none()), max_size=40),
    st.text("abcde ", max_size=9),
    st.integers(0, 24),
)
def test_a_match_is_the_sum_over_words_of_the_best_alternative(
    puts: list[tuple[int, dict[str, float] | None]], text: str, size: int
) -> None:
    words = Words()
    for slot, said in puts:
        if said is None:
            words.remove(slot)
        else:
            words.put(slot, {letter * 3: weight for letter, weight in said.items()})
    asked = list(dict.fromkeys(3 * letter for letter in text.replace(" ", "")))
    total, whole = np.zeros(size), 0.0
    for word in asked[: module.MAX_QUERY_WORDS]:
        known = [(word, 1.0)] if words.alive(word) else words.like(word)
        idf = max((words._idf(other) for other, _ in known), default=words._idf(word))
        part, whole = np.zeros(size), whole + idf
        for other, likeness in known:
            for slot, weight in zip(*words.having(other), strict=True):
                if slot < size:
                    part[slot] = max(part[slot], weight * np.float32(idf * likeness))
        total += part
    wanted = total / max(whole, 1e-12)
    assert words.match(" ".join(asked), size).tobytes() == wanted.tobytes()
