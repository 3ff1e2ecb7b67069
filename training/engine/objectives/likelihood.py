"""Likelihood: make what people wrote or liked more probable, and what they disliked less."""

from __future__ import annotations

import torch
from torch import Tensor

from training.engine.objectives.loss import Loss

CERTAIN = -1e-7  # the nearest to log 1 that log(1 - p) is taken of in float32


def sft(logprobs: Tensor, *, weights: Tensor | None = None) -> Loss:
    """Likelihood of completions, nats a token: -sum_t w_t log p_t / sum_t w_t, over the whole optimiser step.

    `logprobs` [N]; `weights` [N], not negative. Counts tokens (their weights).
    """
    return Loss.of_examples(-logprobs, weights=weights)


def unlikelihood(logprobs: Tensor, *, weights: Tensor | None = None) -> Loss:
    """Make tokens improbable: -sum_t w_t log(1 - p_t) / sum_t w_t (Welleck et al. 2020, at given tokens).

    Unlike a negated likelihood it ends: nothing is gained once p_t is 0. `logprobs` [N]; `weights` [N], 1 at tokens
    that were marked bad. Counts tokens (their weights).
    """
    return Loss.of_examples(-log1mexp(logprobs), weights=weights, probability=logprobs.exp())


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x <= 0, exact at both ends."""
    x = x.clamp_max(CERTAIN)
    near = x > -0.6931  # where 1 - e^x cancels, expm1 does not; each branch sees only what it can differentiate
    by_expm1 = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    by_log1p = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, by_expm1, by_log1p)
