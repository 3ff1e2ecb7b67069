"""A head on a frozen base, fitted to the end instead of in steps: its linear layer, by L-BFGS, with a penalty on its
weights that cross-validation chooses.

    min over W, b:   loss(Z W + b) + penalty / 2 * |W|^2        Z: inputs, centred, each part of a fixed size

With some hundred answers what decides is how far the weights are held back. The problem is convex, so that neither seed
nor learning rate nor order of the answers says anything; and the states of a frozen base are known, so that it takes
seconds. The result is folded into the head: it reads, saves and loads like one that learned in steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.engine.heads import TokenHead
from training.engine.objectives import Loss

PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5)  # tried from the strongest
SIZES: Mapping[str, float] = {"token": 0.5, "sentence": 1.0, "phrase": 1.0, "evidence": 1.0}  # of a part's mean norm
WORSE = 2  # so many weaker penalties in a row that held-out answers say are worse, and the search ends
ITERATIONS = 40

Objective = Callable[[Tensor, Tensor], Loss]  # scores [N, outputs], targets [N, outputs]


@dataclass(frozen=True)
class Example:
    """An answer whose states are known."""

    group: Hashable  # its prompt: answers to one prompt are held out together
    inputs: Tensor  # float32 [tokens, F]: what the head's linear layer reads
    targets: Tensor  # float32 [tokens, outputs]

    def of(self, outputs: slice) -> Example:
        """The same with the targets of some outputs only."""
        return replace(self, targets=self.targets[:, outputs])


@dataclass(frozen=True)
class Tried:
    """A penalty and the loss of held-out answers with it."""

    penalty: float
    loss: float


def choose_penalty(
    head: TokenHead,
    examples: Sequence[Example],
    objective: Objective,
    *,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 4,
    seed: int = 0,
) -> Iterator[Tried]:
    """Try penalties from the strongest to the weakest; the best of what comes is to be taken (`best`).
    Raises ValueError where all answers are to one prompt.
    """
    parts = [(_Problem(head, rest, objective), held) for rest, held in _folds(examples, folds, seed)]
    if not parts:
        raise ValueError("Nothing can be held out of answers to one prompt.")
    lowest, worse = float("inf"), 0
    for penalty in sorted(penalties, reverse=True):
        total = count = 0.0
        for problem, held in parts:
            problem.solve(penalty)
            loss = problem.measure(held)
            total, count = total + float(loss.total), count + float(loss.count)
        tried = Tried(penalty, total / count)
        yield tried
        worse = worse + 1 if tried.loss >= lowest else 0
        lowest = min(lowest, tried.loss)
        if worse >= WORSE:
            return


def best(tried: Sequence[Tried]) -> Tried:
    """The one whose held-out loss is lowest; of equal ones the strongest."""
    return min(tried, key=lambda one: (one.loss, -one.penalty))


def fit(
    head: TokenHead,
    examples: Sequence[Example],
    objective: Objective,
    *,
    penalty: float,
    outputs: slice = slice(None),
) -> float:
    """Put the best weights under this penalty into the head, or into those of its `outputs` that the examples' targets
    are of; returns the loss of what was learned from.
    """
    problem = _Problem(head, examples, objective)
    for stronger in sorted((one for one in PENALTIES if one > penalty), reverse=True)[-1:]:
        problem.solve(stronger)
    problem.solve(penalty)
    weight, bias = problem.of_raw()
    with torch.no_grad():
        head.linear.weight[outputs] = weight
        head.linear.bias[outputs] = bias
    loss = problem.measure(examples)
    return float(loss.total) / max(float(loss.count), 1e-12)


class _Problem:
    """The weights for some answers, each penalty's solution being where the next one starts."""

    def __init__(self, head: TokenHead, examples: Sequence[Example], objective: Objective) -> None:
        self.objective = objective
        raw = torch.cat([example.inputs for example in examples])
        self.targets = torch.cat([example.targets for example in examples])
        self.centre = raw.mean(0)
        self.stretch = torch.ones_like(self.centre)
        self.inputs = raw.sub_(self.centre)
        at = 0
        for part, width in head.parts.items():
            norm = self.inputs[:, at : at + width].square().sum(1).mean().sqrt()
            self.stretch[at : at + width] = SIZES[part] / norm.clamp_min(1e-6)
            at += width
        self.inputs.mul_(self.stretch)
        outputs = self.targets.shape[1]
        self.weight = torch.zeros(outputs, raw.shape[1], device=raw.device, requires_grad=True)
        self.bias = torch.zeros(outputs, device=raw.device, requires_grad=True)

    def solve(self, penalty: float) -> None:
        """Go on to the least loss under a penalty."""
        optimizer = torch.optim.LBFGS(
            [self.weight, self.bias],
            max_iter=ITERATIONS,
            tolerance_grad=1e-5,
            tolerance_change=1e-7,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.objective(torch.nn.functional.linear(self.inputs, self.weight, self.bias), self.targets)
            value = loss.total / loss.count + penalty / 2 * self.weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(closure)  # type: ignore[no-untyped-call, arg-type]

    def of_raw(self) -> tuple[Tensor, Tensor]:
        """Weights and biases for inputs as the head makes them."""
        weight = self.weight.detach() * self.stretch
        return weight, self.bias.detach() - weight @ self.centre

    def measure(self, examples: Sequence[Example]) -> Loss:
        """The objective, without the penalty, on some answers."""
        weight, bias = self.of_raw()
        inputs = torch.cat([example.inputs for example in examples])
        targets = torch.cat([example.targets for example in examples])
        with torch.no_grad():
            return self.objective(torch.nn.functional.linear(inputs, weight, bias), targets)


def _folds(examples: Sequence[Example], folds: int, seed: int) -> Iterator[tuple[list[Example], list[Example]]]:
    """(learned from, held out) of each fold; a group is held out as one."""
    names = list(dict.fromkeys(example.group for example in examples))
    random.Random(seed).shuffle(names)
    fold_of = {name: place % folds for place, name in enumerate(names)}
    for fold in range(min(folds, len(names))):
        held = [example for example in examples if fold_of[example.group] == fold]
        rest = [example for example in examples if fold_of[example.group] != fold]
        if held and rest:
            yield rest, held
