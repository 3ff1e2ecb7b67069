"""What an objective returns, and the three ways of dividing what tokens give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.engine.ragged import Ragged


@dataclass(frozen=True)
class Loss:
    """`total` is summed over what `count` counts; metrics are detached sums, divided by the same count when they are
    read.
    """

    total: Tensor
    count: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_examples(cls, values: Tensor, *, weights: Tensor | None = None, **metrics: Tensor) -> Loss:
        """From one value for each example, [E], counted by their weights (1 each by default)."""
        if weights is None:
            weights = torch.ones_like(values, requires_grad=False)
        weights = weights.detach().to(values.dtype)
        return cls(
            _weighted(values, weights),
            weights.sum(),
            {name: _weighted(value.detach().to(values.dtype), weights) for name, value in metrics.items()},
        )

    def plus(self, other: Loss, *, weight: float = 1.0, exchange: float | Tensor = 1.0) -> Loss:
        """This loss with `weight` times another, over this one's count.

        Where the two count different things (pairs and tokens), `exchange` is the whole step's count of this one over
        the whole step's count of the other: known before the first micro-batch, or the split would change the loss.
        """
        metrics = {name: value * exchange for name, value in other.metrics.items()}
        return Loss(self.total + weight * exchange * other.total, self.count, {**metrics, **self.metrics})


def over_tokens(values: Tensor, *, mask: Tensor | None = None, metrics: Mapping[str, Tensor] | None = None) -> Loss:
    """Every token alike, sum_t m_t l_t over sum_t m_t of the whole step: long rows weigh more. [N]."""
    return Loss.of_examples(values, weights=mask, **(metrics or {}))


def over_rows(
    values: Tensor, ragged: Ragged, *, mask: Tensor | None = None, metrics: Mapping[str, Tensor] | None = None
) -> Loss:
    """Every row alike, the mean over rows of (sum_t m_t l_t / sum_t m_t): tokens of long rows weigh less. [N].

    A row whose tokens are all masked is not counted.
    """
    by_row = {name: ragged.mean(value, mask) for name, value in (metrics or {}).items()}
    return Loss.of_examples(ragged.mean(values, mask), weights=ragged.lengths(mask) > 0, **by_row)


def over_length(
    values: Tensor,
    ragged: Ragged,
    *,
    length: float,
    mask: Tensor | None = None,
    metrics: Mapping[str, Tensor] | None = None,
) -> Loss:
    """Every row's sum over one constant `length`, sum_t m_t l_t / (rows * length): no length is favoured. [N].

    A row whose tokens are all masked is not counted. Metrics stay means of rows.
    """
    rows = over_rows(values, ragged, mask=mask, metrics=metrics)
    return Loss(
        ragged.sum(values, mask).sum(),
        rows.count * length,
        {name: value * length for name, value in rows.metrics.items()},
    )


def masked(mask: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors with 0 where `mask` [N] does not hold: what stands there (an environment's NaN) reaches neither the
    loss nor a gradient.
    """
    return tensors if mask is None else tuple(torch.where(mask, tensor, 0) for tensor in tensors)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    return (torch.where(weights != 0, values, 0) * weights).sum()
