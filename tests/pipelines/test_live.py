"""Live: what a slot's former listing does changes nothing, nor does how the log was cut."""

import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind
from heirloom.core.facts import EVENT_ROW
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.vocabulary import Vocabulary
from heirloom.encoders.hashed import Hashed
from heirloom.features.library import marketplace_view
from heirloom.pipelines import live as live_module
from heirloom.pipelines.ingest import Ingest
from heirloom.pipelines.live import Live
from heirloom.retrieval.content import ContentIndex
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

T = 1_735_689_600_000
HOUR = 3_600_000
DAY = 86_400_000


def event(kind: Kind, listing: str, t: int, title: str | None = None) -> Event:
    data = None
    if title is not None:
        data = Listing(listing_id=listing, seller="s", title=title)
    return Event(event_id=f"{kind}-{listing}-{t}", kind=kind, t=t, listing=listing, data=data)


def a_live() -> Live:
    catalogue = Catalogue(Vocabulary(), retire_after_ms=DAY)
    return Live(catalogue=catalogue, view=marketplace_view(), content=ContentIndex(Hashed(8)))


def an_ingest(live: Live, log: MemoryLog) -> Ingest:
    return Ingest(
        log=log,
        anteroom=MemoryAnteroom(),
        catalogue=live.catalogue,
        currency="EUR",
        rates={},
        apply=live.fold,
    )


@pytest.fixture
def live() -> Live:
    return a_live()


def test_an_edit_after_the_slot_was_given_up(live: Live) -> None:
    ingest = an_ingest(live, MemoryLog())
    past = [
        event(Kind.LISTED, "old", T, "red silk dress"),
        event(Kind.SOLD, "old", T + 1),
        event(Kind.LISTED, "new", T + 3 * DAY, "blue wool coat"),
    ]
    ingest.ingest(past, now_ms=None, source="test")
    assert live.catalogue.slot_of("old") == -1
    assert live.catalogue.slot_of("new") == 0
    before = live.content.vectors.copy()
    late = event(Kind.EDITED, "old", T + 4 * DAY, "green linen shirt")
    assert ingest.ingest([late], now_ms=None, source="test").taken == 1
    np.testing.assert_array_equal(live.content.vectors, before)


def test_each_kind_is_folded_also_where_it_comes_alone(live: Live) -> None:
    """Who folds few kinds is not asked where none of them came."""
    ingest, who = an_ingest(live, MemoryLog()), {"user": "bo"}
    followed = {"text": "red dress", **who}
    told = [
        event(Kind.LISTED, "a", T, "red dress"),
        Event(event_id="p", kind="prefer", t=T, attributes={"department": "men"}, **who),
        Event(event_id="f1", kind="follow", t=T, **followed),
        Event(event_id="f2", kind="follow", t=T, text="blue coat", **who),
        Event(event_id="u", kind="unfollow", t=T + 1, **followed),
        event(Kind.EDITED, "a", T + 2, "green shirt"),
    ]
    vectors = []
    for each in told:
        assert ingest.ingest([each], now_ms=None, source="test").taken == 1
        vectors.append(live.content.vectors.copy())
    person = live.vocabulary.find("person", "bo")
    assert live.preferences.stated(person) == {"department": "men"}
    assert [saved.text for saved in live.saved_searches.of(person)] == ["blue coat"]
    assert vectors[0].any()
    assert not np.array_equal(vectors[-1], vectors[-2])


def test_a_query_is_its_words_and_asking_gives_no_code(live: Live) -> None:
    def asked(kind: Kind, text: str, t: int) -> Event:
        return Event(
            event_id=f"{kind}-{t}", kind=kind, t=t, user="anna", text=text,
            listing=None if kind == Kind.SEARCH else "a",
        )  # fmt: skip

    log = MemoryLog()
    past = [
        event(Kind.LISTED, "a", T, "red silk dress"),
        asked(Kind.SEARCH, "Red DRESSES", T + 1),
        asked(Kind.CLICK, "dress, red", T + 2),
        asked(Kind.MESSAGE, "meet me at the station", T + 3),
    ]
    an_ingest(live, log).ingest(past, now_ms=None, source="test")
    codes = [np.frombuffer(entry.event_row, EVENT_ROW)["query"][0] for entry in log.read()]
    assert codes == [0, 1, 1, 0]
    assert live.vocabulary.texts("query") == ["", "dress red"]
    request = live.request(Query(t=T + 4, text="a red dress? Dresses!"))
    assert request.text == 0
    assert live.vocabulary.size("query") == 2
    request = live.request(Query(t=T + 4, text="RED dress"))
    assert request.text == 1
    batch = live.look_up(request, np.zeros(1, np.int32))
    names = [column.partition(".")[2] for column in batch.columns]
    assert batch.values[0, names.index("query_listing_clicked_4w")] == 1
    assert batch.values[0, names.index("query_listing_share_4w")] == np.float32(1 / (1 + 5))


def test_content_is_fitted_at_the_same_offsets_however_the_log_was_cut(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heirloom.pipelines.live.REFIT_EVERY", 96)
    rng = np.random.default_rng(0)
    words = np.array(
        [
            "boho",
            "festival",
            "fringed",
            "flowy",
            "office",
            "tailored",
            "smart",
            "formal",
            "gym",
            "track",
        ]
    )
    stock = [
        event(Kind.LISTED, f"l{i}", T + i, " ".join(rng.choice(words, 4, replace=False)))
        for i in range(300)
    ]
    log = MemoryLog()
    ingest = an_ingest(live, log)
    for cut in np.split(np.arange(300), [1, 90, 100, 101, 250]):
        ingest.ingest([stock[i] for i in cut], now_ms=None, source="test")
    replayed = a_live()
    replayed.replay(log.read())
    recent, slots = np.array([3, 5], np.int32), np.arange(300, dtype=np.int32)
    served = live.content.diction.match(recent, slots)
    assert served.any()
    assert replayed.content.diction.match(recent, slots).tobytes() == served.tobytes()


def test_appeal_is_fitted_as_the_log_grows_and_a_replay_finds_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two brands shown side by side one is clicked each time; offsets alone say when to fit."""
    monkeypatch.setattr(live_module, "REFIT_EVERY", 16)
    live, log = a_live(), MemoryLog()
    stock = [
        Event(event_id=name, kind=Kind.LISTED, t=T, listing=name,
              data=Listing(listing_id=name, seller="s", title="dress", brand=name, photos=3))
        for name in ("loved", "plain")
    ]  # fmt: skip
    seen = []
    for i in range(40):
        order = ("loved", "plain")[:: (-1) ** i]  # in turns, so that the place tells nothing
        said = {"t": T + HOUR + i, "user": f"u{i}", "surface": "home", "slate": f"s{i}"}
        seen.append(Event(event_id=f"i{i}", kind=Kind.IMPRESSION, listings=order, **said))
        seen.append(Event(event_id=f"c{i}", kind=Kind.CLICK, listing="loved", **said))
    an_ingest(live, log).ingest([*stock, *seen], now_ms=None, source="test")
    slots = np.array([live.catalogue.slot_of(name) for name in ("loved", "plain")], np.int32)
    loved, plain = live.appeal.of(slots, live.prices)
    assert loved > plain + 0.5
    again = a_live()
    for entry in log.read():
        again.replay([entry])
    assert again.appeal.of(slots, again.prices).tolist() == [loved, plain]
