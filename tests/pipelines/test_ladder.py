"""The ladder: whatever step fails, is slow or has no time, a slate comes and says what it lacks."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.pipelines.shop import QUOTAS, Shop

from heirloom.core.errors import InputError, MismatchError, StoreError
from heirloom.core.query import Query
from heirloom.core.slate import Degraded, FeatureBatch, Slate
from heirloom.pipelines.breaker import SECOND, Rule
from heirloom.pipelines.ladder import BEGUN_BY, LASTS, RUNGS, Descent, Ladder, rung_of
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend, record
from heirloom.slates.rules import Rules

USUAL = 1_000


class Time:
    """Ns that pass only when a step takes them."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Ranker:
    """Scores by one feature, unless it is told to do otherwise."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns, self.actions = columns, ("gain",)
        self.does: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda scores: scores
        self.calls = 0

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        self.calls += 1
        scores = np.nan_to_num(batch.values[:, 0]).astype(np.float32)
        return self.does(scores)[:, None]


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(seed=5)
    shop.run(25)
    return shop


@pytest.fixture
def ranker(shop: Shop) -> Ranker:
    return Ranker(shop.live.view.columns)


@pytest.fixture
def policy(ranker: Ranker) -> Policy:
    return Policy(name="p", quotas=QUOTAS, ranker=ranker, bundle="b1",  # type: ignore[arg-type]
                  rules=Rules(category_cap=4))  # fmt: skip


def query(shop: Shop, **asked: Any) -> Query:
    return Query(t=shop.now, user="user1", k=8, **asked)


def went(slate: Slate) -> list[tuple[str, str, str]]:
    return [(each.step, each.cause, each.rung) for each in slate.degraded]


def fail(error: Exception) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> Any:
        raise error

    return failing


def test_a_sound_system_gives_the_same_slate_with_the_ladder_as_without(
    shop: Shop, policy: Policy
) -> None:
    for asked in ({}, {"surface": "search", "text": "red coats"}):
        plain = recommend(query(shop, **asked), policy, shop.live)
        ladder = Ladder(10 * SECOND)
        down = recommend(
            query(shop, **asked), policy, shop.live,
            steps=ladder.descent(ladder.clock() + 60 * SECOND),
        )  # fmt: skip
        assert down.shown == plain.shown
        assert down.slate_id == plain.slate_id
        assert down.degraded == plain.degraded
        assert record(down, query(shop, **asked)) == record(plain, query(shop, **asked))
        assert rung_of(down.degraded) == "full"
        assert {breaker.state for breaker in ladder.breakers.values()} == {"closed"}


def test_without_a_ladder_what_goes_wrong_is_raised(
    shop: Shop, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay or a training must not take a lower rung for the truth."""
    monkeypatch.setattr(shop.live, "look_up", fail(StoreError("away")))
    with pytest.raises(StoreError):
        recommend(query(shop), policy, shop.live)


STEPS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch, Shop], None]]] = {
    "a source": ("fewer sources", lambda patch, shop: patch.setattr(
        shop.live.retrievers["taste"], "select", fail(ZeroDivisionError("x")), raising=False)),
    "all sources": ("newest", lambda patch, shop: [patch.setattr(
        each, name, fail(ZeroDivisionError("x")), raising=False)
        for each in shop.live.retrievers.values() for name in ("select", "sift", "retrieve")]),
    "features": ("order of retrieval", lambda patch, shop: patch.setattr(
        shop.live, "look_up", fail(StoreError("the store is away")))),
    "rules": ("no rules", lambda patch, shop: patch.setattr(
        "heirloom.pipelines.composing.composed", fail(IndexError("x")))),
    "reasons": ("bare", lambda patch, shop: patch.setattr(
        "heirloom.pipelines.serve.told", fail(KeyError("x")))),
}  # fmt: skip


@pytest.mark.parametrize("which", STEPS)
def test_whichever_step_fails_the_rung_below_answers_and_the_log_says_why(
    shop: Shop,
    policy: Policy,
    which: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rung, breaks = STEPS[which]
    full = recommend(query(shop), policy, shop.live)
    ladder = Ladder(USUAL, clock=Time())
    breaks(monkeypatch, shop)
    slate = recommend(query(shop), policy, shop.live, steps=ladder.descent())
    assert rung_of(slate.degraded) == rung, slate.degraded
    assert len(slate.shown) == len(full.shown)
    assert len({each.listing for each in slate.shown}) == len(slate.shown)
    assert ("Traceback" in caplog.text) == (which != "features")
    if which == "features":
        said = "features failed; the slate is made without it: the store is away"
        assert [(each.levelname, each.message) for each in caplog.records] == [("WARNING", said)]
        assert slate.features is None
        assert record(slate, query(shop)).columns == ()
    if which == "reasons":
        assert [each.listing for each in slate.shown] == [each.listing for each in full.shown]
        assert not any(each.reasons for each in slate.shown)


BROKEN: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "raises": fail(RuntimeError("no tree")),
    "NaN": lambda scores: np.where(np.arange(len(scores)) % 2, scores, np.float32(np.nan)),
    "infinite": lambda scores: np.full_like(scores, np.inf),
    "too few": lambda scores: scores[:-1],
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_ranker_that_breaks_is_followed_by_the_one_before_it_and_then_by_retrieval(
    shop: Shop, policy: Policy, ranker: Ranker, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    sound = Ranker(ranker.columns)
    spare = replace(policy, ranker=sound, bundle="b0")  # type: ignore[arg-type]
    good = recommend(query(shop), spare, shop.live)
    ranker.does = BROKEN[how]
    ladder = Ladder(USUAL, clock=Time())
    both = replace(policy, spare=spare)
    slate = recommend(query(shop), both, shop.live, steps=ladder.descent())
    assert went(slate) == [("score", "failed", "spare ranker")]
    assert slate.bundle == "b0"
    assert [each.listing for each in slate.shown] == [each.listing for each in good.shown]
    sound.does = BROKEN[how]
    slate = recommend(query(shop), both, shop.live, steps=ladder.descent())
    assert went(slate)[-1] == ("score", "failed", "order of retrieval")
    unranked = recommend(query(shop), replace(policy, ranker=None), shop.live)
    assert [each.listing for each in slate.shown] == [each.listing for each in unranked.shown]
    assert np.isfinite([each.score for each in slate.shown]).all()
    assert "the slate is made without it" in caplog.text


def test_a_step_that_fails_again_and_again_rests_and_is_tried_when_it_has_rested(
    shop: Shop, policy: Policy, ranker: Ranker
) -> None:
    time = Time()
    ladder = Ladder(USUAL, rule=Rule(failures=2, rest=100, longest_rest=400), clock=time)
    ranker.does = BROKEN["raises"]

    def ask() -> list[tuple[str, str, str]]:
        return went(recommend(query(shop), policy, shop.live, steps=ladder.descent()))

    lower = "order of retrieval"
    assert [ask() for _ in range(2)] == [[("score", "failed", lower)]] * 2
    calls = ranker.calls
    assert ask() == [("score", "resting", lower)]
    assert ranker.calls == calls, "a step that rests is not called"
    time.ns += 100
    assert ask() == [("score", "failed", lower)]
    time.ns += 199
    assert ask() == [("score", "resting", lower)]
    time.ns += 1
    ranker.does = lambda scores: scores
    assert ask() == ask() == []
    assert ladder.breakers["score", ""].state == "closed"


def test_a_new_ranker_does_not_inherit_the_rest_of_the_old_one(
    shop: Shop, policy: Policy, ranker: Ranker
) -> None:
    ladder = Ladder(USUAL, rule=Rule(failures=1), clock=Time())
    ranker.does = BROKEN["raises"]
    recommend(query(shop), policy, shop.live, steps=ladder.descent())
    ladder.forget("score")
    better = replace(policy, ranker=Ranker(ranker.columns))  # type: ignore[arg-type]
    assert recommend(query(shop), better, shop.live, steps=ladder.descent()).degraded == ()


def test_an_answer_in_time_that_was_slow_opens_the_breaker_whoever_asked_in_a_hurry_does_not(
    shop: Shop, policy: Policy, ranker: Ranker
) -> None:
    time = Time()
    ladder = Ladder(USUAL, rule=Rule(failures=2), clock=time)
    takes = 0

    def slow(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        time.ns += takes
        return scores

    ranker.does = slow
    takes = int(USUAL * LASTS["score"]) - 1
    for _ in range(5):  # all of their own time is gone, and little of what is usual
        hurried = recommend(query(shop), policy, shop.live, steps=ladder.descent(time.ns + 10))
        assert ("reasons", "late", "bare") in went(hurried)
    assert ladder.breakers["score", ""].state == "closed"
    takes += 2
    for _ in range(2):
        assert recommend(query(shop), policy, shop.live, steps=ladder.descent()).degraded == ()
    assert ladder.breakers["score", ""].state == "open"


@pytest.mark.parametrize(
    ("late", "rung"),
    [("retrieve", "newest"), ("features", "order of retrieval"), ("score", "order of retrieval"),
     ("compose", "no rules"), ("reasons", "bare")],
)  # fmt: skip
def test_what_would_begin_too_late_is_left_out_and_all_after_it(
    shop: Shop, policy: Policy, late: str, rung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    ladder = Ladder(USUAL, clock=time)
    steps = ladder.descent(USUAL)
    attempt = Descent.attempt

    def taking(self: Descent, step: str, work: Any, **named: Any) -> Any:
        if step == late and time.ns < BEGUN_BY[late] * USUAL:
            time.ns = int(BEGUN_BY[late] * USUAL)  # what came before took so long
        return attempt(self, step, work, **named)

    monkeypatch.setattr(Descent, "attempt", taking)
    slate = recommend(query(shop), policy, shop.live, steps=steps)
    assert rung_of(slate.degraded) == rung
    assert {each.cause for each in slate.degraded} <= {"late", "absent"}
    left_out = {each.step for each in slate.degraded}
    order = ["retrieve", "features", "score", "compose", "reasons"]
    begun_later = [step for step in order[order.index(late) :] if BEGUN_BY[step] <= BEGUN_BY[late]]
    assert set(begun_later) <= left_out
    assert len(slate.shown) == 8
    assert all(breaker.state == "closed" for breaker in ladder.breakers.values())


@pytest.mark.parametrize("error", [InputError("the query"), MismatchError("another log")])
def test_what_no_lower_rung_makes_right_is_raised_and_opens_nothing(
    shop: Shop, policy: Policy, ranker: Ranker, error: Exception
) -> None:
    ranker.does = fail(error)
    ladder = Ladder(USUAL, rule=Rule(failures=1), clock=Time())
    for _ in range(3):
        with pytest.raises(type(error)):
            recommend(query(shop), policy, shop.live, steps=ladder.descent())
    assert ladder.breakers["score", ""].state == "closed"


def test_a_search_without_its_words_says_so(
    shop: Shop, policy: Policy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(shop.live, "matcher", fail(RuntimeError("x")))
    asked = query(shop, surface="search", text="red coats")
    slate = recommend(asked, policy, shop.live, steps=Ladder(USUAL, clock=Time()).descent())
    assert [each.reason for each in slate.degraded] == ["match failed"]
    assert slate.shown


causes = st.sampled_from(["failed", "late", "resting"])


@given(st.lists(st.sampled_from(RUNGS[1:]), max_size=6), causes)
def test_the_rung_is_the_lowest_of_all(rungs: list[str], cause: str) -> None:
    said = [Degraded("step", "", cause, rung) for rung in rungs] + [Degraded("index", "", cause)]
    rung = rung_of(said)
    assert all(RUNGS.index(each) <= RUNGS.index(rung) for each in rungs)
    assert rung == "full" or rung in rungs


def test_every_step_of_a_request_has_its_time() -> None:
    assert set(LASTS) <= set(BEGUN_BY)
    assert all(0 < share < 1 for share in (*LASTS.values(), *BEGUN_BY.values()))
