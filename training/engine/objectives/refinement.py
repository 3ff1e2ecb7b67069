"""Answers of the policy and refinements that it would not have written yet, in one policy gradient (Critique-GRPO)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.engine import kl
from training.engine.objectives.loss import Loss, masked, over_length
from training.engine.objectives.policy_gradient import FARTHEST, clipped
from training.engine.ragged import Ragged

Shaping = Literal["ratio", "prob", "none"]


def shaped(logprobs: Tensor, *, shaping: Shaping = "ratio", gamma: float = 0.1) -> Tensor:
    """What a refinement's token weighs, of its log-probability under the policy [any shape], with a gradient:

    ratio   p / (p + gamma)     d/d log p = gamma p / (p + gamma)^2: most at p = gamma, little where p is 0 or 1
    prob    p                   d/d log p = p: what is improbable is hardly learned
    none    p / stop(p) = 1     d/d log p = 1: every token alike, as in likelihood
    """
    if shaping == "none":
        return (logprobs - logprobs.detach()).exp()
    p = logprobs.exp()
    return p if shaping == "prob" else p / (p + gamma)


def critique_grpo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    refined: Tensor,
    ragged: Ragged,
    *,
    length: float,
    shaping: Shaping = "ratio",
    gamma: float = 0.1,
    clip: float | None = None,
    beta: float = 0.0,
    reference: Tensor | None = None,
    entropy_weight: float = 0.001,
    entropy: Tensor | None = None,
    exchange: float = 1.0,
    mask: Tensor | None = None,
) -> Loss:
    """-sum_t A w / (answers * length), w = f(p) on the refinements' rows and p / p_old on the others (arXiv 2506.03106,
    section 4). Counts answers times `length`, the longest allowed: no row is divided by its own length.

    logprobs, advantages: float [N]; `refined` bool [B], whose rows need no old log-probabilities; they are scored as
    answers to the plain prompt. `old` [N] or None: the batch is used once and the ratio is 1. The paper clips nothing
    and has no KL; with `clip` the other rows' ratios are clipped as PPO's, with `beta` they pay k3 times the ratio to
    the `reference` [N].

    `entropy` [N] with its gradient earns `entropy_weight` times its mean over tokens. A mean over tokens and a sum over
    a constant have different counts: `exchange` is the whole step's answers * length over its tokens.
    """
    (logprobs,) = masked(mask, logprobs)
    advantages = masked(mask, advantages.detach())[0]
    (then,) = masked(mask, (logprobs if old is None else old).detach())
    of_refined = ragged.spread(refined.to(logprobs.dtype)) > 0
    log_ratio = torch.where(of_refined, 0.0, logprobs - then)
    ratio = log_ratio.clamp(-FARTHEST, FARTHEST).exp()
    if clip is None:
        on_policy = -advantages * ratio
        told = {"ratio": ratio.detach(), "kl/old": (ratio - 1 - log_ratio).detach()}
    else:
        of_tokens = clipped(log_ratio, advantages, clip_low=clip, clip_high=clip)
        on_policy, told = of_tokens.values, dict(of_tokens.metrics)
    if reference is not None:
        penalty = kl.k3(logprobs, masked(mask, reference.detach())[0])
        told["kl/reference"] = penalty.detach()
        on_policy = on_policy + beta * penalty * ratio
    elif beta:
        raise ValueError("beta weighs the KL to a reference: give the reference's log-probabilities, or beta=0.")
    values = torch.where(of_refined, -advantages * shaped(logprobs, shaping=shaping, gamma=gamma), on_policy)
    loss = over_length(values, ragged, length=length, mask=mask, metrics=told)
    if entropy is None:
        return loss
    (spread,) = masked(mask, entropy)
    return Loss(loss.total - entropy_weight * exchange * spread.sum(), loss.count, loss.metrics)
