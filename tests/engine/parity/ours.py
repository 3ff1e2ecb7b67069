"""Our side: the engine as the recipes use it, over units that share prompts, in one micro-batch or in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.parity.peer import Step, gradients_of
from tests.engine.parity.start import RANK, Start, put_adapter
from training.engine.logprobs import completion_logprobs
from training.engine.loop import Loop
from training.engine.objectives import Loss, PairLogprobs
from training.engine.packs import Pack, Unit, micro_batches
from training.engine.policy import Lora, Policy

# Token budgets that give one micro-batch of everything, and several.
BUDGETS = (4096, 128)


def make_policy(start: Start, *, parent: bool = False) -> Policy:
    """The saved adapter on the base; its reference is the base, or with `parent` the other adapter."""
    lora = Lora(rank=RANK)
    policy = Policy.load(start.base, lora=lora, parent=start.other if parent else None)
    put_adapter(policy.model, start.adapter)
    policy.model.train()
    return policy


def step(
    policy: Policy, units: Sequence[Unit], objective: Callable[[Pack], Loss], *, tokens: int, head: Any = None
) -> Step:
    """One optimiser step at a learning rate of 0, without clipping: its loss and gradients."""
    heads = list(head.parameters()) if head is not None else []
    loop = Loop([*policy.parameters, *heads], lr=0.0, steps=1, schedule="constant", warmup=0.0, clip=0.0)
    found = Step()

    def take(*_: Any) -> None:
        found.gradients.update(gradients_of(policy.model))
        if head is not None:
            found.gradients["score.weight"] = head.linear.weight.grad.clone()

    loop.optimizer.register_step_pre_hook(take)
    loop.forward_backward(micro_batches(units, tokens=tokens), objective)
    found.loss = loop.optim_step()["loss"]
    return found


def logprobs(policy: Policy, pack: Pack, *, temperature: float = 1.0) -> Tensor:
    return completion_logprobs(policy.model, pack, temperature=temperature).values


def reference_logprobs(policy: Policy, pack: Pack, *, temperature: float = 1.0) -> Tensor:
    with policy.as_reference() as model:
        return completion_logprobs(model, pack, temperature=temperature).values


def pairs(pack: Pack, values: Tensor) -> PairLogprobs:
    """Of a pack whose units are pairs, the chosen row first."""
    units = torch.tensor(pack.units)
    return PairLogprobs.of(values, pack.ragged, chosen=units[:, 0], rejected=units[:, 1])


def assert_same(ours: Step, theirs: Step, *, rtol: float = 1e-4, scale: float = 1.0) -> None:
    """Loss and every gradient, elementwise; what is far below a tensor's own size counts as rounding.

    `scale`: what their gradients and loss are to be multiplied by first.
    """
    assert ours.gradients.keys() == theirs.gradients.keys()
    assert ours.loss == pytest.approx(scale * theirs.loss, rel=rtol, abs=1e-7)
    sizes = []
    for name, theirs_of in theirs.gradients.items():
        expected, found = scale * theirs_of, ours.gradients[name]
        size = float(expected.abs().max())
        sizes.append(size)
        assert torch.allclose(found, expected, rtol=rtol, atol=rtol * 0.1 * size), (
            f"{name}: {float((found - expected).abs().max()):.3g} apart at {size:.3g}"
        )
    assert max(sizes) > 1e-4  # there is something to compare
