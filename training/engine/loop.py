"""The plain loop: micro-batches by token budget, one global denominator a step, clipping, a schedule, a guard against
NaN.

`forward_backward` and `optim_step` are the only places of training that touch the device's gradients. Objectives
return totals; gradients are summed over micro-batches and processes and divided once, by the count of the whole step,
so that what is learned does not depend on how the rows were split.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import nn

from training.engine import distributed
from training.engine.objectives import Loss
from training.engine.packs import Pack

Schedule = Literal["constant", "linear", "cosine"]
Item = TypeVar("Item")
TOTAL, COUNT = "=total", "=count"  # names that no metric has


class NotFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite; the message names the rows."""


class Loop:
    """An optimiser over some parameters for a known number of steps.

    With accelerate's `accelerator` this process joins the others that it stands for, unless it has done so already
    (`distributed.join`, which must come before a model is placed in shards).
    """

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
        accelerator: Any = None,
    ) -> None:
        groups: list[Any] = list(parameters)
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=_on_gpu(groups))
        self.processes = distributed.join(accelerator) if accelerator is not None else distributed.here()
        self.processes.start_alike(self.trained)
        self._peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._share = partial(rate_at, steps=steps, warmup=round(warmup * steps), schedule=schedule)
        self.clip = clip
        self.step = 0
        self.steps = steps
        self._total = 0.0
        self._count = 0.0
        self._metrics: dict[str, float] = {}
        self._rows: list[str] = []
        self.warnings: list[str] = []  # what people should hear of the steps so far; whoever says it clears it

    @property
    def trained(self) -> list[nn.Parameter]:
        """All parameters of the optimiser."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def forward_backward(self, packs: Iterable[Pack], objective: Callable[[Pack], Loss]) -> None:
        """Add the gradients of `objective` over `packs` to the step's; may be called several times before
        `optim_step`.
        """
        for pack, counts in self._equalised(packs):
            loss = objective(pack)
            if not counts:
                (loss.total * 0).backward()  # type: ignore[no-untyped-call]
                continue
            total = float(loss.total.detach())
            if not math.isfinite(total):
                names = _names([row.name for row in pack.rows])
                raise NotFinite(f"The loss is {total} at step {self.step + 1} for {names}.")
            if loss.total.requires_grad:
                loss.total.backward()  # type: ignore[no-untyped-call]
            self._total += total
            self._count += float(loss.count)
            self._rows.extend(row.name for row in pack.rows)
            for name, value in loss.metrics.items():
                self._metrics[name] = self._metrics.get(name, 0.0) + float(value)

    def _equalised(self, packs: Iterable[Pack]) -> Iterator[tuple[Pack, bool]]:
        """The packs, each with True; where layers are spread over processes, followed by as many with False as it takes
        for all processes to have computed equally often.
        """
        if not self.processes.sharded:
            yield from ((pack, True) for pack in packs)
            return
        own = list(packs)
        numbers = self.processes.gather(len(own))
        spare = own[:1]
        if 0 in numbers:
            spare = [pack for pack in self.processes.gather(own[0] if own else None) if pack is not None][:1]
        yield from ((pack, True) for pack in own)
        yield from ((pack, False) for pack in spare * (max(numbers) - len(own)))

    def optim_step(self) -> dict[str, float]:
        """Divide by the step's whole count, clip, step; return the step's figures. A step that counts nothing changes
        nothing, which is said in `warnings`.
        """
        rows = self._rows
        sums = self.processes.sums({**self._metrics, TOTAL: self._total, COUNT: self._count})
        total, count = sums.pop(TOTAL), sums.pop(COUNT)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._share(self.step)
        values = {"loss": total / count if count else 0.0, "lr": float(self.optimizer.param_groups[0]["lr"])}
        values |= {name: value / count if count else 0.0 for name, value in sums.items()}
        self._total, self._count, self._metrics, self._rows = 0.0, 0.0, {}, []
        if count:
            trained = self.trained
            self.processes.sum_gradients(trained)
            for parameter in trained:
                if parameter.grad is not None:
                    parameter.grad.div_(count)
            norm = distributed.clip(trained, self.clip if self.clip > 0 else math.inf)
            if not math.isfinite(norm):
                raise NotFinite(f"The gradient's norm is {norm} at step {self.step + 1} for {_names(rows)}.")
            values["grad_norm"] = norm
            self.optimizer.step()
        else:
            self.warnings.append(
                f"Step {self.step + 1} had nothing to learn from and changed nothing: {_names(rows) or 'no rows'}."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return values

    def so_far(self) -> dict[str, float]:
        """The figures of the step that is being computed, over all processes, as `optim_step` would give them now: to
        decide whether the step is to be taken. Empty where nothing was counted.
        """
        sums = self.processes.sums({**self._metrics, TOTAL: self._total, COUNT: self._count})
        total, count = sums.pop(TOTAL), sums.pop(COUNT)
        return {"loss": total / count, **{name: value / count for name, value in sums.items()}} if count else {}

    def skip_step(self, why: str) -> dict[str, float]:
        """Forget what `forward_backward` gave and learn nothing; the place in the schedule goes on. `why` is said in
        `warnings`. Returns the step's figures.
        """
        values = self.so_far()
        values["lr"] = self._peaks[0] * self._share(self.step)
        self._total, self._count, self._metrics, self._rows = 0.0, 0.0, {}, []
        self.optimizer.zero_grad(set_to_none=True)
        self.warnings.append(f"Step {self.step + 1} was skipped and changed nothing: {why}")
        self.step += 1
        return values

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's moments and the place in the schedule. To be taken between two steps, by all processes."""
        return {"step": self.step, "optimizer": distributed.whole(self.optimizer.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        optimizer = dict(state["optimizer"])
        optimizer["state"] = {
            number: {name: distributed.like(value, self.trained[number]) for name, value in moments.items()}
            for number, moments in optimizer["state"].items()
        }
        self.optimizer.load_state_dict(optimizer)
        self.step = int(state["step"])


def rate_at(step: int, *, steps: int, warmup: int, schedule: Schedule) -> float:
    """The share of the peak learning rate used in step number `step` (from 0)."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    left = 1.0 - (step - warmup) / max(1, steps - warmup)
    return max(0.0, left if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left)))


class Batches(Generic[Item]):
    """The items of each step, in an order of chance from `seed`, and how far one has come: a cursor.

    With `epochs` every epoch is an order of its own, all items once, its last batch perhaps smaller. With `steps` there
    are that many batches of `size` (or of all items, if those are fewer), and none comes again before all have come.
    Iterating goes on from the cursor; what iteration has handed out counts as done.
    """

    def __init__(
        self, items: Sequence[Item], *, size: int, epochs: int | None = None, steps: int | None = None, seed: int = 0
    ) -> None:
        if (epochs is None) == (steps is None):
            raise ValueError("Batches need either epochs or steps.")
        self.items = items
        self.size = max(1, size if epochs is not None else min(size, len(items)))
        self.seed = seed
        self.position = 0
        self._per_epoch = math.ceil(len(items) / self.size)
        self._by_epoch = epochs is not None
        self._length = self._per_epoch * epochs if epochs is not None else (steps or 0) if items else 0
        self._orders: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> list[Item]:
        """The batch of one step, from 0."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self._by_epoch:
            epoch, start = number // self._per_epoch, number % self._per_epoch * self.size
            return [self.items[place] for place in self._order(epoch)[start : start + self.size]]
        epoch, start = divmod(number * self.size, len(self.items))
        chosen = self._order(epoch)[start : start + self.size]
        if missing := self.size - len(chosen):
            chosen = chosen + self._order(epoch + 1)[:missing]
        return [self.items[place] for place in chosen]

    def __iter__(self) -> Iterator[list[Item]]:
        while self.position < len(self):
            self.position += 1
            yield self[self.position - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "items": len(self.items), "size": self.size, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken; raise ValueError when those were other batches."""
        own = {**self.state_dict(), "position": state["position"]}
        if own != dict(state):
            raise ValueError(f"The batches are not those of the checkpoint: {own} now, {dict(state)} then.")
        self.position = int(state["position"])

    def _order(self, epoch: int) -> list[int]:
        """The order of an epoch. Where a batch crosses into it, its first are those that the batch does not hold."""
        if epoch not in self._orders:
            order = list(range(len(self.items)))
            random.Random(f"{self.seed}-{epoch}").shuffle(order)
            if not self._by_epoch and epoch and (rest := epoch * len(self.items) % self.size):
                before = set(self._order(epoch - 1)[-rest:])
                order = [one for one in order if one not in before] + [one for one in order if one in before]
            self._orders[epoch] = order
        return self._orders[epoch]


def batches(rows: Sequence[Item], *, size: int, epochs: int, seed: int) -> Iterator[list[Item]]:
    """`Batches` by epochs, for those who need no cursor."""
    return iter(Batches(rows, size=size, epochs=epochs, seed=seed))


def steps_of(rows: int, *, size: int, epochs: int) -> int:
    """How many batches `batches` will give."""
    return math.ceil(rows / size) * epochs


def _on_gpu(groups: list[Any]) -> bool | None:
    """Whether one kernel can take the whole step; None leaves torch its own choice."""
    parameters = [one for group in groups for one in (group["params"] if isinstance(group, dict) else [group])]
    return True if parameters and all(one.is_cuda for one in parameters) else None


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
