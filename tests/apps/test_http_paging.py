"""Pages: cut from one order, whatever is sold in between, nothing is shown twice."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.paging import Page, Pages
from heirloom.apps.problems import ProblemError
from heirloom.apps.visits import OwnVisits
from heirloom.core.query import Query
from heirloom.core.slate import Shown, ShownList, Slate


def slate_of(n: int, slate_id: str = "s") -> Slate:
    return Slate(
        slate_id=slate_id,
        policy="p",
        shown=ShownList.of(Shown(f"l{i}", i, 1.0 - i, ("recent",), ()) for i in range(n)),
        slots=np.arange(n, dtype=np.int32),
        features=None,
        candidates_hash="",
        t=1_000,
        n=0,
    )


def every(shown: Sequence[Shown]) -> list[bool]:
    return [True] * len(shown)


@given(
    n=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    sold=st.lists(st.sets(st.integers(0, 59)), min_size=8, max_size=8),
)
def test_a_visit_sees_what_is_unsold_once_in_order(
    n: int, sizes: list[int], sold: list[set[int]]
) -> None:
    pages, gone = Pages(), set[str]()
    query = Query(t=1_000)

    def unsold(shown: Sequence[Shown]) -> list[bool]:
        return [each.listing not in gone for each in shown]

    seen: list[Shown] = []
    page: Page | None = None
    for size, sells in zip(sizes, sold, strict=False):
        gone |= {f"l{i}" for i in sells}
        if page is None:
            page = pages.first(query, slate_of(n), size, unsold)
        elif page.next_token is None:
            break
        else:
            page = pages.later(page.next_token, size, 1_000, lambda _: unsold)
        assert len(page.shown) <= size
        assert not {shown.listing for shown in page.shown} & gone
        if page.next_token is not None:
            assert len(page.shown) == size  # only the last page may be short
        seen += page.shown
    order = [int(shown.listing[1:]) for shown in seen]
    assert order == sorted(set(order))
    assert [shown.position for shown in seen] == list(range(len(seen)))


def test_only_the_latest_orders_are_kept() -> None:
    visits = OwnVisits(orders=2)
    pages = Pages(visits)
    query = Query(t=1_000)
    tokens = [pages.first(query, slate_of(5, f"s{i}"), 2, every).next_token for i in range(3)]
    assert len(visits) == 2
    assert None not in tokens
    for token in tokens[1:]:
        assert token is not None
        assert pages.later(token, 2, 1_000, lambda _: every).shown[0].listing == "l2"
    assert tokens[0] is not None
    with pytest.raises(ProblemError, match="410"):
        pages.later(tokens[0], 2, 1_000, lambda _: every)


def test_a_forged_token_reads_no_order() -> None:
    pages = Pages()
    token = pages.first(Query(t=1_000), slate_of(5), 2, every).next_token
    assert token is not None
    for i in range(len(token) - 1):  # the last letter has bits that carry nothing
        forged = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        with pytest.raises(ProblemError):
            pages.later(forged, 2, 1_000, lambda _: every)
