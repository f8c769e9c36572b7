from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heirloom.ranking.training.losses import (
    LOSSES,
    Loss,
    approx_ndcg,
    lambda_loss,
    lambdarank,
    list_mle,
    ranknet,
    softmax,
)

few = settings(max_examples=30, deadline=None)
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
ALL = torch.ones(1, 4, dtype=torch.bool)
SCORES = torch.tensor([[0.5, -1.0, 2.0, 0.0]], dtype=torch.float64)
GAINS = torch.tensor([[1.0, 3.0, 0.0, 0.0]], dtype=torch.float64)


@st.composite
def lists(draw: st.DrawFn, docs: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, gains and mask of two groups."""
    numbers = st.lists(st.floats(-4, 4), min_size=2 * docs, max_size=2 * docs)
    scores = torch.tensor(draw(numbers), dtype=torch.float64).reshape(2, docs)
    graded = st.lists(st.sampled_from([0.0, 0.0, 1.0, 3.0]), min_size=2 * docs, max_size=2 * docs)
    gains = torch.tensor(draw(graded), dtype=torch.float64).reshape(2, docs)
    counts = st.lists(st.booleans(), min_size=2 * docs, max_size=2 * docs)
    return scores, gains, torch.tensor(draw(counts)).reshape(2, docs)


def value_and_slope(loss: Loss, scores: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    scores = scores.clone().requires_grad_()
    value = loss(scores, *rest)
    (slope,) = torch.autograd.grad(value.sum(), scores)
    return value.detach(), slope


@every_loss
@few
@given(world=lists(), shift=st.floats(-5, 5))
def test_only_differences_of_scores_count(
    loss: Loss, world: tuple[Tensor, Tensor, Tensor], shift: float
) -> None:
    scores, gains, mask = world
    # Scores that differ by less than float64 resolves after the shift would change places.
    scores = torch.round(scores * 64) / 64
    shift = round(shift * 64) / 64
    torch.testing.assert_close(loss(scores + shift, gains, mask), loss(scores, gains, mask))


@every_loss
@few
@given(world=lists(), seed=st.integers(0, 9))
def test_what_is_masked_does_not_matter(
    loss: Loss, world: tuple[Tensor, Tensor, Tensor], seed: int
) -> None:
    scores, gains, mask = world
    strange = torch.tensor([torch.nan, torch.inf, 1e30, -7.0, 0.0], dtype=torch.float64)
    strange = strange[torch.as_tensor(np.random.default_rng(seed).permutation(5))]
    ones = torch.ones_like(gains)
    put = [torch.where(mask, each, strange) for each in (scores, gains, ones)]
    wanted = value_and_slope(loss, scores, gains, mask)
    came = value_and_slope(loss, put[0], put[1], mask, put[2])
    torch.testing.assert_close(came, wanted)
    assert (came[1][~mask] == 0).all()


@every_loss
@few
@given(world=lists())
def test_a_longer_padding_changes_nothing(loss: Loss, world: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, gains, mask = world
    longer = [torch.nn.functional.pad(each, (0, 3)) for each in (scores, gains, mask)]
    torch.testing.assert_close(loss(*longer), loss(scores, gains, mask))


@every_loss
@few
@given(world=lists())
def test_the_order_of_documents_and_of_groups_does_not_matter(
    loss: Loss, world: tuple[Tensor, Tensor, Tensor]
) -> None:
    scores, gains, mask = world
    scores = scores + torch.linspace(0, 0.01, 5, dtype=torch.float64)
    if loss in (lambdarank, lambda_loss) and any(len(row.unique()) < 5 for row in scores):
        return  # tied scores take their places by the documents' order
    moved = [each.flip(-1).flip(0) for each in (scores, gains, mask)]
    torch.testing.assert_close(loss(*moved).flip(0), loss(scores, gains, mask))


@every_loss
@few
@given(world=lists(), one=st.floats(0, 3), two=st.floats(0, 3))
def test_it_is_linear_in_the_weights(
    loss: Loss, world: tuple[Tensor, Tensor, Tensor], one: float, two: float
) -> None:
    scores, gains, mask = world
    first = torch.linspace(0.5, 2, 10, dtype=torch.float64).reshape(2, 5)
    second = first.flip(-1) ** 2
    whole = loss(scores, gains, mask, one * first + two * second)
    parts = one * loss(scores, gains, mask, first) + two * loss(scores, gains, mask, second)
    torch.testing.assert_close(whole, parts)
    unweighed = loss(scores, gains, mask)
    torch.testing.assert_close(loss(scores, gains, mask, torch.ones_like(gains)), unweighed)


@every_loss
@few
@given(world=lists())
def test_the_gradient_is_the_slope(loss: Loss, world: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, gains, mask = world
    # Far enough apart that no step of the finite difference changes a rank.
    scores = scores.argsort(-1).argsort(-1).to(torch.float64) + 0.1 * scores.sin()
    _, slope = value_and_slope(loss, scores, gains, mask)
    step = 1e-5 * torch.eye(5, dtype=torch.float64)
    above, below = (  # a group of its own for each step
        loss((scores[:, None] + sign * step).reshape(10, 5), *(
            each.repeat_interleave(5, 0) for each in (gains, mask)
        ))
        for sign in (1, -1)
    )  # fmt: skip
    found = ((above - below) / 2e-5).reshape(2, 5)
    torch.testing.assert_close(slope, found, atol=1e-7, rtol=1e-5)


@every_loss
@few
@given(gains=st.lists(st.sampled_from([0.0, 1.0, 3.0, 7.0]), min_size=4, max_size=4))
def test_of_all_orders_the_best_has_the_least_loss(loss: Loss, gains: list[float]) -> None:
    wanted = torch.tensor([sorted(gains, reverse=True)], dtype=torch.float64)
    values = torch.tensor([2.0, 0.7, -0.4, -1.5], dtype=torch.float64)
    orders = torch.tensor(list(permutations(range(4))))
    losses = loss(values[orders], wanted.expand(24, 4), ALL.expand(24, 4))
    assert losses[0] <= losses.min() + 1e-12
    if len(set(gains)) > 1:
        assert losses.max() > losses.min() + 1e-3


@every_loss
def test_nothing_gained_and_nothing_there_are_worth_nothing(loss: Loss) -> None:
    scores = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    gains = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[True, True], [False, False], [False, True]])
    value, slope = value_and_slope(loss, scores, gains, mask)
    assert value.tolist() == [0, 0, 0]
    assert (slope == 0).all()


@every_loss
def test_scores_far_apart_stay_finite(loss: Loss) -> None:
    scores = torch.tensor([[-1e4, 1e4, 0.0, 3.0]])
    value, slope = value_and_slope(loss, scores, GAINS, ALL)
    assert torch.isfinite(value).all()
    assert torch.isfinite(slope).all()


def test_softmax_by_its_definition() -> None:
    shares = np.exp([0.5, -1, 2, 0]) / np.exp([0.5, -1, 2, 0]).sum()
    wanted = -(1 / 4 * np.log(shares[0]) + 3 / 4 * np.log(shares[1]))
    np.testing.assert_allclose(softmax(SCORES, GAINS, ALL), [wanted])


def test_list_mle_of_grades_apart_is_the_likelihood_of_the_order() -> None:
    gains = torch.tensor([[1.0, 3.0, 0.0, 2.0]], dtype=torch.float64)
    e = np.exp([0.5, -1, 2, 0])
    drawn = (e[1] / e.sum(), e[3] / (e[0] + e[2] + e[3]), e[0] / (e[0] + e[2]))
    np.testing.assert_allclose(list_mle(SCORES, gains, ALL), [-np.log(drawn).mean()])


def test_ranknet_by_its_definition() -> None:
    pairs = [(1, 0), (1, 2), (1, 3), (0, 2), (0, 3)]
    s = [0.5, -1, 2, 0]
    wanted = np.mean([np.log(1 + np.exp(-(s[i] - s[j]))) for i, j in pairs])
    np.testing.assert_allclose(ranknet(SCORES, GAINS, ALL), [wanted])


def test_lambdarank_and_lambda_loss_by_their_definition() -> None:
    pairs = [(1, 0), (1, 2), (1, 3), (0, 2), (0, 3)]
    s, g, rank = [0.5, -1, 2, 0], [1, 3, 0, 0], [2, 4, 1, 3]
    best = 3 + 1 / np.log2(3)
    parts = {0.0: 0.0, 10.0: 0.0}
    for mu in parts:
        for i, j in pairs:
            swap = abs(1 / np.log2(1 + rank[i]) - 1 / np.log2(1 + rank[j]))
            apart = abs(rank[i] - rank[j])
            near = 1 / np.log2(1 + apart) - 1 / np.log2(2 + apart)
            logistic = np.log2(1 + np.exp(-(s[i] - s[j])))
            parts[mu] += (g[i] - g[j]) / best * (swap + mu * near) * logistic
    np.testing.assert_allclose(lambdarank(SCORES, GAINS, ALL), [parts[0.0]])
    np.testing.assert_allclose(lambda_loss(SCORES, GAINS, ALL), [parts[10.0]])


def test_approx_ndcg_comes_close_to_ndcg_as_it_cools() -> None:
    ndcg = (1 / np.log2(3) + 3 / np.log2(5)) / (3 + 1 / np.log2(3))
    cool = approx_ndcg(SCORES, GAINS, ALL, temperature=0.01)
    np.testing.assert_allclose(cool, [-ndcg], rtol=1e-6)
    assert abs(float(approx_ndcg(SCORES, GAINS, ALL)) + ndcg) > 0.005
