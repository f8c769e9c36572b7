"""The law of a LexicalIndex: what has all the words comes first, what was removed never.

    class TestMyIndex(LexicalIndexLaws):
        def make(self, synonyms: Synonyms) -> LexicalIndex:
            return MyIndex(synonyms)

`counts_edits` is for indices that forgive every slip of one edit (two in longer words), and no
other. `naive_match` is the twin: sets of words, looked at one listing after the other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.listing import Listing
from heirloom.retrieval.lexical import (
    FIELD_WEIGHT,
    Alternative,
    Fields,
    LexicalIndex,
    Part,
    Synonyms,
    fields_of,
    parts_of,
    search,
)

SYNONYMS = Synonyms(
    both=[["trainers", "sneakers"], ["tee", "t-shirt"]], one_way={"bag": ["handbag", "tote"]}
)
_WORDS = (
    "red",
    "dress",
    "coat",
    "coats",
    "alba",
    "boreas",
    "leather",
    "leathers",
    "sneaker",
    "bag",
)
_ASKED = st.lists(st.sampled_from((*_WORDS, "dres", "laether", "trainer", "le", "the", "zzzz")))
_TEXTS = st.lists(st.sampled_from(_WORDS), max_size=4).map(" ".join)
_LISTINGS = st.builds(
    Listing,
    listing_id=st.just("x"),
    seller=st.just("s"),
    title=_TEXTS,
    brand=st.sampled_from(("", "alba", "boreas")),
    category=st.sampled_from(("", "coats", "bags")),
    description=_TEXTS,
    hashtags=st.lists(st.sampled_from(("#alba", "#red")), max_size=1).map(tuple),
)
_STEPS = st.lists(st.tuples(st.integers(0, 7), st.none() | _LISTINGS), max_size=20)


def naive_match(
    held: Mapping[int, Fields],
    synonyms: Synonyms,
    text: str,
    allowed: NDArray[np.bool_],
    least: int,
) -> list[tuple[int, float]]:
    """What `LexicalIndex.match` gives, with edits counted letter by letter."""

    def number(word: str, names: Sequence[str]) -> int:
        return sum(
            any(word in held_words.get(name, ()) for name in names) for held_words in held.values()
        )

    parts = parts_of(
        text,
        synonyms,
        listings=len(held),
        having=lambda word: number(word, tuple(FIELD_WEIGHT)),
        brands=lambda word: number(word, ("brand",)),
    )
    whole: list[tuple[int, float]] = []
    some: list[tuple[int, float]] = []
    for slot, fields in held.items():
        points = [_points(fields, part) for part in parts]
        if slot < len(allowed) and allowed[slot] and any(points):
            (whole if all(points) else some).append((slot, all(points) + sum(points)))
    wanting = max(least - len(whole), 0)
    level = sorted((score for _, score in some), reverse=True)[:wanting]
    found = whole + [pair for pair in some if level and pair[1] >= level[-1]]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _points(fields: Fields, part: Part) -> float:
    found = [0.0]
    for alternative in part.alternatives:
        if len(alternative.words) > 1:
            there = {word for name in alternative.fields for word in fields.get(name, ())}
            if there.issuperset(alternative.words):
                found.append(alternative.phrase_points(part.share))
            continue
        found += [
            alternative.points(part.share, name)
            for name in alternative.fields
            if any(_stands_for(word, alternative) for word in fields.get(name, ()))
        ]
    return max(found)


def _stands_for(word: str, alternative: Alternative) -> bool:
    (asked,) = alternative.words
    if alternative.beginning:
        return word.startswith(asked)
    return edits(asked, word) <= alternative.edits


def edits(a: str, b: str) -> int:
    """Letters more, less, another, or two neighbours exchanged, at the least, to make b of a.

    The restricted edit distance of Damerau (1964): no letter is touched twice.

    >>> edits("dress", "dres"), edits("coat", "caot"), edits("coat", "goats")
    (1, 1, 2)
    """
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            least = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                least = min(least, rows[-2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]


def listing(title: str = "", **fields: object) -> Listing:
    """A listing of these words."""
    return Listing(listing_id="x", seller="s", title=title, **fields)  # type: ignore[arg-type]


class LexicalIndexLaws:
    """Inherit, name `make`, and let pytest collect it."""

    counts_edits = True

    def make(self, synonyms: Synonyms) -> LexicalIndex:
        """An empty index."""
        raise NotImplementedError

    def of(self, *listings: Listing) -> LexicalIndex:
        """An index of listings, in slots from 0 on."""
        index = self.make(SYNONYMS)
        for slot, each in enumerate(listings):
            index.upsert(slot, fields_of(each))
        return index

    def found(self, index: LexicalIndex, text: str, k: int = 50) -> list[int]:
        """Slots of a search that all are allowed in."""
        slots: list[int] = search(index, text, np.ones(50, np.bool_), k)[0].tolist()
        return slots

    def test_finds_what_a_naive_reader_finds(self) -> None:
        # The law stands inside: one given to all indices would be run by several classes.
        @settings(max_examples=60, deadline=None)
        @given(_STEPS, _ASKED, st.integers(0, 9), st.sampled_from((1.0, 0.5)))
        def law(
            steps: list[tuple[int, Listing | None]], asked: list[str], least: int, share: float
        ) -> None:
            index, held, text = self.make(SYNONYMS), dict[int, Fields](), " ".join(asked)
            allowed = np.random.default_rng(0).random(8) < share
            for step, (slot, change) in enumerate(steps):
                if change is None:
                    index.remove(slot)
                    held.pop(slot, None)
                else:
                    index.upsert(slot, fields_of(change))
                    held[slot] = fields_of(change)
                if step % 5 == 0:
                    index.match(text, allowed, least)
            self.check_match(index, held, text, allowed, least)

        law()

    def check_match(
        self,
        index: LexicalIndex,
        held: Mapping[int, Fields],
        text: str,
        allowed: NDArray[np.bool_],
        least: int,
    ) -> None:
        """One match against the twin's."""
        slots, scores = index.match(text, allowed, least)
        naive = naive_match(held, SYNONYMS, text, allowed, least)
        assert slots.dtype == np.int32
        assert scores.dtype == np.float32
        assert not set(slots.tolist()) - set(held)
        assert allowed[slots].all()
        if self.counts_edits:
            assert list(zip(slots.tolist(), scores.tolist(), strict=True)) == naive
        spelt_rightly = [slot for slot, score in naive if score >= 1.8]  # has all, as they stand
        assert set(spelt_rightly) <= set(slots.tolist())

    def test_the_order_of_the_changes_of_other_slots_does_not_matter(self) -> None:
        titles = [f"{a} {b}" for a in _WORDS for b in _WORDS[:5]]
        one, two = self.make(SYNONYMS), self.make(SYNONYMS)
        for slot in range(50):
            one.upsert(slot, fields_of(listing(titles[slot])))
        for slot in np.random.default_rng(0).permutation(50).tolist():
            two.upsert(slot, fields_of(listing("another coat")))
            if slot % 7 == 0:
                two.match("coat", np.ones(50, np.bool_), 5)
            two.upsert(slot, fields_of(listing(titles[slot])))
        for text in ("red dress", "leather", "le", "alba coat bag"):
            first, second = (i.match(text, np.ones(50, np.bool_), 40) for i in (one, two))
            np.testing.assert_array_equal(first[0], second[0])
            np.testing.assert_array_equal(first[1], second[1])

    def test_what_is_removed_is_in_no_later_search(self) -> None:
        index = self.of(*[listing("red dress")] * 20)
        for slot in range(0, 20, 2):
            index.remove(slot)
            assert slot not in self.found(index, "red dress")
        assert self.found(index, "red") == list(range(1, 20, 2))
        index.remove(0)
        index.remove(5_000)

    def test_an_upsert_replaces_every_word(self) -> None:
        index = self.of(listing("red dress", brand="Alba"), listing("hat"))
        assert self.found(index, "alba") == [0]
        index.upsert(0, fields_of(listing("blue coat")))
        assert self.found(index, "blue coat") == [0]
        assert self.found(index, "red dress alba") == []

    def test_all_the_words_come_before_some_of_them(self) -> None:
        in_passing = listing("hat", description="goes with a red dress")
        index = self.of(listing("red"), in_passing, listing("dress"))
        assert self.found(index, "red dress")[0] == 1
        assert self.found(index, "red dress", k=1) == [1]

    def test_a_word_counts_by_its_field(self) -> None:
        index = self.of(
            listing(description="velvet"),
            listing(hashtags=("#velvet",)),
            listing("velvet"),
            listing(material="velvet"),
        )
        assert self.found(index, "velvet ") == [2, 3, 1, 0]

    def test_a_brand_stuffed_into_a_description_does_not_count(self) -> None:
        index = self.of(
            listing("coat", brand="Prada"),
            listing("coat", brand="Zara", description="like prada", hashtags=("#prada",)),
        )
        assert self.found(index, "prada") == [0]
        assert self.found(index, "like") == [1]

    def test_synonyms_stand_for_each_other_or_one_way(self) -> None:
        index = self.of(
            listing("blue trainers"),
            listing("tote"),
            listing("bag"),
            listing("white t-shirt"),
            listing("sneaker"),
        )
        assert self.found(index, "sneakers") == [4, 0]
        assert self.found(index, "bag") == [2, 1]
        assert self.found(index, "tote") == [1]
        assert self.found(index, "tee") == [3]

    @pytest.mark.parametrize("asked", ["dres", "dresss", "leather dess", "lether"])
    def test_a_slip_of_the_fingers_is_forgiven(self, asked: str) -> None:
        index = self.of(listing("leather dress"), *[listing("wool hat")] * 9)
        assert self.found(index, asked)[:1] == [0]

    def test_edits_are_counted_by_the_length_of_a_word(self) -> None:
        if not self.counts_edits:
            return  # it forgives by likeness
        index = self.of(listing("red cashmere goat"))
        for asked in ("gaot", "coat", "cashmire", "kashmire", "cahsmeer"):
            assert self.found(index, asked) == [0], asked
        for asked in ("rad", "cats", "kashmirs"):
            assert self.found(index, asked) == [], asked

    def test_a_word_spelt_rightly_comes_before_a_slip(self) -> None:
        index = self.of(listing("boat"), listing("coat"), listing("coats"))
        assert self.found(index, "coat ")[:2] == [1, 2]

    def test_the_last_word_may_be_a_beginning(self) -> None:
        index = self.of(listing("leather boots"), listing("wool boots"))
        assert self.found(index, "leath") == [0]
        assert self.found(index, "boots le", k=1) == [0]
        assert self.found(index, "leath boots", k=1) != []
        assert self.found(index, "le ") == []

    @pytest.mark.parametrize(
        ("title", "asked"),
        [
            ("Robe d'été brodée", "ETE brodee"),
            ("เสื้อผ้ามือสอง", "เสื้อผ้ามือสอง"),
            ("معطف صوف أسود", "معطف"),
            ("ＷＯＯＬ　ｃｏａｔ", "wool coat"),
            ("платье красное", "Платье"),
            ("羊毛大衣", "羊毛大衣"),
            ("dress 👗🔥", "🔥 dress 👗"),
        ],
    )
    def test_any_language_is_found_by_its_own_words(self, title: str, asked: str) -> None:
        index = self.of(listing("something else"), listing(title))
        assert self.found(index, asked) == [1]

    @pytest.mark.parametrize("asked", ["", "   ", "\0", "👗", "!?()\"'*:~^[]{}AND OR", "\ud800"])
    def test_a_text_without_words_finds_nothing(self, asked: str) -> None:
        assert self.found(self.of(listing("red dress")), asked) == []

    def test_stop_words_count_where_there_are_no_others(self) -> None:
        index = self.of(listing("the coat"), listing("red coat"))
        assert self.found(index, "the red coat") == [1, 0]
        assert self.found(index, "the ") == [0]

    @pytest.mark.parametrize(
        "asked", ["x" * 2**20, "red " * 2**18, "red " + "\0" * 2**20, "é" * 2**19, "red\0dress"]
    )
    def test_a_monstrous_query_gets_a_fair_answer(self, asked: str) -> None:
        index = self.of(listing("red dress"))
        assert self.found(index, asked) == ([0] if asked.startswith("red") else [])

    def test_slots_past_the_mask_and_k_of_none(self) -> None:
        index = self.of(*[listing("coat")] * 6)
        assert search(index, "coat", np.ones(3, np.bool_), 9)[0].tolist() == [0, 1, 2]
        assert search(index, "coat", np.zeros(6, np.bool_), 9)[0].tolist() == []
        assert self.found(index, "coat", k=0) == []
        assert self.found(self.make(SYNONYMS), "coat") == []

    def test_bad_input_is_refused_and_the_index_unharmed(self) -> None:
        index = self.of(listing("coat"))
        with pytest.raises(InputError, match="slot -1"):
            index.upsert(-1, {"title": ["x"]})
        with pytest.raises(InputError, match=r"\['titel'\]; wanted some of brand"):
            index.upsert(0, {"titel": ["x"]})
        index.upsert(1, {})
        index.upsert(2, {"title": []})
        assert self.found(index, "coat") == [0]

    def test_the_offset_is_what_was_said(self) -> None:
        index = self.make(SYNONYMS)
        assert index.n == 0
        index.advance(7)
        assert index.n == 7
