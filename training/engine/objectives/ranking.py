"""Reward models of whole answers: from pairs, rankings, single verdicts and ratings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from training.engine.objectives.loss import Loss
from training.engine.ragged import Ragged


def bradley_terry(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | float = 0.0,
    centring: float = 0.0,
    preferred: Tensor | None = None,
    weights: Tensor | None = None,
) -> Loss:
    """-log sigmoid(r_w - r_l - margin) + c (r_w + r_l)^2 over pairs (Bradley & Terry 1952; margin: Touvron et al.
    2023, eq. 2; centring: Eisenstein et al. 2023).

    `chosen`, `rejected` [P]. `preferred` [P] is the probability that the first is really the better one: 1 by
    default, 0.5 for a tie. Counts pairs (their weights).
    """
    gap = chosen - rejected
    values = -F.logsigmoid(gap - margin)
    if preferred is not None:
        values = preferred * values - (1 - preferred) * F.logsigmoid(-gap - margin)
    if centring:
        values = values + centring * (chosen + rejected).square()
    return Loss.of_examples(values, weights=weights, accuracy=gap > 0, gap=gap, chosen=chosen, rejected=rejected)


def plackett_luce(scores: Tensor, ranks: Tensor, ragged: Ragged, *, weights: Tensor | None = None) -> Loss:
    """Rankings, best first chosen among all that are left: -sum_i log(e^{s_i} / sum_{j not placed before i} e^{s_j})
    over lists (Plackett 1975; as a loss, ListMLE, Xia et al. 2008).

    `scores` [N] of all items of the B lists of `ragged`. `ranks` int64 [N]: 1 is best, equal ranks are ties, 0 is "not
    placed": below all that are, in no order among themselves. Of m tied items the k-th choice (k = 0..m-1) is made
    while the tied ones count (1 - k/m) each (Efron 1977), so that no order among them is preferred. Two items without a
    tie are Bradley-Terry. `weights` [B]. Counts lists with at least one choice.
    """
    table = ragged.padded(scores)  # [B, K]
    place = ragged.padded(ranks)
    there = ragged.padded(torch.ones_like(scores)) > 0
    place = torch.where(place > 0, place, torch.iinfo(place.dtype).max)  # not placed: after everyone
    chosen = there & (place < torch.iinfo(place.dtype).max)

    left = there[:, None, :] & (place[:, None, :] >= place[:, :, None])  # [B, i, j]: j is still there when i is chosen
    tied = left & (place[:, None, :] == place[:, :, None])
    items = table.shape[1]
    before = tied.new_ones(items, items).tril(-1)  # of tied items the one that stands first is the 0-th choice
    order = (tied & before).sum(-1)
    share = 1 - order / tied.sum(-1).clamp_min(1)
    log_share = torch.where(tied, share[:, :, None].log(), 0.0)
    reach = torch.where(left, table[:, None, :] + log_share, -torch.inf)
    reach = torch.where(chosen[:, :, None], reach, 0.0)  # rows that are no choice stay finite
    values = torch.where(chosen, reach.logsumexp(-1) - table, 0.0).sum(-1)

    choices = (chosen & (left.sum(-1) > 1)).any(-1)
    counted = choices.to(scores.dtype) if weights is None else choices * weights
    best = table.masked_fill(~there, -torch.inf)
    first = place.gather(-1, best.argmax(-1, keepdim=True))[:, 0] == place.amin(-1) if items else choices
    return Loss.of_examples(values, weights=counted, best_found=first)


def pointwise(scores: Tensor, targets: Tensor, *, weights: Tensor | None = None) -> Loss:
    """Single verdicts: -(y log sigmoid(s) + (1 - y) log sigmoid(-s)) over answers, y in [0, 1] (taps, outcomes).

    `scores`, `targets` [B]. Counts answers (their weights).
    """
    values = F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
    return Loss.of_examples(values, weights=weights, accuracy=(scores > 0) == (targets > 0.5), score=scores)


def ordinal(scores: Tensor, targets: Tensor, thresholds: Tensor, *, weights: Tensor | None = None) -> Loss:
    """Ratings with K steps: -log(sigmoid(c_y - s) - sigmoid(c_{y-1} - s)), c_0 = -inf, c_K = inf (McCullagh 1980).

    `scores` [B]; `targets` int64 [B], the lowest step 0; `thresholds` [K - 1], increasing: `ordered` makes them.
    Counts answers (their weights).
    """
    upper = F.pad(thresholds, (0, 1))[targets] - scores
    lower = F.pad(thresholds, (1, 0))[targets] - scores
    highest, lowest = targets == len(thresholds), targets == 0
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)), which does not cancel
    below = torch.where(highest, 0.0, F.logsigmoid(upper))
    above = torch.where(lowest, 0.0, F.logsigmoid(-lower))
    width = torch.where(highest | lowest, 1.0, upper - lower)
    between = torch.where(highest | lowest, 0.0, torch.log(-torch.expm1(-width)))
    predicted = (scores[:, None] > thresholds).sum(-1)
    return Loss.of_examples(-(below + above + between), weights=weights, accuracy=predicted == targets, score=scores)


def ordered(raw: Tensor) -> Tensor:
    """K - 1 free numbers as increasing thresholds: the first as it is, then steps of softplus(raw)."""
    steps = torch.cat([raw[:1], F.softplus(raw[1:])])
    return steps.cumsum(0)
