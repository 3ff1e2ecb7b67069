"""How far the policy is from its reference, KL(policy || reference) in nats, as samples tell it and exactly.

For a token sampled from the policy and x = log p - log p_ref:

    k1  x               unbiased, signed. In the reward its gradient is the KL's; as a loss its gradient is zero.
    k2  x^2 / 2         biased value; as a loss its gradient is the KL's, on the policy's own samples.
    k3  e^-x - 1 + x    unbiased, never negative. As a loss its gradient is that of KL(reference || policy), unless it
                        is multiplied by the ratio p / p_sampler, which carries what is missing (arXiv 2512.21852).

Within a loss any of them sees each token by itself: only k1 in the reward knows that a token leads to later ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.engine.ragged import Ragged

Estimator = Literal["k1", "k2", "k3"]
CHUNK = 256  # tokens whose two full distributions exist at one time


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """x = log p - log p_ref."""
    return logprobs - reference


def k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """x^2 / 2 (Schulman 2020)."""
    return 0.5 * (logprobs - reference).square()


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """e^-x - 1 + x (Schulman 2020)."""
    back = reference - logprobs
    return torch.expm1(back.clamp_max(20.0)) - back


ESTIMATORS: dict[Estimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


@torch.no_grad()
def in_rewards(
    rewards: Tensor,
    logprobs: Tensor,
    reference: Tensor,
    *,
    beta: float,
    estimator: Estimator = "k1",
) -> Tensor:
    """r_t - beta KL_t for each token [N], from the sampler's own log-probabilities; for GAE and returns to go."""
    return rewards - beta * ESTIMATORS[estimator](logprobs, reference)


@torch.no_grad()
def in_returns(rewards: Tensor, logprobs: Tensor, reference: Tensor, ragged: Ragged, *, beta: float) -> Tensor:
    """R_i - beta sum_t (log p_t - log p_ref_t) for each row [B]; for leave-one-out (Ahmadian et al. 2024)."""
    return rewards - beta * ragged.sum(k1(logprobs, reference))


def of_logits(logits: Tensor, reference: Tensor) -> Tensor:
    """sum_v p_v (log p_v - log p_ref_v) of whole distributions, [..., V] -> [...], in float32 at least."""
    ours, theirs = (
        one.to(torch.promote_types(one.dtype, torch.float32)).log_softmax(-1) for one in (logits, reference)
    )
    return (ours.exp() * (ours - theirs)).sum(-1)


def exact(
    states: Tensor,
    reference_states: Tensor,
    *,
    head: Callable[[Tensor], Tensor],
    reference_head: Callable[[Tensor], Tensor],
    temperature: float = 1.0,
    chunk: int = CHUNK,
) -> Tensor:
    """The exact KL over the vocabulary at each of N places, from hidden states [N, D], `chunk` of them at a time.

    The heads are called, so that what the model does after its head counts (`logprobs.logits_of`). With gradients on,
    the logits of a chunk are made again in backward. float32 [N].
    """

    def of_chunk(ours: Tensor, theirs: Tensor) -> Tensor:
        with torch.no_grad():
            fixed = reference_head(theirs).float() / temperature
        return of_logits(head(ours).float() / temperature, fixed)

    recompute = torch.is_grad_enabled() and states.requires_grad
    parts = []
    for start in range(0, len(states), chunk):
        pair = states[start : start + chunk], reference_states[start : start + chunk]
        parts.append(checkpoint(of_chunk, *pair, use_reentrant=False) if recompute else of_chunk(*pair))
    return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)


def adapt(beta: float, sequence_kl: float, *, target: float, samples: int, horizon: int = 10_000) -> float:
    """The next weight of the KL: beta (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon) (Ziegler et al. 2019).

    `sequence_kl` is the mean over answers of the sum over tokens, `samples` how many answers the batch had.
    """
    if not math.isfinite(sequence_kl):
        return beta
    error = min(0.2, max(-0.2, sequence_kl / target - 1))
    return beta * (1 + error * samples / horizon)
