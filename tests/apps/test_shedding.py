"""Laws of the line before the system's thread, over random comings and goings."""

from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.shedding import Line, sent_away

MS = 1_000_000
moves = st.lists(
    st.tuples(
        st.sampled_from(["come", "begin", "end", "leave"]),
        st.integers(0, 2_000 * MS),
    ),
    max_size=80,
)
Moves = list[tuple[str, int]]


def walk(line: Line, sequence: Moves) -> tuple[int, int]:
    """Who waits and who is under way, counted anew here; nobody comes who was refused."""
    waiting = under_way = 0
    for what, ns in sequence:
        if what == "come" and not line.refusal(ns):
            line.enter()
            waiting += 1
        elif what == "leave" and waiting:
            line.leave()
            waiting -= 1
        elif what == "begin" and waiting and not under_way:
            line.begin()
            waiting, under_way = waiting - 1, 1
        elif what == "end" and under_way:
            line.end(ns)
            under_way = 0
    return waiting, under_way


@given(st.integers(1, 8), moves)
def test_never_more_wait_than_may(most: int, sequence: Moves) -> None:
    line = Line(most)
    waiting, under_way = walk(line, sequence)
    assert line.waiting == waiting
    assert 0 <= waiting <= most
    assert line.wait == (waiting + under_way) * line.usual
    assert (line.refusal(10**18) == "full") == (waiting == most)


@given(st.integers(1, 8), moves, st.integers(1, 2_000 * MS))
def test_who_is_let_in_behind_others_waits_for_them_half_their_time_at_most(
    most: int, sequence: Moves, left: int
) -> None:
    line = Line(most)
    waiting, _ = walk(line, sequence)
    if waiting < most:
        assert (line.refusal(left) == "") == (not waiting or 2 * line.wait <= left)


@given(st.integers(1, 8), moves)
def test_a_line_that_is_empty_again_lets_anybody_in(most: int, sequence: Moves) -> None:
    """However long earlier answers took: nothing but those who wait now is in the way."""
    line = Line(most)
    waiting, under_way = walk(line, sequence)
    for _ in range(under_way):
        line.end(MS)
    for _ in range(waiting):
        line.leave()
    assert (line.waiting, line.wait, line.refusal(1)) == (0, 0, "")


@given(st.lists(st.integers(0, 10_000 * MS), min_size=1, max_size=60))
def test_what_is_usual_stays_within_what_was_seen_and_no_answer_alone_moves_it_far(
    times: list[int],
) -> None:
    line = Line(4)
    for took in times:
        before = line.usual
        line.enter()
        line.begin()
        line.end(took)
        assert line.usual <= before * 1.5
        assert line.usual <= max(before, took)
        assert line.usual >= min(before, max(took, 10_000)) - 1
    for _ in range(2_000):
        line.enter()
        line.begin()
        line.end(7 * MS)
    assert abs(line.usual - 7 * MS) <= 16


def test_it_is_said_when_to_come_again() -> None:
    line = Line(2)
    away = sent_away(line, "full")
    assert (away.problem.status, away.headers) == (503, {"retry-after": "1"})
    for _ in range(2_000):
        line.enter()
        line.begin()
        line.end(4_000 * MS)
    line.enter()
    line.enter()
    assert sent_away(line, "full").headers == {"retry-after": "8"}
