"""What is kept of texts' meanings is what would be found anew, whatever came to the stock."""

from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.intent import meant
from heirloom.retrieval.lexicon import Lexicon
from heirloom.retrieval.meanings import Meanings
from heirloom.retrieval.words import Words, weighted_words

T = 1_735_689_600_000
TEXTS = ("boot", "ankle boot", "zara dress", "zarra", "coat", "nothing")
Stock = st.tuples(
    st.integers(0, 5),
    st.sampled_from(["ankle boot", "zara dress", "coat", "boot"]),
    st.sampled_from(["women/boots", "men/boots", "women/dresses"]),
    st.sampled_from(["Zara", "Zarra", "Cos"]),
)


@given(st.lists(st.tuples(Stock, st.lists(st.sampled_from(TEXTS), max_size=3)), max_size=12))
@settings(deadline=None)
def test_a_meaning_is_that_of_the_listings_there_are(
    steps: list[tuple[tuple[int, str, str, str], list[str]]],
) -> None:
    catalogue, words = Catalogue(Vocabulary()), Words()
    lexicon = Lexicon(catalogue.vocabulary, words.alive)
    meanings = Meanings(catalogue, lexicon, lambda: words)
    for (number, title, category, brand), texts in steps:
        name = f"l{number}"
        listing = Listing(listing_id=name, seller="s", title=title, category=category, brand=brand)
        kind = Kind.EDITED if catalogue.knows(name) else Kind.LISTED
        event = Event(event_id="e", kind=kind, t=T, listing=name, data=listing)
        at = catalogue.allocate(name, T)
        catalogue.apply(event, at)
        words.put(at, weighted_words(listing))
        meanings.catch_up()
        for text in texts:
            column, department = catalogue.column("category"), catalogue.stem(1)
            codes, shares = meant(text, lexicon, words, column, department)
            for _ in range(2):
                told = zip(codes.tolist(), shares.tolist(), strict=True)
                assert meanings.categories(text) == tuple(told)
                named = lexicon.read(text, ordered=False).codes("brand")
                assert meanings.brands(text) == tuple(named.tolist())


def test_words_of_another_encoder_are_asked_anew() -> None:
    catalogue = Catalogue(Vocabulary())
    listing = Listing(listing_id="l", seller="s", title="boot", category="women/boots")
    catalogue.apply(Event(event_id="e", kind=Kind.LISTED, t=T, listing="l", data=listing), 0)
    words = [Words(), Words()]
    words[1].put(0, weighted_words(listing))
    words[0].put(0, {"coat": 1.0})  # as often changed as the other
    meanings = Meanings(catalogue, Lexicon(catalogue.vocabulary), lambda: words[0])
    meanings.catch_up()
    assert meanings.categories("boot") == ()
    words.reverse()
    meanings.catch_up()
    assert meanings.categories("boot") == (
        (catalogue.vocabulary.code("category", "women/boots"), 1.0),
    )


def test_a_slot_whose_words_alone_changed_is_read_anew() -> None:
    catalogue, words = Catalogue(Vocabulary()), Words()
    listing = Listing(listing_id="l", seller="s", title="boot", category="women/boots")
    catalogue.apply(Event(event_id="e", kind=Kind.LISTED, t=T, listing="l", data=listing), 0)
    meanings = Meanings(catalogue, Lexicon(catalogue.vocabulary), lambda: words)
    meanings.catch_up()
    assert meanings.categories("boot") == ()
    words.put(0, weighted_words(listing))
    meanings.catch_up()
    assert len(meanings.categories("boot")) == 1
    words.remove(0)
    meanings.catch_up()
    assert meanings.categories("boot") == ()
