"""Losses: how far a person's vector is from what they did next. Pure functions, one value a row.

Full softmax over a catalogue costs too much, so the positive is set against sampled negatives.
Shapes: `rows` are positions in people's histories whose next item is known; `negatives` are
sampled items, the same for all rows (`[rows, negatives]` logits). A mask is true where a negative
counts; a sampled item that is the row's own positive must be masked out ("accidental hit").
Logits are float, in nats; each function returns `[rows]`, for the caller to weigh and average.
Where a row has several positives they come as `[positives, rows]`, and so do the losses.
"""

import torch
from torch import Tensor
from torch.nn import functional

_NEVER = -1e9


def sampled_softmax(positive: Tensor, negative: Tensor, mask: Tensor) -> Tensor:
    """[rows], -log(e^p / (e^p + sum over valid negatives of e^n)): negatives drawn uniformly.

    Source: Klenitskiy and Vasilev, "Turning Dross Into Gold Loss" (RecSys 2023): the
    cross-entropy over the positive and sampled negatives.

    Args:
        positive: [rows] logits of what was done next.
        negative: [rows, negatives] logits.
        mask: [rows, negatives] bool, broadcast.

    >>> two = torch.tensor([0.0])
    >>> loss = sampled_softmax(two, torch.tensor([[0.0, 9.0]]), torch.tensor([[True, False]]))
    >>> torch.allclose(loss, torch.tensor(2.0).log())
    True
    """
    return functional.softplus(_logsumexp(negative, mask) - positive)


def logq_softmax(
    positive: Tensor, negative: Tensor, mask: Tensor, log_q: Tensor, positive_log_q: Tensor
) -> Tensor:
    """[rows], sampled softmax with logits lowered by log Q, the positive's too.

    Source: Yi et al., "Sampling-Bias-Corrected Neural Modeling" (RecSys 2019):
    s_c(x, y) = s(x, y) - log p. Kept as the standard to compare `corrected_logq_softmax` with.

    Args:
        positive: [rows] logits of what was done next.
        negative: [rows, negatives] logits.
        mask: [rows, negatives] bool, broadcast.
        log_q: [rows, negatives] or [negatives], log of how likely the sampler is to draw each.
        positive_log_q: [rows], the same of the positives.
    """
    return sampled_softmax(positive - positive_log_q, negative - log_q, mask)


def corrected_logq_softmax(
    positive: Tensor, negative: Tensor, mask: Tensor, log_q: Tensor, positive_log_q: Tensor
) -> Tensor:
    """[rows], sampled softmax whose gradient is that of the full softmax, whatever the sampler.

    Source: Khrylchenko et al., "Correcting the LogQ Correction" (RecSys 2025, arXiv 2507.09331).
    The gradient of full softmax is (1 - P(p)) · (-∇s_p + E over d ~ P(·| d ≠ p) of ∇s_d): the
    positive is there with probability 1, not drawn, so it takes no correction and stands outside
    the estimated expectation. Self-normalised importance sampling from Q then gives

        loss = sg(1 - P(p)) · (-s_p + log sum_i exp(s_i - log Q'(d_i))),   d_i ≠ p,
        P(p) ≈ e^{s_p} / (e^{s_p} + 1/m sum_i exp(s_i - log Q'(d_i))),
        Q'(d) = Q(d) / (1 - Q(p)),

    with m valid negatives and sg "no gradient through this". The weight is the model's doubt: a
    row that it has right already teaches little. The constant log m is taken off, so that
    the value is comparable between numbers of negatives; the gradient does not see it.

    Args:
        positive: [rows] logits of what was done next.
        negative: [rows, negatives] logits.
        mask: [rows, negatives] bool, broadcast.
        log_q: [rows, negatives] or [negatives], log of how likely the sampler is to draw each.
        positive_log_q: [rows], the same of the positives.
    """
    left = torch.log1p(-positive_log_q.exp().clamp(max=1 - 1e-6))
    drawn = mask.expand_as(negative).sum(-1).clamp(min=1)
    others = _logsumexp(negative - log_q, mask) + left - drawn.log()
    doubt = torch.sigmoid(others - positive).detach()
    return doubt * (others - positive)


def mixture_log_q(log_frequency: Tensor, in_batch: int, uniform: int, items: int) -> Tensor:
    """[items], log of how likely a draw is each item: in-batch and uniform negatives together.

    Source: Yang et al., "Mixed Negative Sampling" (WWW 2020): of in_batch + uniform
    negatives a share comes from the training frequency, the rest evenly from the items.

    Args:
        log_frequency: [items], log of each item's share of the training events; -inf for none.
        in_batch: how many negatives come with the training frequency.
        uniform: how many are drawn evenly.
        items: how many could be drawn uniformly.

    >>> mixture_log_q(torch.tensor([0.0, -torch.inf]), 1, 1, 2).exp()
    tensor([0.7500, 0.2500])
    """
    share = in_batch / (in_batch + uniform)
    return torch.log(share * log_frequency.exp() + (1 - share) / items)


def accidental_hits(items: Tensor, positives: Tensor) -> Tensor:
    """[rows, negatives] bool, false where a sampled item is the row's own positive.

    >>> accidental_hits(torch.tensor([3, 5]), torch.tensor([5, 7]))
    tensor([[ True, False],
            [ True,  True]])
    """
    return items.unsqueeze(0) != positives.unsqueeze(1)


def best_logits(people: Tensor, items: Tensor) -> Tensor:
    """[rows, items], each item's dot product with the nearest of a person's vectors.

    Source: Li et al., "MIND" (CIKM 2019), whose attention to the label is taken in its hard limit:
    of several interests the one closest to the item answers for it.

    Args:
        people: [rows, vectors, dim].
        items: [items, dim].
    """
    rows, vectors, dim = people.shape
    if vectors == 1:
        return people[:, 0] @ items.T
    logits = people.reshape(rows * vectors, dim) @ items.T
    return logits.reshape(rows, vectors, -1).amax(dim=1)


def _logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    return torch.logsumexp(logits.masked_fill(~mask, _NEVER), dim=-1)
