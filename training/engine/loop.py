"""The plain loop: micro-batches by token budget, one global denominator a step, clipping, a schedule, a guard against
NaN.

`forward_backward` and `optim_step` are the only places of training that touch the device's gradients. Objectives
return totals; gradients are summed over micro-batches and divided once, by the count of the whole step, so that what
is learned does not depend on how the rows were split.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from training.engine.objectives import Loss
from training.engine.packs import Pack, Row

Schedule = Literal["constant", "linear", "cosine"]


class NotFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite; the message names the rows."""


class Loop:
    """An optimiser over some parameters for a known number of steps."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        steps: int,
        schedule: Schedule = "linear",
        warmup: float = 0.05,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
    ) -> None:
        groups: list[Any] = list(parameters)
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay)
        warm = round(warmup * steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_at(step, steps=steps, warmup=warm, schedule=schedule)
        )
        self.clip = clip
        self.step = 0
        self.steps = steps
        self._total = 0.0
        self._count = 0.0
        self._metrics: dict[str, float] = {}
        self._rows: list[str] = []

    @property
    def trained(self) -> list[nn.Parameter]:
        """All parameters of the optimiser."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def forward_backward(self, packs: Iterable[Pack], objective: Callable[[Pack], Loss]) -> None:
        """Add the gradients of `objective` over `packs` to the step's; may be called several times before
        `optim_step`.
        """
        for pack in packs:
            loss = objective(pack)
            total = float(loss.total.detach())
            if not math.isfinite(total):
                raise NotFinite(f"The loss is {total} at step {self.step + 1} for {_names(pack.rows)}.")
            if loss.total.requires_grad:
                loss.total.backward()  # type: ignore[no-untyped-call]
            self._total += total
            self._count += float(loss.count)
            self._rows.extend(row.name for row in pack.rows)
            for name, value in loss.metrics.items():
                self._metrics[name] = self._metrics.get(name, 0.0) + float(value)

    def optim_step(self) -> dict[str, float]:
        """Divide by the step's whole count, clip, step; return the step's figures. A step that counts nothing changes
        nothing.
        """
        count, rows = self._count, self._rows
        values = {"loss": self._total / count if count else 0.0, "lr": float(self.scheduler.get_last_lr()[0])}
        values |= {name: total / count if count else 0.0 for name, total in self._metrics.items()}
        self._total, self._count, self._metrics, self._rows = 0.0, 0.0, {}, []
        if count:
            for parameter in self.trained:
                if parameter.grad is not None:
                    parameter.grad.div_(count)
            norm = float(nn.utils.clip_grad_norm_(self.trained, self.clip if self.clip > 0 else math.inf))
            if not math.isfinite(norm):
                raise NotFinite(f"The gradient's norm is {norm} at step {self.step + 1}, over {len(rows)} rows.")
            values["grad_norm"] = norm
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.step += 1
        return values


def rate_at(step: int, *, steps: int, warmup: int, schedule: Schedule) -> float:
    """The share of the peak learning rate used in step number `step` (from 0)."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    left = 1.0 - (step - warmup) / max(1, steps - warmup)
    return max(0.0, left if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left)))


def batches(rows: Sequence[Row], *, size: int, epochs: int, seed: int) -> Iterator[list[Row]]:
    """The rows of each optimiser step: every epoch in an order of its own, all rows once, the last batch perhaps
    smaller.
    """
    for epoch in range(epochs):
        order = list(rows)
        random.Random(f"{seed}-{epoch}").shuffle(order)
        for start in range(0, len(order), size):
            yield order[start : start + size]


def steps_of(rows: int, *, size: int, epochs: int) -> int:
    """How many batches `batches` will give."""
    return math.ceil(rows / size) * epochs


def _names(rows: Sequence[Row]) -> str:
    names = [row.name for row in rows]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
