"""A model that reads two answers at once and says which is better."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from training.engine.objectives.loss import Loss


def antisymmetric(
    forwards: Tensor, backwards: Tensor, preferred: Tensor | float = 1.0, *, weights: Tensor | None = None
) -> Loss:
    """BCE(sigmoid(s), y), s = (z(a, b) - z(b, a)) / 2: which of two answers stands first in the model's input says
    nothing (pairwise preference model; SPO, arXiv 2401.04056, needs P(a, b) = -P(b, a)).

    `forwards` z(a, b), `backwards` z(b, a), both [P]. `preferred` y is the probability that a is the better one: 0.5
    for a tie. Unlike Bradley-Terry's, s need not be a difference of two scores, so it can hold circles. Counts pairs
    (their weights).
    """
    scores = (forwards - backwards) / 2
    truth = scores.new_zeros(scores.shape) + preferred
    values = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    right = ((scores > 0) == (truth > 0.5)) & (truth != 0.5)
    swapped = forwards * backwards > 0  # the same place wins whichever answer stands in it
    return Loss.of_examples(values, weights=weights, accuracy=right, order_swap=swapped)
