import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heirloom.encoders.training.losses import (
    accidental_hits,
    best_logits,
    corrected_logq_softmax,
    logq_softmax,
    mixture_log_q,
    sampled_softmax,
)

COUNTS = torch.tensor([4, 1, 2, 3])  # of how often a sampler drew items 0 … 3, exactly as likely
DRAWN = torch.repeat_interleave(torch.arange(4), COUNTS)
LOG_Q = (COUNTS / COUNTS.sum()).log()


def gradient(loss: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss.sum(), of)
    return found


def full_softmax(logits: torch.Tensor, positive: int) -> torch.Tensor:
    return torch.logsumexp(logits, 0) - logits[positive]


def by_sampling(loss: object, logits: torch.Tensor, positive: int) -> torch.Tensor:
    target = torch.tensor([positive])
    return loss(  # type: ignore[operator]
        logits[target], logits[DRAWN][None], accidental_hits(DRAWN, target),
        LOG_Q[DRAWN], LOG_Q[target],
    )  # fmt: skip


@given(values=st.lists(st.floats(-3, 3), min_size=4, max_size=4), positive=st.integers(0, 3))
def test_corrected_logq_has_the_gradient_of_full_softmax(
    values: list[float], positive: int
) -> None:
    logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    wanted = gradient(full_softmax(logits, positive), logits)
    came = gradient(by_sampling(corrected_logq_softmax, logits, positive), logits)
    torch.testing.assert_close(came, wanted, atol=1e-6, rtol=1e-5)


def test_the_usual_logq_has_not() -> None:
    logits = torch.tensor([1.0, -0.5, 0.3, 0.2], requires_grad=True)
    wanted = gradient(full_softmax(logits, 0), logits)
    came = gradient(by_sampling(logq_softmax, logits, 0), logits)
    assert (came - wanted).abs().max() > 0.02


def test_sampled_softmax_over_all_others_is_full_softmax() -> None:
    logits = torch.tensor([1.0, -0.5, 0.3])
    loss = sampled_softmax(logits[:1], logits[None, 1:], torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(loss[0], full_softmax(logits, 0))


@pytest.mark.parametrize("loss", [logq_softmax, corrected_logq_softmax])
def test_a_masked_negative_does_not_count(loss: object) -> None:
    positive, log_q = torch.tensor([0.3]), torch.tensor([-1.0, -2.0])
    for value in (-5.0, 5.0):
        negative = torch.tensor([[0.1, value]])
        mask = torch.tensor([[True, False]])
        came = loss(positive, negative, mask, log_q, log_q[:1])  # type: ignore[operator]
        alone = loss(positive, negative[:, :1], mask[:, :1], log_q[:1], log_q[:1])  # type: ignore[operator]
        torch.testing.assert_close(came, alone)


def test_a_row_without_negatives_is_a_number() -> None:
    none = torch.zeros(1, 2, dtype=torch.bool)
    log_q = torch.tensor([-1.0, -1.0])
    for loss in (
        sampled_softmax(torch.zeros(1), torch.zeros(1, 2), none),
        corrected_logq_softmax(torch.zeros(1), torch.zeros(1, 2), none, log_q, log_q[:1]),
    ):
        assert torch.isfinite(loss).all()


def test_several_positives_of_a_row_are_as_if_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(2, 3, generator=rng), torch.randn(3, 5, generator=rng)
    mask = torch.rand(3, 5, generator=rng) > 0.3
    log_q, of = -torch.rand(5, generator=rng) - 1, -torch.rand(2, 3, generator=rng) - 1
    both = corrected_logq_softmax(positive, negative, mask, log_q, of)
    for i in range(2):
        alone = corrected_logq_softmax(positive[i], negative, mask, log_q, of[i])
        torch.testing.assert_close(both[i], alone)


def test_the_mixture_is_a_distribution() -> None:
    share = torch.tensor([0.5, 0.5, 0.0, 0.0])
    q = mixture_log_q(share.log(), 30, 10, 4).exp()
    np.testing.assert_allclose(q.numpy(), [0.75 * 0.5 + 0.25 / 4] * 2 + [0.25 / 4] * 2, rtol=1e-6)
    torch.testing.assert_close(q.sum(), torch.tensor(1.0))


def test_the_nearest_of_several_vectors_answers() -> None:
    people = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert best_logits(people, items).tolist() == [[1.0, 2.0, 2.0]]
