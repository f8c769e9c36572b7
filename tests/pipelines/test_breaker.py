"""Laws of the breaker, over random sequences of calls, and by an independent account of them."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from heirloom.pipelines.breaker import CLOSED, STATES, Breaker, Rule, admitted, reported

rules = st.builds(
    Rule,
    failures=st.integers(1, 4),
    rest=st.integers(1, 20),
    longest_rest=st.integers(20, 60),
    probe=st.integers(1, 30),
)
Step = tuple[int, str, int]
steps = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(["ask", "ok", "fail"]), st.integers(0, 5)),
    max_size=60,
)


@dataclass
class Run:
    """A breaker under a sequence of steps: wait, then ask, or let a call that is out come back."""

    rule: Rule
    breaker: Breaker = CLOSED
    now: int = 0
    out: list[int] = field(default_factory=list)

    def go(self, step: Step) -> tuple[Breaker, int | None]:
        """The breaker before, and the turn that was given."""
        wait, what, which = step
        self.now += wait
        before, given_turn = self.breaker, None
        if what == "ask":
            self.breaker, given_turn = admitted(self.breaker, self.rule, self.now)
            if given_turn is not None:
                self.out.append(given_turn)
        elif self.out:
            turn = self.out.pop(which % len(self.out))
            self.breaker = reported(self.breaker, self.rule, self.now, turn, ok=what == "ok")
        return before, given_turn


@given(rules, steps)
def test_a_closed_breaker_lets_every_call_pass_and_an_open_one_none(
    rule: Rule, sequence: list[Step]
) -> None:
    run = Run(rule)
    for step in sequence:
        before, turn = run.go(step)
        assert run.breaker.state in STATES
        if step[1] != "ask":
            continue
        if before.state == "closed":
            assert turn == before.turn
            assert run.breaker is before
        else:
            assert (turn is None) == (run.now < before.until)


@given(rules, steps)
def test_it_opens_after_so_many_failures_in_a_row_and_never_before(
    rule: Rule, sequence: list[Step]
) -> None:
    """Counted anew here from what was reported of the breaker's present turn."""
    run, in_a_row = Run(rule), 0
    for step in sequence:
        before = run.breaker
        out = list(run.out)
        run.go(step)
        if before.state == "closed" and step[1] != "ask" and out:
            if out[step[2] % len(out)] == before.turn:
                in_a_row = 0 if step[1] == "ok" else in_a_row + 1
            assert (run.breaker.state == "open") == (in_a_row >= rule.failures)
        if run.breaker.turn != before.turn:
            in_a_row = 0


@given(rules, steps)
def test_one_probe_at_a_time_and_only_it_decides(rule: Rule, sequence: list[Step]) -> None:
    run = Run(rule)
    for step in sequence:
        before, out = run.breaker, list(run.out)
        run.go(step)
        if before.state != "half-open" or step[1] == "ask" or not out:
            continue
        if out[step[2] % len(out)] != before.turn:
            assert run.breaker == before, "a call of another turn changes nothing"
        else:
            assert run.breaker.state == ("closed" if step[1] == "ok" else "open")
    assert run.out.count(run.breaker.turn) <= 1 or run.breaker.state == "closed"


@given(rules, steps)
def test_the_rest_doubles_to_its_longest_and_is_short_again_once_closed(
    rule: Rule, sequence: list[Step]
) -> None:
    run, opened = Run(rule), 0
    for step in sequence:
        before, _ = run.go(step)
        if run.breaker.state == "open" and before.state != "open":
            rest = run.breaker.until - run.now
            assert rest == min(rule.rest * 2**opened, rule.longest_rest)
            opened += 1
        elif run.breaker.state == "closed":
            opened = 0


@given(rules, steps)
def test_it_is_never_stuck(rule: Rule, sequence: list[Step]) -> None:
    """Whatever came before, also a probe that never ended: rested, a call passes and closes it."""
    run = Run(rule)
    for step in sequence:
        run.go(step)
    now = run.now + max(rule.longest_rest, rule.probe)
    breaker, turn = admitted(run.breaker, rule, now)
    assert turn is not None
    after = reported(breaker, rule, now, turn, ok=True)
    assert (after.state, after.failures) == ("closed", 0)


def test_who_was_on_its_way_when_it_opened_decides_nothing() -> None:
    rule = Rule(failures=1, rest=10)
    tired = reported(CLOSED, rule, 0, CLOSED.turn, ok=False)
    probing, turn = admitted(tired, rule, 10)
    assert (probing.state, turn) == ("half-open", probing.turn)
    for ok in (True, False):
        assert reported(probing, rule, 11, CLOSED.turn, ok=ok) == probing
        assert reported(tired, rule, 5, tired.turn, ok=ok) == tired
    given_up, other = admitted(probing, rule, 10 + rule.probe)
    assert other not in (None, turn)
    assert reported(given_up, rule, 11 + rule.probe, probing.turn, ok=True) == given_up
