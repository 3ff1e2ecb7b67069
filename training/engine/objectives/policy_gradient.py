"""Policy gradients: REINFORCE, RLOO, PPO's clip, and the group-relative family.

All take flat tensors [N] of the trained tokens, and differ in two things that their names stand for: over what the
probability ratio is taken (a token, a row's mean, a row's sum), and what the sum is divided by. Advantages, old and
reference log-probabilities are never differentiated. `mask` bool [N] leaves tokens out of numerator and denominator
alike: a truncated answer, what a tool said. `old` None means that a batch is used exactly once: the ratio is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from training.engine import kl
from training.engine.objectives.loss import Loss, masked, over_length, over_rows, over_tokens
from training.engine.ragged import Ragged

FARTHEST = 20.0  # nats; a log-ratio beyond it is held there, so that no ratio becomes infinite


class Terms(TypedDict, total=False):
    """What every token's term may be made of; the options of `ppo`, `grpo`, `dr_grpo` and `dapo`."""

    clip_low: float  # 0.2: the ratio pays nothing below 1 - clip_low when the advantage is negative
    clip_high: float  # 0.2: ... nor above 1 + clip_high when it is positive
    dual_clip: float | None  # None; c > 1: a negative advantage costs at most c times itself (Ye et al. 2020)
    beta: float  # 0: weight of the KL to the reference within the loss
    reference: Tensor | None  # [N], when beta is not 0
    ratio_weighted: bool  # True: k3 times the ratio, whose gradient is the KL's; False: the k3 of DeepSeekMath
    weights: Tensor | None  # [N]: the worth of each token, as `truncated_importance`; not in the denominator


@dataclass(frozen=True)
class TokenTerms:
    """A loss for each token, undivided, and what is reported of it. All [N]."""

    values: Tensor
    metrics: Mapping[str, Tensor]


def clipped(
    log_ratio: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> TokenTerms:
    """max(-A rho, -A clip(rho, 1 - low, 1 + high)) of tokens or rows (Schulman et al. 2017, eq. 7), rho = e^log_ratio;
    with `dual_clip` c at most -A c where A < 0.
    """
    ratio = log_ratio.clamp(-FARTHEST, FARTHEST).exp()
    advantages = advantages.detach()
    values = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip_low, 1 + clip_high))
    if dual_clip is not None:
        values = torch.where(advantages < 0, torch.minimum(values, -advantages * dual_clip), values)
    metrics = {
        "ratio": ratio,
        "clipped/low": ((ratio < 1 - clip_low) & (advantages < 0)).to(ratio.dtype),
        "clipped/high": ((ratio > 1 + clip_high) & (advantages > 0)).to(ratio.dtype),
        "kl/old": ratio - 1 - log_ratio,  # k3 of KL(old || now), on tokens that old has sampled
    }
    return TokenTerms(values, {name: value.detach() for name, value in metrics.items()})


def ppo(
    logprobs: Tensor, old: Tensor | None, advantages: Tensor, *, mask: Tensor | None = None, **terms: Unpack[Terms]
) -> Loss:
    """PPO's clipped policy loss (Schulman et al. 2017, eq. 7), mean over tokens. Counts tokens of the whole step.

    The value loss counts the same tokens: `ppo(...).plus(value_loss(...), weight=vf)`.
    """
    of_tokens = _token_terms(logprobs, old, advantages, mask, **terms)
    return over_tokens(of_tokens.values, mask=mask, metrics=of_tokens.metrics)


def grpo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    ragged: Ragged,
    *,
    mask: Tensor | None = None,
    **terms: Unpack[Terms],
) -> Loss:
    """mean_i (1 / n_i) sum_t [clip + beta k3] (DeepSeekMath, Shao et al. 2024, eq. 3). Counts answers.

    Its mean within each answer favours short right answers and long wrong ones.
    """
    of_tokens = _token_terms(logprobs, old, advantages, mask, **terms)
    return over_rows(of_tokens.values, ragged, mask=mask, metrics=of_tokens.metrics)


def dr_grpo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    ragged: Ragged,
    *,
    length: float,
    mask: Tensor | None = None,
    **terms: Unpack[Terms],
) -> Loss:
    """sum over all tokens / (answers * length), `length` a constant such as the longest allowed (Liu et al. 2025,
    Dr. GRPO); its advantages are not divided by a standard deviation. Counts answers times `length`.
    """
    of_tokens = _token_terms(logprobs, old, advantages, mask, **terms)
    return over_length(of_tokens.values, ragged, length=length, mask=mask, metrics=of_tokens.metrics)


def dapo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    *,
    mask: Tensor | None = None,
    **terms: Unpack[Terms],
) -> Loss:
    """Mean over the tokens of all answers of the step, the upper clip at 0.28 (Yu et al. 2025, eq. 8 and 10). Counts
    tokens of the whole step.

    The rest of DAPO is not in the loss: `rewards.overlong_penalty`, truncated answers masked, and groups without
    spread sampled again (`credit.has_spread`).
    """
    clip_higher: Terms = {"clip_high": 0.28}
    clip_higher.update(terms)
    return ppo(logprobs, old, advantages, mask=mask, **clip_higher)


def gspo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    ragged: Ragged,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    mask: Tensor | None = None,
) -> Loss:
    """-min(s_i A_i, clip(s_i) A_i), s_i = exp(mean_t log rho_t): one ratio a row, a mean (Zheng et al. 2025, eq. 5-7).
    `advantages` [B]. Counts answers.
    """
    log_ratio = ragged.mean(_log_ratio(logprobs, old, mask), mask)
    of_rows = clipped(log_ratio, advantages, clip_low=clip_low, clip_high=clip_high)
    return Loss.of_examples(of_rows.values, weights=ragged.lengths(mask) > 0, **of_rows.metrics)


def rloo(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    ragged: Ragged,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    mask: Tensor | None = None,
) -> Loss:
    """-min(s_i A_i, clip(s_i) A_i), s_i = exp(sum_t log rho_t): one ratio a row, a sum (Ahmadian et al. 2024; the clip
    is TRL's). `advantages` [B] from `credit.leave_one_out`, the KL in the reward. Counts answers.

    A sum leaves the clip at once when a batch is used again: one update a batch.
    """
    log_ratio = ragged.sum(_log_ratio(logprobs, old, mask), mask)
    of_rows = clipped(log_ratio, advantages, clip_low=clip_low, clip_high=clip_high)
    return Loss.of_examples(of_rows.values, weights=ragged.lengths(mask) > 0, **of_rows.metrics)


def reinforce(logprobs: Tensor, advantages: Tensor, ragged: Ragged, *, mask: Tensor | None = None) -> Loss:
    """-mean_i sum_t A_t log p_t (Williams 1992): the gradient itself, on answers of the policy as it is. Counts
    answers.
    """
    logprobs, advantages = masked(mask, logprobs, advantages.detach())
    by_row = ragged.sum(-advantages * logprobs)
    return Loss.of_examples(by_row, weights=ragged.lengths(mask) > 0)


def truncated_importance(trained: Tensor, sampled: Tensor, *, cap: float = 2.0) -> Tensor:
    """min(p_trainer / p_sampler, cap) of each token, [N]: corrects for a sampler whose numbers differ from the
    trainer's (Yao et al. 2025). For `weights`.
    """
    return (trained - sampled).detach().clamp(-FARTHEST, FARTHEST).exp().clamp_max(cap)


def _token_terms(
    logprobs: Tensor,
    old: Tensor | None,
    advantages: Tensor,
    mask: Tensor | None,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    beta: float = 0.0,
    reference: Tensor | None = None,
    ratio_weighted: bool = True,
    weights: Tensor | None = None,
) -> TokenTerms:
    log_ratio = _log_ratio(logprobs, old, mask)
    surrogate = clipped(log_ratio, advantages, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)
    values, metrics = surrogate.values, dict(surrogate.metrics)
    if reference is not None:
        now, then = masked(mask, logprobs, reference.detach())
        penalty = kl.k3(now, then)
        metrics["kl/reference"] = penalty.detach()
        if ratio_weighted:
            penalty = penalty * log_ratio.clamp(-FARTHEST, FARTHEST).exp()
        values = values + beta * penalty
    elif beta:
        raise ValueError("beta weighs the KL to a reference: give the reference's log-probabilities, or beta=0.")
    if weights is not None:
        values = values * weights.detach()
    return TokenTerms(values, metrics)


def _log_ratio(logprobs: Tensor, old: Tensor | None, mask: Tensor | None) -> Tensor:
    now, then = masked(mask, logprobs, (logprobs if old is None else old).detach())
    return now - then
