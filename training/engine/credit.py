"""Credit: from rewards to advantages, within groups of answers to one prompt and along time.

Groups are [Q, G]: G answers to each of Q prompts, NaN where there is no verdict (or no answer: groups need not be
equally large). A missing answer gets advantage 0 and enters no mean. Flat tensors [N] and `Ragged`: see `ragged`.
`Spans.spread` lays a span's, step's or turn's credit on its tokens. Nothing here is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.engine.ragged import Ragged

Scale = Literal["group", "batch", "none"]
Whitening = Literal["full", "scale", "keep_mean"]


@torch.no_grad()
def leave_one_out(rewards: Tensor) -> Tensor:
    """A_i = R_i - mean_{j != i} R_j over the judged answers of a group, [Q, G] (Kool et al. 2019; Ahmadian et al.
    2024). An answer without judged siblings gets 0; so does a group of equal rewards, whatever the rounding.
    """
    there, values, count = _present(rewards)
    others = (values.sum(-1, keepdim=True) - values) / (count - 1).clamp_min(1)
    return torch.where(there & has_spread(rewards)[:, None], values - others, 0.0)


@torch.no_grad()
def group_relative(rewards: Tensor, *, scale: Scale = "group", unbiased: bool = True, epsilon: float = 1e-4) -> Tensor:
    """A_i = (R_i - mean_g) / (std_g + epsilon), [Q, G] (Shao et al. 2024).

    `scale` "none" leaves out the division (Dr. GRPO), "batch" divides by the deviation of all judged answers of the
    batch. `unbiased` divides squares by n - 1 (TRL), else by n. A group of equal rewards gets 0, whatever the rounding.
    """
    there, values, count = _present(rewards)
    centred = torch.where(there & has_spread(rewards)[:, None], values - _mean(values, count), 0.0)
    if scale == "none":
        return centred
    if scale == "group":
        variance = centred.square().sum(-1, keepdim=True) / (count - int(unbiased)).clamp_min(1)
    else:
        variance = Moments.of(rewards[there]).variance(unbiased=unbiased).to(rewards.dtype)
    deviation = variance.sqrt() + epsilon
    return centred / torch.where(deviation > 0, deviation, 1.0)


@torch.no_grad()
def has_spread(rewards: Tensor) -> Tensor:
    """bool [Q]: groups that teach something. The others have equal rewards, or fewer than two verdicts."""
    there = ~rewards.isnan()
    highest = torch.where(there, rewards, -torch.inf).amax(-1)
    lowest = torch.where(there, rewards, torch.inf).amin(-1)
    return highest > lowest


@torch.no_grad()
def group_win_rate(beats: Tensor) -> Tensor:
    """Mean chance to beat the others of the group: [Q, G, G] with entry i, j = P(i is better than j), NaN where it was
    not asked -> [Q, G], NaN for an answer that was never compared. The diagonal is not read.
    """
    own = torch.eye(beats.shape[-1], dtype=torch.bool, device=beats.device)
    return beats.masked_fill(own, torch.nan).nanmean(-1)


@torch.no_grad()
def gae(
    rewards: Tensor, values: Tensor, ragged: Ragged, *, gamma: float | Tensor = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) and the value's targets, two [N]:

        delta_t = r_t + gamma_t V_{t+1} - V_t;  A_t = delta_t + gamma_t lam A_{t+1};  returns = A + V

    V_t is read before token t, and is 0 after the row's end. `gamma` may be [N]: gamma_t discounts what comes after
    token t, so that a turn may cost and a token not. Rows may be turns of an episode instead: then [N] are turns.
    """
    return (advantages := _backwards(rewards, values, ragged, gamma, lam)), advantages + values


@torch.no_grad()
def returns_to_go(rewards: Tensor, ragged: Ragged, *, gamma: float | Tensor = 1.0) -> Tensor:
    """G_t = r_t + gamma_t G_{t+1}, [N]: what is still to come, this token's reward included."""
    return _backwards(rewards, torch.zeros_like(rewards), ragged, gamma, 1.0)


@dataclass(frozen=True)
class Moments:
    """Count, sum and sum of squares of a batch, float64; those of several processes add up."""

    count: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor, mask: Tensor | None = None) -> Moments:
        """Of the values where `mask` holds."""
        live = (values if mask is None else values[mask]).detach().double()
        return cls(torch.tensor(float(live.numel()), dtype=torch.float64), live.sum(), live.square().sum())

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> Tensor:
        """0 of nothing."""
        return self.total / self.count.clamp_min(1)

    @property
    def mean_square(self) -> Tensor:
        """Around zero."""
        return self.squares / self.count.clamp_min(1)

    def variance(self, *, unbiased: bool = True) -> Tensor:
        """Around the mean; 0 of fewer than two values."""
        spread = (self.squares - self.total * self.mean).clamp_min(0)
        return spread / (self.count - int(unbiased)).clamp_min(1)


@torch.no_grad()
def whiten(
    values: Tensor,
    *,
    mask: Tensor | None = None,
    how: Whitening = "full",
    unbiased: bool = True,
    epsilon: float = 1e-8,
    moments: Moments | None = None,
) -> Tensor:
    """(A - mean) / sqrt(var + epsilon) over the masked tokens of the whole step, 0 elsewhere; [N].

    "keep_mean" puts the mean back (Fine-Grained RLHF's rewards). "scale" divides by the root of the mean square and
    moves nothing: a batch of poor answers then gives no praise to tokens nobody marked. `moments` are the whole step's,
    when it is spread over processes or micro-batches.
    """
    moments = moments or Moments.of(values, mask)
    if how == "scale":
        changed = values / (moments.mean_square + epsilon).sqrt().to(values.dtype)
    else:
        mean = moments.mean.to(values.dtype)
        changed = (values - mean) / (moments.variance(unbiased=unbiased) + epsilon).sqrt().to(values.dtype)
        if how == "keep_mean":
            changed = changed + mean
    return changed if mask is None else torch.where(mask, changed, 0.0)


def _backwards(rewards: Tensor, values: Tensor, ragged: Ragged, gamma: float | Tensor, lam: float) -> Tensor:
    """A_t = r_t + gamma_t V_{t+1} - V_t + gamma_t lam A_{t+1}, all rows at once, from the last column to the first."""
    discount = gamma.to(rewards.dtype) if isinstance(gamma, Tensor) else torch.full_like(rewards, gamma)
    r, v, g = ragged.padded(rewards), ragged.padded(values), ragged.padded(discount)  # right of a row's end all is 0
    found = torch.zeros_like(r)
    advantage = later = torch.zeros(ragged.rows, dtype=rewards.dtype, device=rewards.device)
    for column in reversed(range(r.shape[1])):
        delta = r[:, column] + g[:, column] * later - v[:, column]
        advantage = delta + g[:, column] * lam * advantage
        later = v[:, column]
        found[:, column] = advantage
    return ragged.flat(found)


def _present(rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which are there, their values (0 for the others), how many there are in each group [Q, 1]."""
    there = ~rewards.isnan()
    return there, torch.where(there, rewards, 0.0), there.sum(-1, keepdim=True)


def _mean(values: Tensor, count: Tensor) -> Tensor:
    return values.sum(-1, keepdim=True) / count.clamp_min(1)
