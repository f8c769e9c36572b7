"""Retries: the budget's law, and pauses within their bounds."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.client.retry import Budget, Retries, pause, retry_after


@given(
    steps=st.lists(st.booleans(), max_size=300),
    share=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    reserve=st.integers(0, 12),
)
def test_retries_are_never_more_than_the_reserve_and_a_share_of_the_calls(
    steps: list[bool], share: float, reserve: int
) -> None:
    budget, calls, spent = Budget(Retries(share=share, reserve=reserve)), 0, 0
    for retry in steps:
        if retry:
            spent += budget.spend()
        else:
            budget.earn()
            calls += 1
        assert spent <= reserve + share * calls + 1e-9


def test_a_budget_that_was_spent_fills_again() -> None:
    budget = Budget(Retries(share=0.5, reserve=1))
    assert [budget.spend(), budget.spend()] == [True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()


@given(tried=st.integers(1, 40), drawn=st.floats(0, 1), asked=st.none() | st.floats(0, 100))
def test_a_pause_is_at_least_what_was_asked_and_bounded(
    tried: int, drawn: float, asked: float | None
) -> None:
    waits = pause(Retries(), tried, asked, draw=lambda: drawn)
    assert (asked or 0.0) <= waits <= (asked or 0.0) + min(0.05 * 2 ** (tried - 1), 2.0)


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("Thu, 01 Jan 2026 00:00:07 GMT", lambda: now) == 7.0
    assert retry_after("Wed, 31 Dec 2025 00:00:00 GMT", lambda: now) == 0.0
    assert [retry_after(text) for text in ("12", "-1", "1.5", "nan")] == [12.0, None, None, None]


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="tries >= 1"):
        Retries(tries=0)
