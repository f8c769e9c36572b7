"""Visits shared by files: whoever wrote them, and whatever became of who did."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps.test_http_paging import every, slate_of

from heirloom.apps.paging import Pages
from heirloom.apps.problems import ProblemError
from heirloom.apps.visits import OwnVisits, Visits, packed, unpacked
from heirloom.apps.workers.shared_visits import SharedVisits
from heirloom.core.query import Filters, Query

KEY = b"k" * 32


def of(run: Path, here: int, **settings: int) -> SharedVisits:
    return SharedVisits(run, here, (1, 2), KEY, **settings)


def test_an_order_comes_back_as_it_was() -> None:
    query = Query(t=5, user="ü", filters=Filters(brands=("a",)), exclude=("x",))
    slate = slate_of(3)
    asked, made = unpacked(packed(query, slate))
    assert asked == query
    assert made.slots.tobytes() == slate.slots.tobytes()
    assert (made.slots.dtype, made.shown, made.why) == (slate.slots.dtype, slate.shown, slate.why)


def test_a_page_goes_on_in_another_process(tmp_path: Path) -> None:
    one, other = Pages(of(tmp_path, 1)), Pages(of(tmp_path, 2))
    first = one.first(Query(t=1_000), slate_of(5), 2, every)
    assert first.next_token is not None
    later = other.later(first.next_token, 2, 1_000, lambda _: every)
    assert [each.listing for each in later.shown] == ["l2", "l3"]
    assert later.next_token is not None
    last = one.later(later.next_token, 2, 1_000, lambda _: every)
    assert [each.position for each in last.shown] == [4]


def test_the_latest_orders_are_kept_also_by_one_that_is_started_again(tmp_path: Path) -> None:
    visits = of(tmp_path, 1, orders=2)
    for name in ("a", "b"):
        visits.keep(name, name.encode())
    (tmp_path / "orders-1" / ".half").write_bytes(b"of one")
    again = of(tmp_path, 1, orders=2)
    again.keep("c", b"c")
    assert [of(tmp_path, 2).order(name, 1) for name in ("a", "b", "c")] == [None, b"b", b"c"]
    assert sorted(path.name for path in (tmp_path / "orders-1").iterdir()) == ["b", "c"]


def test_an_order_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    pages = Pages(of(tmp_path, 1))
    token = pages.first(Query(t=1_000), slate_of(5), 2, every).next_token
    assert token is not None
    (tmp_path / "orders-1" / "s").unlink()
    with pytest.raises(ProblemError, match="410"):
        pages.later(token, 2, 1_000, lambda _: every)


def test_a_disk_without_room_costs_the_order_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    visits = of(tmp_path, 1)
    (tmp_path / "orders-1").rmdir()
    visits.keep("s", b"order")
    assert visits.order("s", 1) is None
    assert "is not kept" in caplog.text


@given(
    said=st.lists(
        st.tuples(st.sampled_from([1, 2]), st.sampled_from("abcdef"), st.text(max_size=30)),
        max_size=40,
    ),
    restarts=st.sets(st.integers(0, 40)),
    looks=st.sets(st.integers(0, 40)),
)
def test_who_reads_knows_all_that_was_said(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[int, str, str]],
    restarts: set[int],
    looks: set[int],
) -> None:
    """As one process that heard it all: through full journals, restarts, and seldom looks."""
    run = tmp_path_factory.mktemp("run")
    writing = {here: of(run, here, journal=120) for here in (1, 2)}
    reading: Visits = of(run, -1)
    alone = {here: OwnVisits() for here in (1, 2)}
    for i, (here, slate, text) in enumerate(said):
        if i in restarts:
            writing[here] = of(run, here, journal=120)
        name = f"{here}{slate}"
        writing[here].searched(name, text)
        alone[here].searched(name, text)
        reading.refresh()  # a journal that was replaced twice between two looks is lost in part
        if i in looks:
            assert reading.words(name) == text
    for here, visits in alone.items():
        for slate in "abcdef":
            assert reading.words(f"{here}{slate}") == visits.words(f"{here}{slate}")


def test_half_a_line_of_a_process_that_died_spoils_no_other(tmp_path: Path) -> None:
    visits, reading = of(tmp_path, 1), of(tmp_path, -1)
    visits.searched("a", "coat")
    with (tmp_path / "searches-1").open("ab") as journal:
        journal.write(b'["b","dr')
    reading.refresh()
    of(tmp_path, 1).searched("c", "hat")
    reading.refresh()
    assert [reading.words(name) for name in "abc"] == ["coat", None, "hat"]
    assert of(tmp_path, 1).words("a") == "coat"
