"""Classification of tokens, segments and whole answers, from a head's scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from training.engine.objectives.loss import Loss


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


def one_of(scores: Tensor, targets: Tensor, *, class_weights: Sequence[float] | None = None) -> Loss:
    """One class of C for each token, segment or answer: -sum_e w_y log softmax(scores_e)_y / sum_e w_y.

    `scores` [E, C]; `targets` int64 [E], negative where nobody judged. Counts judged examples (their class weights).
    """
    judged = targets >= 0
    known = targets.clamp_min(0)
    weights = judged.to(scores.dtype)
    if class_weights is not None:
        weights = weights * torch.tensor(class_weights, dtype=scores.dtype, device=scores.device)[known]
    values = -F.log_softmax(scores, dim=-1).gather(-1, known[:, None])[:, 0]
    return Loss.of_examples(values, weights=weights, accuracy=scores.argmax(-1) == known)


def any_of(
    scores: Tensor,
    targets: Tensor,
    *,
    judged: Tensor | None = None,
    positive_weights: Sequence[float] | None = None,
) -> Loss:
    """Any number of C labels for each example: binary cross-entropy of every judged label, each label alike.

    `scores` [E, C]; `targets` [E, C] in [0, 1]; `judged` bool [E, C] leaves out labels nobody was asked about;
    `positive_weights` [C] makes rare labels weigh more. Counts judged labels.
    """
    weights = None if positive_weights is None else torch.tensor(positive_weights, device=scores.device)
    values = F.binary_cross_entropy_with_logits(scores, targets, reduction="none", pos_weight=weights)
    right = (scores > 0) == (targets > 0.5)
    return Loss.of_examples(
        values.flatten(), weights=None if judged is None else judged.flatten(), accuracy=right.flatten()
    )
