"""From logits to tokens: each row is drawn with one number of its own, by inverting the distribution.

The sum over the vocabulary is made in two levels: first over blocks, then within the block that the number falls in.
So one pass in float32 is enough, and only a few hundred numbers a row are summed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.engine.rollouts.sampling import Sampling

BLOCK = 256  # tokens summed together
RANKED = 256  # likeliest tokens that are looked at first for top_p
BELOW = 1 - 1e-12  # keeps a number that was rounded up to the whole mass inside it


@dataclass(frozen=True)
class Drawn:
    """For R rows."""

    tokens: Tensor  # int64 [R]
    logprobs: Tensor  # float32 [R], of the distribution that was drawn from
    full: Tensor | None  # float32 [R], before top_p and top_k, where they cut


def draw(scores: Tensor, numbers: Tensor, sampling: Sampling) -> Drawn:
    """Tokens and their log-probabilities from logits [R, V] and one number in [0, 1) for each row, float64 [R]."""
    scores = scores.float()
    if sampling.temperature == 0:
        chosen = scores.argmax(-1)
        return Drawn(chosen, _log_of(scores.softmax(-1), chosen), None)
    likely = (scores if sampling.temperature == 1 else scores / sampling.temperature).softmax(-1)
    if sampling.truncated:
        return _draw_truncated(likely, numbers, sampling)
    chosen = _invert_in_blocks(likely, numbers)
    return Drawn(chosen, _log_of(likely, chosen), None)


def _log_of(likely: Tensor, chosen: Tensor) -> Tensor:
    return likely.gather(-1, chosen[:, None])[:, 0].log()


def _invert_in_blocks(likely: Tensor, numbers: Tensor) -> Tensor:
    words = likely.shape[1]
    whole = words // BLOCK * BLOCK
    sums = likely[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1)
    if whole < words:
        sums = torch.cat([sums, likely[:, whole:].sum(-1, keepdim=True)], 1)
    sums = sums.double()
    mass = sums.cumsum(-1)
    target = numbers[:, None] * mass[:, -1:] * BELOW
    block = torch.searchsorted(mass, target, right=True).clamp_max(sums.shape[1] - 1)
    share = (target - (mass.gather(1, block) - sums.gather(1, block))) / sums.gather(1, block)
    places = block * BLOCK + torch.arange(BLOCK, device=likely.device)
    inside = likely.gather(1, places.clamp_max(words - 1)).double().masked_fill(places >= words, 0)
    return places.gather(1, _invert(inside, share)[:, None])[:, 0]


def _draw_truncated(likely: Tensor, numbers: Tensor, sampling: Sampling) -> Drawn:
    words = likely.shape[1]
    width = min(sampling.top_k or RANKED, words)
    while True:
        ranked, order = likely.topk(width, dim=-1)
        exact = ranked.double()
        kept = (exact.cumsum(-1) - exact) < sampling.top_p
        if sampling.top_k or width == words or not bool(kept[:, -1].any()):
            break
        width = min(8 * width, words)
    exact = exact.masked_fill(~kept, 0)
    place = _invert(exact, numbers[:, None])
    full = _log_of(ranked, place)
    return Drawn(order.gather(1, place[:, None])[:, 0], full - exact.sum(-1).log().float(), full)


def _invert(masses: Tensor, share: Tensor) -> Tensor:
    """Where the sum of `masses` (float64 [R, W]) passes `share` [R, 1] of the whole; never a place of mass 0."""
    running = masses.cumsum(-1)
    target = share.clamp(0, 1) * running[:, -1:] * BELOW
    return torch.searchsorted(running, target, right=True)[:, 0].clamp_max(masses.shape[1] - 1)
