"""The critic's side of PPO."""

from __future__ import annotations

import torch
from torch import Tensor

from training.engine.objectives.loss import Loss, masked, over_tokens


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float | None = 0.2, mask: Tensor | None = None
) -> Loss:
    """0.5 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2), mean over tokens (PPO as in Schulman's code;
    Huang et al. 2022, detail 9). `clip` None is the plain square. Counts tokens of the whole step.

    V_t is read at the state before token t: the place whose logits predict it.
    """
    values, old_values, returns = masked(mask, values, old_values.detach(), returns.detach())
    errors = (values - returns).square()
    if clip is None:
        return over_tokens(0.5 * errors, mask=mask)
    moved = old_values + (values - old_values).clamp(-clip, clip)
    farther = (moved - returns).square()
    clipped = (farther > errors).to(values.dtype)
    return over_tokens(0.5 * torch.maximum(errors, farther), mask=mask, metrics={"value/clipped": clipped})


def explained_variance(values: Tensor, returns: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """1 - var(R - V) / var(R) over the whole batch: 1 is a perfect critic, 0 one that knows the mean, below 0 worse."""
    if mask is not None:
        values, returns = values[mask], returns[mask]
    spread = returns.var(correction=0)
    return torch.where(spread > 0, 1 - (returns - values).var(correction=0) / spread, 0.0).detach()
