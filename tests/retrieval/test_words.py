"""Which listings have a word: by its postings and by their words, the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval import words as module
from heirloom.retrieval.words import HASHTAG_WEIGHT, Words

Said = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([HASHTAG_WEIGHT, 0.8, 1.0]))


@given(st.lists(st.tuples(st.integers(0, 20), Said | st.none()), max_size=60))
def test_a_word_is_found_in_postings_and_in_listings_alike(
    puts: list[tuple[int, dict[str, float] | None]],
) -> None:
    words = Words()
    for slot, said in puts:
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
