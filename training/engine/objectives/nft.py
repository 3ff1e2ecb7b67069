"""Negative-aware fine-tuning: right and wrong answers in one maximum-likelihood loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.engine.objectives.loss import Loss, masked
from training.engine.ragged import Ragged

FARTHEST = 10.0  # nats; a log-ratio above it counts as this
SUREST = 0.98  # a rate of right answers is read as at most this, and at least 1 minus this

Weighting = Literal["hard", "root", "even"]


def nft(
    logprobs: Tensor,
    old: Tensor | None,
    right: Tensor,
    rate: Tensor,
    ragged: Ragged,
    *,
    length: float,
    weighting: Weighting = "hard",
    negative_weight: float = 1.0,
    positive_weight: float = 1.0,
    epsilon: float = 1.0,
    by_answer: bool = False,
    mask: Tensor | None = None,
) -> Loss:
    """sum_t w(q) [r (-log R) + (1 - r) (-log max_v(x, epsilon))] / (answers * length) (NFT, arXiv 2505.18116).

        R = p / p_old            the policy is read as p+, the distribution of the right answers
        x = (1 - q R) / (1 - q)  what then is left for the wrong ones, p- / p_old, because q p+ + (1 - q) p- = p_old
        w = 1 - q ("hard") | sqrt((1 - q) / q) ("root") | 1 ("even")

    `logprobs`, `old` [N]; `right` [B] is r, 1 for a right answer and 0 for a wrong one (between them: graded); `rate`
    [B] is q, the share of right answers to the answer's prompt, held to [0.02, 0.98]. Answers to prompts with nothing
    right or nothing wrong (q 0 or 1) give loss 0 and gradient 0, and count. max_v keeps the value at `epsilon` or
    above and lets the gradient through: per token it is -w for a right answer, w q R / ((1 - q) max(x, epsilon)) for a
    wrong one. On the policy's own answers (R = 1) "hard" is Dr. GRPO with r - q as advantage, "root" is GRPO with the
    population's standard deviation. `by_answer` takes R over the whole answer, a product. The value says little: it
    is around 0 by construction. Counts answers times `length`.
    """
    now, then = masked(mask, logprobs, (logprobs if old is None else old).detach())
    log_ratio = ragged.sum(now - then) if by_answer else now - then
    r, q = right.detach(), rate.detach()
    if not by_answer:
        r, q = ragged.spread(r), ragged.spread(q)
    taught = (q > 0) & (q < 1)
    q = q.clamp(1 - SUREST, SUREST)
    ratio = log_ratio.clamp_max(FARTHEST).exp()
    left = (1 - q * ratio) / (1 - q)
    floor = left.detach().clamp_min(epsilon)
    # max_v: the logarithm of what is held at epsilon, with the slope that `left` has there; adding and taking away the
    # floor from `left` itself would lose everything where `left` is large
    wrong = -floor.log() - (left - left.detach()) / floor
    values = positive_weight * r * -log_ratio + negative_weight * (1 - r) * wrong
    values = torch.where(taught, _weight(q, weighting) * values, 0.0)
    if not by_answer:
        values = torch.where(mask, values, 0.0) if mask is not None else values
        below = ragged.mean((left < epsilon).to(values.dtype), mask)
        of_rows = {"ratio": ragged.mean(ratio, mask), "below_epsilon": below}
        by_row = ragged.sum(values)
    else:
        of_rows = {"ratio": ratio, "below_epsilon": (left < epsilon).to(values.dtype)}
        by_row = values
    rows = Loss.of_examples(by_row, weights=ragged.lengths(mask) > 0, **of_rows)
    metrics = {name: value * length for name, value in rows.metrics.items()}
    return Loss(rows.total, rows.count * length, metrics)


def _weight(rate: Tensor, weighting: Weighting) -> Tensor:
    if weighting == "hard":
        return 1 - rate
    if weighting == "root":
        return ((1 - rate) / rate).sqrt()
    return torch.ones_like(rate)
