"""How a person leans: what one click tells, and that the mode found is the mode."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.ranking import effects as module
from heirloom.ranking.effects import PARTS, Things, Variances, effects, residuals

V = Variances()


def things(rng: np.random.Generator, n: int) -> Things:
    category = rng.integers(0, 6, n)
    return Things(
        category // 4, category // 2, category,
        rng.integers(0, 4, n), rng.integers(0, 3, n), rng.normal(0, 0.5, n),
    )  # fmt: skip


def naive_covariance(
    x: Things, t: NDArray[np.int64], slate: NDArray[np.int64]
) -> NDArray[np.float64]:
    k = np.zeros((len(t), len(t)))
    for i in range(len(t)):
        for j in range(len(t)):
            k[i, j] = V.person + V.price * x.price[i] * x.price[j]
            k[i, j] += V.department * (x.department[i] == x.department[j])
            k[i, j] += V.family * (x.family[i] == x.family[j])
            k[i, j] += V.size * (x.family[i] == x.family[j] and x.size[i] == x.size[j])
            now = V.category + V.need * np.exp(-abs(t[i] - t[j]) / V.need_ms)
            k[i, j] += now * (x.category[i] == x.category[j])
            k[i, j] += V.brand * (x.brand[i] == x.brand[j]) + V.slate * (slate[i] == slate[j])
    return k


@given(seed=st.integers(0, 500), n=st.integers(1, 60))
@settings(deadline=None, max_examples=30)
def test_the_mode_is_where_the_prior_and_what_was_seen_agree(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, t, slate = things(rng, n), rng.integers(0, 10**9, n), np.arange(n) // 5
    opened, offset = rng.random(n) < 0.2, rng.normal(-2.5, 0.5, n)
    left = residuals(x, t, slate, offset, opened, V)
    f = naive_covariance(x, t, slate) @ left
    np.testing.assert_allclose(left, opened - 1 / (1 + np.exp(-(f + offset))), atol=2e-3)


@given(seed=st.integers(0, 500), n=st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_an_effect_is_the_covariance_with_what_was_seen(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, t, now = things(rng, n), rng.integers(0, 10**9, n), 2 * 10**9
    left = rng.normal(0, 0.3, n)
    parts = effects(x, t, left, x, now, V)
    assert parts.shape == (n, len(PARTS))
    aged = np.append(t, now)
    for c in range(n):
        both = Things(*(np.concatenate([column, column[c : c + 1]]) for column in x))
        whole = naive_covariance(both, aged, np.arange(n + 1))[-1, :-1] - V.person
        np.testing.assert_allclose(parts[c].sum(), whole @ left, atol=1e-5)
        alone = Things(*(column[c : c + 1] for column in x))
        assert effects(x, t, left, alone, now, V).tobytes() == parts[c : c + 1].tobytes()


@given(seed=st.integers(0, 500), n=st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_pairs_and_products_are_summed_in_their_order(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, slate = things(rng, n), np.arange(n) // 5
    t = rng.integers(0, 10**9, 8)[slate]
    found = module._covariance(x, t, slate, V)
    naive = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            k = V.person + V.price * x.price[i] * x.price[j]
            k += V.department if x.department[i] == x.department[j] else 0
            k += V.family if x.family[i] == x.family[j] else 0
            k += V.size if x.family[i] == x.family[j] and x.size[i] == x.size[j] else 0
            if x.category[i] == x.category[j]:
                k += V.category + V.need * float(module._decayed(t[i], t[j], V.need_ms))
            k += V.brand if x.brand[i] == x.brand[j] else 0
            k += V.slate if slate[i] == slate[j] else 0
            naive[i, j] = naive[j, i] = k
    assert found.tobytes() == naive.tobytes()
    factor, product = rng.normal(size=n), np.zeros(n)
    for j in range(n):
        product += naive[j] * factor[j]
    assert module._times(found, factor).tobytes() == product.tobytes()


@given(seed=st.integers(0, 500), n=st.integers(1, 40), m=st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_what_is_summed_once_is_what_each_would_sum(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    x, c, t, now = things(rng, n), things(rng, m), rng.integers(0, 10**9, n), 2 * 10**9
    left = rng.normal(0, 0.3, n)
    parts = effects(x, t, left, c, now, V)
    naive = np.zeros((m, len(PARTS)))
    for k in range(m):
        for i in range(n):
            department, family = x.department[i] == c.department[k], x.family[i] == c.family[k]
            naive[k, 2] += V.brand * left[i] if x.brand[i] == c.brand[k] else 0
            naive[k, 4] += V.size * left[i] if family and x.size[i] == c.size[k] else 0
            naive[k, 0] += V.department * left[i] if department else 0
            naive[k, 0] += V.family * left[i] if family else 0
            if x.category[i] == c.category[k]:
                naive[k, 0] += V.category * left[i]
                naive[k, 1] += V.need * (left[i] * module._decayed(now, t[i], V.need_ms))
        naive[k, 3] = V.price * sum(left * x.price) * c.price[k]
    assert parts.tobytes() == naive.tobytes()


def test_what_is_opened_draws_and_what_is_passed_over_repels() -> None:
    x = Things(
        *np.zeros((3, 6), int), np.array([1, 1, 1, 2, 2, 2]),
        np.zeros(6, int), np.zeros(6),
    )  # fmt: skip
    t, opened = np.zeros(6, np.int64), np.array([1, 1, 0, 0, 0, 0], bool)
    left = residuals(x, t, np.arange(6), np.full(6, -1.0), opened, V)
    parts = effects(x, t, left, x, 0, V)
    brand = parts[:, PARTS.index("brand")]
    assert brand[0] > 0 > brand[5]
    assert (parts[:, PARTS.index("price")] == 0).all()


def test_a_need_is_forgotten_and_a_liking_is_not() -> None:
    rng = np.random.default_rng(0)
    x, t = things(rng, 20), np.zeros(20, np.int64)
    left = residuals(x, t, np.arange(20), np.full(20, -2.0), rng.random(20) < 0.4, V)
    soon = effects(x, t, left, x, 0, V)
    late = effects(x, t, left, x, int(V.need_ms), V)
    need = PARTS.index("need")
    np.testing.assert_allclose(late[:, need], soon[:, need] * np.exp(-1), atol=1e-9)
    others = [i for i in range(len(PARTS)) if i != need]
    assert np.array_equal(late[:, others], soon[:, others])
