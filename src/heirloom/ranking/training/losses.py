"""Losses of learning to rank: how far scores are from the order that the gains ask for.

Pure functions of one shape, `Loss`: scores, gains and mask `[groups, docs]`, weights the same or
None; out comes one value a group, for the caller to average. A document whose mask is false does
not count, whatever stands in its place. Gains are >= 0; a group in which nothing was gained, or
nothing is to be ordered, gives 0. Every loss sees differences of scores alone, and none asks for an
order among documents of equal gain.

`weights` are of single documents: 1 / propensity of what was acted on, for instance (Joachims,
Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017). Each loss is
linear in them, in pairs by the weight of the document that should stand above; normalisers do not
see them, so that the expectation over which actions were examined passes through. Clip and
normalise weights before.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Loss(Protocol):
    """[groups] float, from scores, gains and mask [groups, docs] and weights, the same or None."""

    def __call__(
        self, scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """One value a group; lower is better."""


def softmax(scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """[groups], -sum over i of g_i / G · log(e^{s_i} / sum over j of e^{s_j}), G the sum of gains.

    Source: Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML 2007
    (ListNet, top one, equation 6), with shares of gain as target, by which it bounds NDCG: Bruch et
    al., "An analysis of the softmax cross entropy loss for learning-to-rank", ICTIR 2019, eq. 3.

    >>> two = torch.zeros(1, 2)
    >>> loss = softmax(two, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    >>> torch.allclose(loss, torch.tensor(2.0).log())
    True
    """
    scores, gains, weights = _counted(scores, gains, mask, weights)
    log_shares = scores - _logsumexp(scores, mask).unsqueeze(-1)
    return -(weights * gains * log_shares).sum(-1) / _positive(gains.sum(-1))


def list_mle(scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """[groups], mean over i that gained of -log(e^{s_i} / sum over j, g_j <= g_i, of e^{s_j}).

    Source: Xia et al., "Listwise approach to learning to rank: theory and algorithm", ICML 2008,
    equation 9: the likelihood of the best order under Plackett-Luce. Documents of equal gain are
    drawn from one set, as tied times are in Cox's model (Breslow, "Covariance analysis of censored
    survival data", Biometrics 1974): their order says nothing. The mean, not the sum, so that long
    lists do not drown short ones.

    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> loss = list_mle(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]), mask)
    >>> torch.allclose(loss, torch.tensor(2.0).log() / 2)
    True
    """
    scores, gains, weights = _counted(scores, gains, mask, weights)
    not_above = (gains.unsqueeze(-2) <= gains.unsqueeze(-1)) & mask.unsqueeze(-2)
    left = _logsumexp(scores.unsqueeze(-2).expand(not_above.shape), not_above)
    gained = (gains > 0).to(scores.dtype)
    return (weights * gained * (left - scores)).sum(-1) / _positive(gained.sum(-1))


def ranknet(scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """[groups], mean over pairs with g_i > g_j of log(1 + e^{-(s_i - s_j)}).

    Source: Burges et al., "Learning to rank using gradient descent", ICML 2005, equation 3 with a
    target probability of 1.

    >>> two = torch.zeros(1, 2)
    >>> loss = ranknet(two, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    >>> torch.allclose(loss, torch.tensor(2.0).log())
    True
    """
    scores, gains, weights = _counted(scores, gains, mask, weights)
    above = _above(gains, mask)
    pairs = above * weights.unsqueeze(-1) * _logistic(scores)
    return pairs.sum((-2, -1)) / _positive(above.sum((-2, -1)))


def lambdarank(
    scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None = None
) -> Tensor:
    """[groups], sum over pairs with g_i > g_j of |ΔNDCG_ij| · log2(1 + e^{-(s_i - s_j)}).

    |ΔNDCG_ij| = (g_i - g_j) / maxDCG · |1 / D(r_i) - 1 / D(r_j)|, what swapping the two would
    change, D(r) = log2(1 + r) and r the ranks by the scores, taken as constants of the gradient.

    Source: Burges, Ragno and Le, "Learning to rank with nonsmooth cost functions", NIPS 2006; as
    a loss, Wang et al., "The LambdaLoss framework for ranking metric optimization", CIKM 2018,
    equation 18 with the weights ρ_ij of its table 1.

    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> lambdarank(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), mask)
    tensor([0.3691])
    """
    return _lambda_loss(scores, gains, mask, weights, mu=0.0)


def lambda_loss(
    scores: Tensor,
    gains: Tensor,
    mask: Tensor,
    weights: Tensor | None = None,
    *,
    mu: float = 10.0,
) -> Tensor:
    """[groups], as `lambdarank` with |1/D(r_i) - 1/D(r_j)| + mu · δ_ij in place of the first alone.

    δ_ij = 1 / D(|r_i - r_j|) - 1 / D(|r_i - r_j| + 1), which keeps pairs far down the list and
    close to each other from being forgotten. Source: Wang et al., "The LambdaLoss framework for
    ranking metric optimization", CIKM 2018, section 5.3 (NDCG-Loss2++), there with mu = 10.
    """
    return _lambda_loss(scores, gains, mask, weights, mu=mu)


def approx_ndcg(
    scores: Tensor,
    gains: Tensor,
    mask: Tensor,
    weights: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """[groups], -sum over i of g_i / log2(1 + r_i) / maxDCG; -1 is the best order.

    r_i = 1 + sum over j ≠ i of sigmoid((s_j - s_i) / temperature), a rank with a gradient.

    Source: Qin, Liu and Li, "A general approximation framework for direct optimization of
    information retrieval measures", Information Retrieval 2010, equations 13 and 15.

    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> approx_ndcg(torch.tensor([[50.0, 0.0]]), torch.tensor([[1.0, 0.0]]), mask)
    tensor([-1.])
    """
    scores, gains, weights = _counted(scores, gains, mask, weights)
    ahead = torch.sigmoid((scores.unsqueeze(-2) - scores.unsqueeze(-1)) / temperature)
    others = mask.unsqueeze(-2) & ~torch.eye(scores.shape[-1], dtype=torch.bool)
    ranks = 1 + (ahead * others).sum(-1)
    return -(weights * gains / torch.log2(1 + ranks)).sum(-1) / _positive(_max_dcg(gains))


LOSSES: dict[str, Loss] = {
    "softmax": softmax,
    "list_mle": list_mle,
    "ranknet": ranknet,
    "lambdarank": lambdarank,
    "lambda_loss": lambda_loss,
    "approx_ndcg": approx_ndcg,
}
"""By name, for settings."""


def _lambda_loss(
    scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None, mu: float
) -> Tensor:
    scores, gains, weights = _counted(scores, gains, mask, weights)
    ranks = _ranks(scores.detach(), mask)
    discount = 1 / torch.log2(1 + ranks)
    swapped = (discount.unsqueeze(-1) - discount.unsqueeze(-2)).abs()
    apart = (ranks.unsqueeze(-1) - ranks.unsqueeze(-2)).abs().clamp(min=1)
    near = 1 / torch.log2(1 + apart) - 1 / torch.log2(2 + apart)
    change = (gains.unsqueeze(-1) - gains.unsqueeze(-2)) * (swapped + mu * near)
    pairs = _above(gains, mask) * weights.unsqueeze(-1) * change * _logistic(scores)
    bits = pairs.sum((-2, -1)) / torch.log(torch.tensor(2.0, dtype=scores.dtype))
    return bits / _positive(_max_dcg(gains))


def _counted(
    scores: Tensor, gains: Tensor, mask: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """All three with 0 where nothing counts; weights are 1 where there are none."""
    nothing = torch.zeros((), dtype=scores.dtype)
    if weights is None:
        weights = torch.ones((), dtype=scores.dtype)
    found = (torch.where(mask, each.to(scores.dtype), nothing) for each in (scores, gains, weights))
    scores, gains, weights = found
    return scores, gains, weights


def _positive(normaliser: Tensor) -> Tensor:
    """1 in place of 0: what is normalised by it is 0 then."""
    return torch.where(normaliser > 0, normaliser, torch.ones_like(normaliser))


def _logsumexp(scores: Tensor, mask: Tensor) -> Tensor:
    """Over the last axis; 0 where nothing counts."""
    low = torch.finfo(scores.dtype).min
    some = mask.any(-1)
    found = torch.logsumexp(torch.where(mask, scores, low), -1)
    return torch.where(some, found, torch.zeros_like(found))


def _above(gains: Tensor, mask: Tensor) -> Tensor:
    """[groups, docs, docs], 1 where the first gained more than the second and both count."""
    pairs = mask.unsqueeze(-1) & mask.unsqueeze(-2)
    return (pairs & (gains.unsqueeze(-1) > gains.unsqueeze(-2))).to(gains.dtype)


def _logistic(scores: Tensor) -> Tensor:
    """[groups, docs, docs], log(1 + e^{-(s_i - s_j)})."""
    return functional.softplus(scores.unsqueeze(-2) - scores.unsqueeze(-1))


def _ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """[groups, docs] from 1, best first, ties in the documents' order, masked ones last."""
    counted = torch.where(mask, scores, -torch.inf)
    order = torch.argsort(counted, dim=-1, descending=True, stable=True)
    return order.argsort(-1).to(scores.dtype) + 1


def _max_dcg(gains: Tensor) -> Tensor:
    best = gains.sort(-1, descending=True).values
    places = torch.arange(gains.shape[-1], dtype=gains.dtype)
    return (best / torch.log2(2 + places)).sum(-1)
