"""Objectives: pure functions on tensors that return a total and what it is to be divided by. The loop divides once.

Shapes: N trained tokens of a pack, B rows, C classes. No config, no logging, no `.item()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


@dataclass(frozen=True)
class Loss:
    """`total` is summed over what `count` counts; metrics are detached sums, divided by the same count when they are
    read.
    """

    total: Tensor
    count: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


def sft(logprobs: Tensor, *, weights: Tensor | None = None) -> Loss:
    """Likelihood of completions, nats a token: -sum_t w_t log p_t over the number of trained tokens of the whole
    step.
    """
    weighted = logprobs if weights is None else logprobs * weights
    count = torch.tensor(float(len(logprobs)), device=logprobs.device) if weights is None else weights.sum()
    return Loss(-weighted.sum(), count)


def token_classification(
    scores: Tensor,
    targets: Tensor,
    *,
    class_weights: Sequence[float] | None = None,
    label_weight: float = 1.0,
) -> Loss:
    """Sentiment and labels of tokens, from a head's scores [N, 3 + labels] and soft targets of the same shape.

    The first three outputs are bad, neutral, good: cross-entropy with soft targets, each class weighted by
    `class_weights` [3]; the others are labels, any number at once: binary cross-entropy, averaged over the labels.
    The count is the sum of the tokens' weights, so that balancing classes does not change the size of a step.
    """
    sentiment = targets[:, :3]
    if class_weights is not None:
        sentiment = sentiment * torch.tensor(class_weights, dtype=targets.dtype, device=targets.device)
    total = -(sentiment * F.log_softmax(scores[:, :3], dim=-1)).sum()
    count = sentiment.sum()
    right = ((scores[:, :3].argmax(-1) == targets[:, :3].argmax(-1)).float() * sentiment.sum(-1)).sum()
    if label_weight and scores.shape[1] > 3:
        of_labels = F.binary_cross_entropy_with_logits(scores[:, 3:], targets[:, 3:], reduction="none").mean(-1)
        total = total + label_weight * (of_labels * sentiment.sum(-1)).sum()
    return Loss(total, count.detach(), {"accuracy": right.detach()})
