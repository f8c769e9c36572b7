import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.slates.compose import cap_sellers
from heirloom.slates.luck import gumbel, key_of
from heirloom.slates.places import Caps, Draws, Tiers, is_drawn, placed
from heirloom.testing import slates as naive

seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=4)
small = st.integers(0, 4)


def front(number: int, n: int) -> Tiers:
    """The first so many, and behind them the others, who are not drawn."""
    return Tiers.of((np.arange(n) >= number).astype(np.int64), np.arange(n) < number)


def candidates(seed: int, n: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return (
        np.sort(rng.random(n))[::-1].copy(),
        rng.integers(0, 4, n).astype(np.int32),
        rng.integers(0, 3, n).astype(np.int32),
        rng.integers(0, 3, n).astype(np.int8),
    )


@settings(deadline=None)  # the first example compiles
@given(
    seeds, st.integers(0, 25), st.integers(0, 30), st.integers(1, 8), st.integers(1, 12),
    cuts, st.tuples(small, small, small), st.sampled_from([0.0, 0.2, 0.5]),
)  # fmt: skip
def test_places_are_the_naive_ones_by_bytes(
    seed: int,
    n: int,
    k: int,
    page: int,
    reach: int,
    cut: list[tuple[int, bool]],
    caps: Any,
    share: float,
) -> None:
    columns = candidates(seed, n)
    names = np.random.default_rng(seed).permutation(n).astype(np.int32)
    groups, drawn = np.zeros(n, np.int64), np.ones(n, np.bool_)
    for end, may in sorted(cut):
        groups[end:], drawn[end:] = groups[end:] + 1, may
    asked: dict[str, Any] = {
        "k": k, "page": page, "reach": reach, "tiers": Tiers.of(groups, drawn), "caps": Caps(*caps),
        "draws": Draws(share, 0.3, seed, names) if share else None,
    }  # fmt: skip
    found, plain = placed(*columns, **asked), naive.placed(*columns, **asked)
    assert found.rows.tobytes() == plain.rows.tobytes()
    assert found.causes.tobytes() == plain.causes.tobytes()
    np.testing.assert_allclose(found.propensities, plain.propensities, rtol=1e-12)


@settings(deadline=None)  # the first example compiles
@given(seeds, st.integers(0, 40), st.integers(1, 4))
def test_with_the_sellers_cap_alone_it_is_the_cap(seed: int, n: int, cap: int) -> None:
    columns = candidates(seed, n)
    found = placed(*columns, k=n, page=5, reach=7, tiers=front(n, n), caps=Caps(seller=cap))
    assert found.rows.tolist() == cap_sellers(np.arange(n), columns[1], cap).tolist()


@settings(deadline=None)  # the first example compiles
@given(seeds, st.integers(0, 60), st.integers(1, 10), st.tuples(small, small, small))
def test_caps_hold_on_each_page_unless_nothing_else_is_left(
    seed: int, n: int, page: int, caps: Any
) -> None:
    relevance, sellers, categories, bands = candidates(seed, n)
    found = placed(relevance, sellers, categories, bands, k=n, page=page, reach=n,
                   tiers=front(n, n), caps=Caps(0, *caps[1:]))  # fmt: skip
    rows = found.rows.tolist()
    assert sorted(rows) == list(range(n))
    for place, row in enumerate(rows):
        above = rows[place - place % page : place]
        for codes, cap in ((categories, caps[1]), (bands, caps[2])):
            if cap and sum(codes[other] == codes[row] for other in above) >= cap:
                left = rows[place:]
                fit = [
                    other
                    for other in left
                    if all(
                        not most or sum(c[o] == c[other] for o in above) < most
                        for c, most in ((categories, caps[1]), (bands, caps[2]))
                    )
                ]
                assert not fit


def test_who_comes_behind_stays_behind_and_is_not_drawn() -> None:
    relevance = np.array([1.0, 0.9, -np.inf, -np.inf])
    same = np.zeros(4, np.int32)
    for key in range(20):
        found = placed(
            relevance, np.array([1, 1, 2, 3], np.int32), same, same.astype(np.int8), k=4, page=4,
            reach=4, tiers=front(2, 4), caps=Caps(seller=1),
            draws=Draws(0.5, 1.0, key, np.arange(4, dtype=np.int32)),
        )  # fmt: skip
        assert sorted(found.rows[:2].tolist()) == [0, 1]
        assert np.isfinite(found.propensities).all()


@settings(deadline=None)  # the first example compiles
@given(st.floats(0, 0.5), st.integers(0, 200))
def test_so_many_places_are_drawn(share: float, places: int) -> None:
    drawn = sum(is_drawn(place, share) for place in range(places))
    assert drawn == math.floor(places * share)


def _all_slates(
    relevance: np.ndarray, sellers: np.ndarray, k: int, share: float, temperature: float, cap: int
) -> dict[tuple[int, ...], float]:
    """Every slate that may be shown with its chance, by the definition."""

    def after(above: tuple[int, ...], chance: float) -> Any:
        if len(above) == k:
            yield above, chance
            return
        left = [i for i in range(len(relevance)) if i not in above]
        fit = [i for i in left if sum(sellers[j] == sellers[i] for j in above) < cap]
        if is_drawn(len(above), share):
            total = sum(math.exp(relevance[i] / temperature) for i in fit)
            for i in fit:
                part = math.exp(relevance[i] / temperature) / total
                yield from after((*above, i), chance * part)
        else:
            yield from after((*above, fit[0]), chance)

    return dict(after((), 1.0))


def test_propensities_are_the_chances_of_what_is_shown() -> None:
    """On each slate their product is the slate's chance; slates come as often as these say."""
    relevance = np.array([1.0, 0.8, 0.5, 0.3, 0.0])
    sellers = np.array([1, 1, 2, 2, 3], np.int32)
    zeros = np.zeros(5, np.int32)
    names = np.arange(5, dtype=np.int32)
    chances = _all_slates(relevance, sellers, 4, 0.5, 0.5, cap=2)
    assert math.isclose(sum(chances.values()), 1.0)
    seen: Counter[tuple[int, ...]] = Counter()
    slates = 20_000
    for number in range(slates):
        found = placed(
            relevance, sellers, zeros, zeros.astype(np.int8), k=4, page=4, reach=5,
            tiers=front(5, 5), caps=Caps(seller=2),
            draws=Draws(0.5, 0.5, key_of(str(number)), names),
        )  # fmt: skip
        shown = tuple(found.rows.tolist())
        seen[shown] += 1
        assert math.isclose(math.prod(found.propensities.tolist()), chances[shown])
    # Pearson's statistic has as many degrees of freedom as slates less one; 4 standard deviations.
    statistic = sum((seen[s] - slates * p) ** 2 / (slates * p) for s, p in chances.items())
    freedom = len(chances) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_who_was_refused_at_a_draw_has_no_advantage_at_the_next() -> None:
    """Each place has luck of its own: who lost a draw is as lucky at the next as who sat it out."""
    categories = np.array([1, 2, 3, 4, 1], np.int32)
    sellers, names = np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32)
    slates, last = 4_000, 0
    for number in range(slates):
        found = placed(
            np.zeros(5), sellers, categories, np.zeros(5, np.int8), k=4, page=2, reach=5,
            tiers=front(5, 5), caps=Caps(category=1),
            draws=Draws(0.5, 1.0, key_of(f"s{number}"), names),
        )  # fmt: skip
        # Row 4 is of row 0's category: it may not be drawn on the first page, and may on the next.
        assert 4 not in found.rows[:3]
        assert found.propensities[[1, 3]].tolist() == [1 / 3, 1 / 2]
        last += int(found.rows[3] == 4)
    assert abs(last / slates - 0.5) < 4 * 0.5 / math.sqrt(slates)


def test_luck_follows_from_its_key_and_is_gumbel() -> None:
    drawn = np.array([gumbel(np.uint64(key_of(f"{i}")), i, 3) for i in range(4_000)])
    assert drawn[5] == gumbel(np.uint64(key_of("5")), 5, 3)
    assert len(set(drawn.tolist())) == len(drawn)
    ordered = np.sort(drawn)
    expected = np.exp(-np.exp(-ordered))  # its distribution function
    worst = np.abs(expected - (np.arange(4_000) + 0.5) / 4_000).max()
    assert worst < 1.95 / math.sqrt(4_000)  # Kolmogorov's bound at one in a thousand
    pairs = itertools.pairwise(drawn.tolist())
    assert abs(np.corrcoef(np.array(list(pairs)).T)[0, 1]) < 4 / math.sqrt(4_000)


@pytest.mark.parametrize("n", [0, 1])
def test_few_candidates(n: int) -> None:
    columns = candidates(0, n)
    draws = Draws(0.5, 0.1, 1, np.arange(n, dtype=np.int32))
    found = placed(
        *columns, k=5, page=2, reach=2, tiers=front(n, n), caps=Caps(1, 1, 1), draws=draws
    )
    assert found.rows.tolist() == list(range(n))
    assert found.propensities.tolist() == [1.0] * n
