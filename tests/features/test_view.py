import math

import numpy as np
import pytest

from heirloom.core.errors import ConfigError, InputError, ShapeError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.algebra import (
    Age,
    Counter,
    Decay,
    Distinct,
    First,
    Given,
    Last,
    LastK,
    Lift,
    PriceGap,
    Ratio,
    SinceLast,
    Static,
    Sum,
    Trend,
    Where,
)
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.testing.features import NaiveState, random_log, random_request, same_bytes

HOUR, DAY = 3_600_000, 86_400_000
T0 = 1_700_006_400_000  # 2023-11-15 00:00 UTC, on a bucket's edge of every hop up to a day
SLOT = np.array([0], np.int32)

CLICKS = Counter("clicks", ("listing",), ("click",), ("24h", "7d"))
SEEN = Counter("seen", ("listing",), ("impression",), ("24h", "7d"))


def facts(*rows: tuple[str, int, dict[str, int]]) -> Facts:
    """One event each on slot 0: kind, t, and what differs from person 1, brand 2, price 1000."""
    events, listings = np.zeros(len(rows), EVENT_ROW), np.zeros(len(rows), LISTING_ROW)
    for i, (kind, t, fields) in enumerate(rows):
        events[i]["seq"], events[i]["t"], events[i]["kind"] = i, t, KIND_CODE[kind]
        events[i]["person"] = fields.get("person", 1)
        events[i]["declared"][0] = fields.get("declared", 0)
        listings[i]["brand"], listings[i]["category"] = 2, fields.get("category", 3)
        listings[i]["slot"] = fields.get("slot", 0)
        listings[i]["price_minor"] = fields.get("price", 1_000)
    return Facts(events, listings, np.arange(len(rows) + 1, dtype=np.int64))


def values(*definitions, log: Facts, t: int, person: int = 1, declared: int = 0) -> list[float]:
    state = FeatureView("v", definitions).state()
    state.apply(log)
    request = random_request(0, t)
    request.declared[:] = declared
    object.__setattr__(request, "person", person)
    return state.lookup(request, SLOT).values[0].tolist()


def test_a_window_ends_at_a_hop_and_begins_now():
    log = facts(("listed", T0, {}), ("click", T0 + 59 * 60_000, {}), ("click", T0 + HOUR, {}))
    # 24 h by 1 h: at T0 + 24 h 59 min the tail stands at T0; a minute later at T0 + 1 h.
    assert values(CLICKS, log=log, t=T0 + 24 * HOUR + 59 * 60_000) == [2, 2]
    assert values(CLICKS, log=log, t=T0 + 25 * HOUR) == [1, 2]
    assert values(CLICKS, log=log, t=T0 + 26 * HOUR) == [0, 2]
    # What lies ahead of t, beyond its bucket, is not in the window.
    assert values(CLICKS, log=log, t=T0 + 30 * 60_000) == [1, 2]


def test_a_ratio_shrinks_to_its_prior_and_to_a_wider_key():
    log = facts(("listed", T0, {}), ("impression", T0, {}), ("click", T0, {}))
    ratio = Ratio("rate", CLICKS, SEEN, ("24h",), (1.0, 20.0))
    bare = Ratio("bare", CLICKS, SEEN, ("24h",))
    brand = Ratio(
        "brand",
        Counter("c", ("brand",), ("click",), ("24h",)),
        Counter("s", ("brand",), ("impression",), ("24h",)),
        ("24h",),
        (3.0, 4.0),
    )
    narrow = Ratio("narrow", CLICKS, SEEN, ("24h",), (1.0, 20.0), brand)
    got = values(ratio, bare, narrow, log=log, t=T0 + 1)
    assert got == [
        np.float32(2 / 21),
        1.0,
        np.float32((1 + 20 * ((1 + 3) / (1 + 4))) / (1 + 20)),
    ]
    assert math.isnan(values(bare, log=facts(("listed", T0, {})), t=T0)[0])


def test_a_trend_compares_paces():
    log = facts(("listed", T0, {}), ("click", T0, {}), ("click", T0 + 3 * DAY, {}))
    trend = Trend("trend", CLICKS, "24h", "7d")
    got = values(trend, log=log, t=T0 + 3 * DAY)
    assert got == [np.float32(math.log((1 + 1) / (2 / 7 + 1)))]


def test_a_price_gap_is_against_what_the_person_looked_at():
    log = facts(
        ("listed", T0, {"price": 3_000}),
        ("click", T0, {"price": 1_000}),
        ("click", T0, {"price": 2_000}),
        ("click", T0, {"price": 0}),
        ("click", T0, {"price": 9_000, "person": 2}),
    )
    gap = PriceGap("gap", ("person",), ("click",), ("30d",))
    assert values(gap, log=log, t=T0) == [np.float32(math.log(3_000) - math.log(1_500))]
    assert math.isnan(values(gap, log=log, t=T0, person=3)[0])


def test_a_lift_is_the_naive_bayes_term():
    log = facts(
        ("listed", T0, {"category": 7}),
        ("purchase", T0, {"category": 7, "declared": 1}),
        ("purchase", T0, {"category": 7, "declared": 2, "slot": -1}),
        ("purchase", T0, {"category": 8, "declared": 2, "slot": -1}),
        ("purchase", T0, {"category": 7}),
    )
    lift = Lift("lift", 0, ("purchase",), ("30d",), strength=8.0)
    common = (1 + 1 / 2) / (3 + 1)
    category = (1 + 8 * common) / (2 + 8)
    listing = (1 + 8 * category) / (1 + 8)
    expected = math.log(listing) - math.log(common)
    assert values(lift, log=log, t=T0, declared=1) == [np.float32(expected)]
    assert math.isnan(values(lift, log=log, t=T0, declared=0)[0])


def test_times_are_in_hours_and_unknown_is_nan():
    log = facts(("listed", T0, {}), ("click", T0 + HOUR, {}))
    since = SinceLast("since", ("person", "listing"), ("click",))
    definitions = (Age("age"), since, Static("hour", "hour"), Given("text_match"))
    got = values(*definitions, log=log, t=T0 + 3 * HOUR)
    assert got[:3] == [3.0, 2.0, 3.0]
    assert math.isnan(got[3])
    assert math.isnan(values(since, log=log, t=T0 + 3 * HOUR, person=2)[0])
    assert math.isnan(values(since, log=log, t=T0 + 3 * HOUR, person=0)[0])


def test_a_reused_slot_inherits_nothing():
    log = facts(("listed", T0, {}), ("click", T0, {}), ("listed", T0 + HOUR, {}))
    assert values(CLICKS, Age("age"), log=log[:2], t=T0 + HOUR) == [1, 1, 1]
    assert values(CLICKS, Age("age"), log=log, t=T0 + HOUR) == [0, 0, 0]


def test_what_comes_too_late_for_any_later_window_is_dropped_and_counted():
    log = facts(("listed", T0, {}), ("click", T0 + 3 * DAY, {}), ("click", T0, {}))
    state = FeatureView("v", (CLICKS,)).state()
    state.apply(log)
    assert state.late == 1  # too late for 24 h, in time for 7 d
    assert state.lookup(random_request(0, T0 + 3 * DAY), SLOT).values.tolist() == [[1, 2]]


def test_a_full_count_stays_full_and_is_counted():
    log = facts(("listed", T0, {}), ("click", T0, {}), ("click", T0, {}))
    view = FeatureView("v", (Counter("n", ("brand",), ("click",), ("ever",)),))
    state = view.state()
    state.apply(log[:2])
    full = state.arrays()
    rows = full["rows"].view(np.int32)
    rows[rows == 1] = 2**31 - 1
    state = view.restored(state.n, full)
    state.apply(log[2:])
    assert state.saturated == 1
    request = random_request(0, T0)
    assert state.lookup(request, SLOT).values.tolist() == [[np.float32(2**31 - 1)]]


@pytest.mark.parametrize("batch", [1_000, 7])
def test_a_count_that_outgrows_its_bits_in_the_map_counts_on(batch: int):
    rng = np.random.default_rng(1)
    times = T0 + np.sort(rng.integers(0, 40 * DAY, 2_500)) - rng.integers(0, 9 * DAY, 2_500)
    times[700:1_300] = T0 + 9 * DAY  # 600 in one bucket: more than nine bits hold
    times[-1] = 7 * DAY << 17  # an epoch that seventeen do not
    log = facts(("listed", T0 - DAY, {}), *(("click", t, {}) for t in times.tolist()))
    pair = ("person", "brand")
    view = FeatureView(
        "v",
        (
            Counter("n", pair, ("click",), ("4w",)),
            Counter("all_windows", pair, ("click",), ("24h", "4w")),  # in rows of their own
            SinceLast("last", pair, ("click",)),
        ),
    )
    state, naive = view.state(), NaiveState(view)
    for start in range(0, len(log), batch):
        part = log[start : start + batch]
        state.apply(part)
        state = view.restored(state.n, state.arrays())
        naive.apply(part)
        t = int(part.events["t"].max())
        for at in (t, t + 11 * DAY, t - 11 * DAY) if batch > 7 or start > 2_450 else (t,):
            request = random_request(0, at)
            object.__setattr__(request, "person", 1)
            got = state.lookup(request, SLOT).values
            assert got[0, 0] == got[0, 2]
            assert same_bytes(got, naive.lookup(request, SLOT, {}))
    assert state.saturated == 0


def test_given_columns_are_checked_and_taken():
    state = FeatureView("v", (Given("text_match"),)).state()
    request = random_request(0, T0)
    column = np.array([0.25], np.float32)
    assert state.lookup(request, SLOT, {"text_match": column}).values.tolist() == [[0.25]]
    with pytest.raises(ShapeError, match="taste_match"):
        state.lookup(request, SLOT, {"taste_match": column})
    with pytest.raises(ShapeError, match=r"wanted \[candidates=1\]"):
        state.lookup(request, SLOT, {"text_match": np.zeros(2, np.float32)})


def test_an_entry_is_not_applied_twice():
    state, log = marketplace_view().state(), random_log(0, 20)
    state.apply(log[:10])
    state.apply(log[10:10])
    assert state.n == 10
    with pytest.raises(InputError, match="entry 9 came again"):
        state.apply(log[9:])


@pytest.mark.parametrize("code", [1 << 28, -1])
@pytest.mark.parametrize(
    "field",
    ["person", "seller", "query", "declared", "brand", "category", "size", "colour", "condition"],
)
def test_a_code_beyond_the_key_is_refused_before_anything_is_folded(field: str, code: int):
    state, log = marketplace_view().state(), random_log(0, 20)
    rows = log.events if field in log.events.dtype.names else log.listings
    column = rows[field]
    column[(-1, -1)[: column.ndim]] = code
    with pytest.raises(InputError, match=rf"the code of a {field} is {code};"):
        state.apply(log)
    assert (state.n, state.keys) == (0, 0)


def test_the_largest_code_that_a_key_holds_is_folded():
    state, log = marketplace_view().state(), random_log(0, 20)
    log.events["person"][7] = (1 << 28) - 1
    state.apply(log)
    assert state.n == len(log)


def test_a_wrong_view_is_refused_with_all_that_is_wrong():
    with pytest.raises(ConfigError) as refused:
        FeatureView(
            "v",
            (
                Counter("a", ("listing",), ("click",), ("2h",)),
                Counter("b", ("colour_of_eyes",), ("stare",), ("24h",)),
                Counter("Big", ("listing", "brand", "size", "colour"), ("click",), ("24h",)),
                Ratio("r", CLICKS, SEEN, ("30d",), (-1.0, 1.0)),
                Trend("t", CLICKS, "24h", "30d"),
                Lift("l", 8, ("click",), ("24h",), 0.0),
                Static("s", "moon"),
                Age("twice"),
                Age("twice"),
            ),
        )
    text = str(refused.value)
    for words in (
        "['2h'] have no hop", "colour_of_eyes", "stare", "lower case", "one to three different",
        "does not keep the windows ['30d']", "neither negative", "'30d' is none of",
        "wanted 0 to 7", "wanted more than 0", "moon", "two features of one name: 'twice'",
    ):  # fmt: skip
        assert words in text, words


def test_wrong_use_of_the_words_of_state_is_refused():
    click = ("click",)
    decayed = Counter("c", ("person",), click, ("7d",))
    with pytest.raises(ConfigError) as refused:
        FeatureView(
            "v",
            (
                Counter("a", ("brand",), click, ("24h",), where=Where(surfaces=("moon",))),
                Sum("b", ("brand",), click, ("24h",), where=Where(positions=(3, 1))),
                Last("c", ("person",), click, "listing"),
                LastK("d", ("person",), click, "brand", 33, within="ever"),
                Distinct("e", ("person",), click, "brand", ("ever",), 0),
                Decay("f", decayed, ("24h",), 0),
                SinceLast("g", ("person",), click, within="2h"),
            ),
        )
    text = str(refused.value)
    for words in (
        "unknown surfaces ['moon']", "0 <= first <= last", "no code of 'listing' is kept",
        "k is 33; wanted 1 to 32", "within 'ever' would keep", "cap 0; wanted 1 to 32",
        "window 'ever' would keep", "'24h' is none of ['7d']", "wanted more than 0",
        "within '2h'; wanted one of",
    ):  # fmt: skip
        assert words in text, words


def test_a_state_is_restored_from_its_arrays_and_from_no_others():
    view, log = marketplace_view(), random_log(0, 80)
    state = view.state()
    state.apply(log[:60])
    arrays = state.arrays()
    restored = view.restored(60, arrays)
    state.apply(log[60:])
    restored.apply(log[60:])
    for name, array in state.arrays().items():
        assert np.array_equal(restored.arrays()[name], array), name
    assert all(not np.shares_memory(arrays[name], restored.arrays()[name]) for name in arrays)
    with pytest.raises(InputError, match="'rows' is nothing"):
        view.restored(60, {name: arrays[name] for name in ("places", "slots", "meta")})
    with pytest.raises(InputError, match="not of one state"):
        view.restored(60, arrays | {"rows": arrays["rows"][:-1]})
    with pytest.raises(InputError, match="not the arrays of a"):
        FeatureView("v", (Age("age"),)).restored(60, arrays)


def test_last_and_first_are_by_event_time_and_the_last_k_by_the_log():
    log = facts(
        ("listed", T0, {}),
        ("click", T0 + 2 * HOUR, {"category": 5}),
        ("click", T0 + HOUR, {"category": 3}),
        ("click", T0 + 2 * HOUR, {"category": 6}),
        ("click", T0, {"category": 3}),
    )
    key, click = ("person",), ("click",)
    definitions = (
        Last("last", key, click, "category"),
        Last("lately", key, click, "category", within="1h"),
        First("first", key, click, "category"),
        LastK("two", key, click, "category", 2, within="24h"),
        LastK("three", key, click, "category", 3, within="24h"),
        LastK("brief", key, click, "category", 3, within="1h"),
        Distinct("distinct", key, click, "category", ("24h",), 8),
        Distinct("capped", key, click, "category", ("24h",), 2),
        Sum("sum", key, click, ("24h",)),
        Decay("decay", Counter("c", key, click, ("24h",)), ("24h",), HOUR),
    )
    got = values(*definitions, log=log, t=T0 + 2 * HOUR)
    assert got == [6, 6, 3, 1, 2, 1, 3, 2, 4_000, 2 + 1 / 2 + 1 / 4]
    assert math.isnan(values(definitions[1], log=log, t=T0 + 4 * HOUR)[0])


def test_a_version_changes_with_the_definition_and_not_with_its_description():
    told = Counter("clicks", ("listing",), ("click",), ("24h", "7d"), "How often it was opened.")
    other = Counter("clicks", ("listing",), ("click", "save"), ("24h", "7d"))
    version = FeatureView("v", (CLICKS,)).version
    assert FeatureView("v", (told,)).version == version
    assert FeatureView("v", (other,)).version != version
    assert FeatureView("v", (CLICKS,)).columns == (
        f"v@{version}.clicks_24h",
        f"v@{version}.clicks_7d",
    )


def test_a_dense_rental_view_has_all_but_the_codes() -> None:
    whole, dense = rental_view(["occasion"]), rental_view(["occasion"], codes=False)
    assert dense.name == "rental_dense"
    left_out = {each.name for each in whole.features} - {each.name for each in dense.features}
    assert left_out == {"category", "stated_0"}


@pytest.mark.parametrize("view", [marketplace_view(), rental_view(["occasion", "size"])])
def test_each_library_feature_says_what_it_is_for_and_what_nan_means(view: FeatureView):
    rows = list(view.describe())
    assert [row[0] for row in rows] == [column.partition(".")[2] for column in view.columns]
    assert all(about and unit and nan for _, about, unit, nan in rows)
    assert len(view.table().splitlines()) == 4 + len(view.columns)


def test_more_declared_attributes_than_an_event_carries_are_refused():
    with pytest.raises(ConfigError, match="at most 8"):
        rental_view([f"a{i}" for i in range(9)])
