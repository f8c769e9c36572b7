"""Recovery: a state restored and brought up to the log's end is the state folded from it all."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.log import EventLog
from heirloom.features.library import marketplace_view
from heirloom.features.people import People
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.pipelines.parity import compare
from heirloom.pipelines.recovery import Folded, Snapshot, fitting, mark_of

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
    snapshot = kept(shop)
    shop.restart(snapshot)
    shop.served.clear()
    shop.run(10)
    found = compare(shop.served, shop.log, empty_live(shop.log))
    assert found.holds
    assert found.rows > 50
