"""Recovery: a state restored and brought up to the log's end is the state folded from it all."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.apps.registry import OWN_RETRIEVERS
from heirloom.core.errors import InputError
from heirloom.core.kept import object_of, of_object
from heirloom.core.log import EventLog
from heirloom.core.query import Query
from heirloom.features.library import marketplace_view
from heirloom.features.people import People
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.pipelines.parity import compare
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.recovery import (
    LAYOUT,
    Folded,
    Snapshot,
    begun,
    fitting,
    kept_of,
    mark_of,
    name_of,
    name_of_content,
    name_of_parts,
)
from heirloom.pipelines.serve import recommend
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.retriever import Retriever
from heirloom.slates.rules import Shares

from .shop import Shop, empty_live


@dataclass(frozen=True)
class Kept:
    """A snapshot that never saw a disk."""

    n: int
    mark: str
    arrays: dict[str, NDArray[Any]] = field(repr=False)


def arrays_of(live: Live) -> dict[str, NDArray[Any]]:
    return Folded(live.features, live.people).arrays()


def restore(live: Live, log: EventLog, snapshots: list[Snapshot], refuse: Any) -> int:
    found = fitting(live.view, log, snapshots, refuse)
    if found is None:
        return 0
    live.restore(found.features, found.people)
    return found.n


def kept(shop: Shop) -> Kept:
    return Kept(shop.live.n, mark_of(shop.log, shop.live.n), arrays_of(shop.live))


def same_bytes(left: Live, right: Live) -> bool:
    a, b = arrays_of(left), arrays_of(right)
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype
        and a[name].shape == b[name].shape
        and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


def states_of(live: Live, log: EventLog) -> dict[str, Kept]:
    """All that is kept of a state, by name, as it is now."""
    of_view = {name_of(live.view): arrays_of(live)}
    return {
        name: Kept(live.n, mark_of(log, live.n), {key: a.copy() for key, a in arrays.items()})
        for name, arrays in (of_view | kept_of(live)).items()
    }


def same_states(ours: dict[str, Kept], theirs: dict[str, Kept]) -> None:
    """In every byte of every array."""
    assert ours.keys() == theirs.keys()
    for name, state in theirs.items():
        assert ours[name].n == state.n
        assert ours[name].arrays.keys() == state.arrays.keys()
        for key, array in state.arrays.items():
            assert ours[name].arrays[key].tobytes() == array.tobytes(), key


def every_retriever(live: Live) -> dict[str, Retriever]:
    """Our own, but the one whose index has threads of its own."""
    return {name: make(live) for name, make in OWN_RETRIEVERS.items() if name != "tantivy"}


def busy(seed: int, steps: int) -> Shop:
    """A shop with all that can be folded."""
    shares = Shares(new_sellers=1.5, low_exposure=1.2, every=60)
    return Shop(seed, pace=6, shares=shares, retrievers=every_retriever).run(steps)


QUOTAS = {
    "home": {"popular": 20, "taste": 20, "recent": 20, "followed": 10, "saved_search": 10},
    "similar": {"similar": 20, "popular": 20},
    "search": {"search": 30, "lexical": 30, "popular": 30},
}


def answers(live: Live, queries: list[Query]) -> list[bytes]:
    """All that a request reads of a state: slates with their reasons, and features, as bytes."""
    found = []
    for query in queries:
        slate = recommend(query, Policy(name="test", quotas=QUOTAS, seller_cap=50), live)
        slots = np.flatnonzero(live.catalogue.live).astype(np.int32)
        values = live.look_up(live.request(query), slots).values
        shown = [(each, live.catalogue.listing(live.catalogue.slot_of(each.listing)))
                 for each in slate.shown]  # fmt: skip
        found.append(repr((shown, live.intent(query.text))).encode() + values.tobytes())
    stands = [live.catalogue.column(name).tobytes() for name in ("status", "generation")]
    return [*found, *stands]


@pytest.fixture(scope="module", autouse=True)
def often() -> Iterator[None]:
    """All that is fitted now and then is fitted often, and every stock is a large one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heirloom.pipelines.live.REFIT_EVERY", 64)
        patch.setattr("heirloom.retrieval.popular.REVIEW_EVERY", 32)
        patch.setattr("heirloom.retrieval.popular.LARGE", 8)
        yield


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    steps=st.tuples(st.integers(1, 8), st.integers(1, 5), st.integers(0, 5)),
    which=st.tuples(*3 * [st.sampled_from([(), (0,), (1,), (1, 0)])]),
)
def test_any_states_of_one_log_go_together(
    seed: int, steps: tuple[int, int, int], which: tuple[tuple[int, ...], ...]
) -> None:
    """Each of the three may be of another offset, or lost: the answers are those of the log."""
    shop = busy(seed, steps[0])
    kept = [states_of(shop.live, shop.log)]
    kept.append(states_of(shop.run(steps[1]).live, shop.log))
    shop.run(steps[2])
    names = list(kept[0])
    assert len(names) == 3

    def latest(name: str) -> list[Kept]:
        return [kept[at][name] for at in which[names.index(name)]]

    refused: list[str] = []
    live = begun(shop.empty, shop.log, latest, refused.append)
    assert not refused
    assert live.n == min(kept[at[0]][names[0]].n if at else 0 for at in which)
    live.replay(shop.log.read(live.n))
    whole = shop.empty()
    whole.replay(shop.log.read())
    assert live.n == whole.n == shop.log.end()
    assert live.newest_ms == whole.newest_ms > 0
    queries = [shop.query() for _ in range(6)]
    assert answers(live, queries) == answers(whole, queries)


def test_what_is_restored_is_what_was_kept_in_every_byte_and_goes_on_so() -> None:
    """And can be kept again; here what was folded was cut where the other was kept."""
    shop = busy(3, 14)
    n = shop.log.end()
    whole = shop.empty()
    whole.replay(shop.log.read())
    kept = states_of(whole, shop.log)
    live = begun(shop.empty, shop.log, lambda name: [kept[name]], print)
    assert live.n == n
    same_states(states_of(live, shop.log), kept)
    shop.run(14)
    for each in (live, whole):
        codes, known = shop.log.vocabulary(), each.vocabulary
        new = [(field, code, codes.text(field, code)) for field, size in codes.sizes().items()
               for code in range(known.next_code(field), size)]  # fmt: skip
        known.foresee(new)
        each.replay(shop.log.read(n))
        assert each.n == shop.log.end() > n
    ours = states_of(live, shop.log)
    same_states(ours, states_of(whole, shop.log))
    queries = [shop.query() for _ in range(12)]
    assert answers(live, queries) == answers(whole, queries)
    again = begun(shop.empty, shop.log, lambda name: [ours[name]], print)
    assert (again.n, again.newest_ms) == (live.n, live.newest_ms)
    assert answers(again, queries) == answers(whole, queries)


def test_content_is_fitted_at_no_offset_that_it_holds_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It alone is restored, so the log is folded from its beginning."""
    shop = busy(3, 10)
    states = states_of(shop.live, shop.log)
    content = name_of_content(shop.live.content.encoder)
    shop.run(6)
    live = begun(
        shop.empty, shop.log, lambda name: [states[name]] if name == content else [], print
    )
    assert live.n == 0
    fitted: list[int] = []
    monkeypatch.setattr(live.content, "refit", lambda: fitted.append(live.n))
    live.replay(shop.log.read())
    since, end = states[content].n, shop.log.end()
    assert since > 64
    assert fitted == [n for n in range(64, end + 1, 64) if n > since] != []


def test_a_part_that_cannot_take_its_arrays_is_folded_from_the_beginning() -> None:
    """Another worth of actions, a class of another name, arrays that are missing: one part each."""
    shop = busy(5, 10)
    kept = states_of(shop.live, shop.log)
    parts = kept[name_of_parts()]
    queries = [shop.query() for _ in range(6)]
    expected = answers(shop.live, queries)
    other = Popular(engagement={"click": 5}).arrays()["worth"]
    fewer = {key: a for key, a in parts.arrays.items() if not key.startswith("searches.")}
    renamed = object_of(parts.arrays["kinds"], dict[str, str]) | {"catalogue": "Catalogue2"}
    for arrays, said in (
        (parts.arrays | {"retriever.popular.worth": other}, "other worths of actions"),
        (parts.arrays | {"exposure.shares": of_object({})}, "counted for other shares"),
        (fewer, "searches: Searches: 'row' is nothing"),
        (parts.arrays | {"kinds": of_object(renamed)}, "no such catalogue"),
        ({}, "no such catalogue"),
    ):
        refused: list[str] = []
        states = kept | {name_of_parts(): Kept(parts.n, parts.mark, arrays)}
        live = begun(shop.empty, shop.log, lambda name: [states[name]], refused.append)  # noqa: B023
        assert any(said in sentence for sentence in refused)
        assert live.n == 0
        live.replay(shop.log.read())
        assert answers(live, queries) == expected


def test_what_the_parts_keep_is_what_this_layout_keeps() -> None:
    """Where this fails, a snapshot of before is not of what is kept now: raise LAYOUT with it.

    But not where less is kept, and the rest as before: such a snapshot is still read.
    """
    shop = busy(1, 8)
    names = sorted({
        f"{re.sub(r'sum[.][0-9]+', 'sum', key)} {array.dtype.descr}"
        for arrays in kept_of(shop.live).values()
        for key, array in arrays.items()
    })  # fmt: skip
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    assert (LAYOUT, digest) == (1, "ecec2ea790bb9dcf")


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), before=st.integers(1, 12), after=st.integers(0, 8))
def test_restored_and_brought_up_is_folded_from_the_beginning(
    seed: int, before: int, after: int
) -> None:
    shop = Shop(seed, pace=6).run(before)
    snapshot = kept(shop)
    shop.run(after)
    refused: list[str] = []
    live = empty_live(shop.log)
    assert restore(live, shop.log, [snapshot], refused.append) == snapshot.n
    assert not refused
    live.replay(shop.log.read())
    whole = empty_live(shop.log)
    whole.replay(shop.log.read())
    assert live.n == whole.n == shop.log.end()
    assert same_bytes(live, whole)
    for _ in range(4):
        query = shop.query()
        slots = np.flatnonzero(whole.catalogue.live).astype(np.int32)
        request = live.request(query)
        assert request.recent.tobytes() == whole.request(query).recent.tobytes()
        assert (
            live.look_up(request, slots).values.tobytes()
            == whole.look_up(whole.request(query), slots).values.tobytes()
        )
        assert live.people.hidden(request.person) == whole.people.hidden(request.person)
        assert live.people.saved(request.person).tobytes() == (
            whole.people.saved(request.person).tobytes()
        )


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(4).run(15)


def test_what_does_not_fit_is_refused_and_the_next_is_taken(shop: Shop) -> None:
    good = kept(shop)
    other = Shop(5).run(15)
    refused: list[str] = []
    broken = Kept(good.n, good.mark, good.arrays | {"people.rows": np.zeros((0, 12), np.int32)})
    missing = Kept(good.n, good.mark, {k: a for k, a in good.arrays.items() if "meta" not in k})
    longer = Kept(good.n + 1, good.mark, good.arrays)
    live = empty_live(shop.log)
    found = restore(live, shop.log, [longer, kept(other), broken, missing, good], refused.append)
    assert found == good.n
    assert len(refused) == 4
    assert "of another log" in refused[0]
    assert "of another log" in refused[1]
    assert all("fold the log instead" in sentence for sentence in refused[2:])
    assert restore(empty_live(shop.log), shop.log, [longer], refused.append) == 0


def test_nothing_is_restored_into_what_has_folded(shop: Shop) -> None:
    with pytest.raises(ValueError, match="before the log is folded"):
        restore(shop.live, shop.log, [kept(shop)], print)
    other = FeatureView("marketplace", marketplace_view().features[:5])
    with pytest.raises(ValueError, match="not of the view"):
        empty_live(shop.log).restore(other.state(), People())


def test_arrays_of_people_are_checked() -> None:
    good = People(3).arrays()
    assert People.restored(0, good).k == 3
    for name, wrong in (
        ("actions", np.zeros((1, 5), good["actions"].dtype)),
        ("declared", np.zeros((0, 3), np.int32)),
        ("meta", np.zeros(2, np.int64)),
        ("row", np.array([7], np.int32)),
        ("choices", np.zeros((1, 3), np.int32)),
    ):
        with pytest.raises(InputError, match=r"People\.restored"):
            People.restored(0, good | {name: wrong})


def test_parity_of_what_a_restored_state_serves(shop: Shop) -> None:
    states = states_of(shop.live, shop.log)
    shop.restart(lambda name: [states[name]])
    assert not shop.refused
    shop.served.clear()
    shop.run(10)
    found = compare(shop.served, shop.log, empty_live(shop.log))
    assert found.holds
    assert found.rows > 50
