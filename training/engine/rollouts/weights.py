"""A model made light for the time of sampling: adapters merged into copies of the weights, linear layers packed.

A decoding step multiplies a few rows by every weight once, so it is the weights' layout that counts. oneDNN packs a
weight once for its own kernel, which reads it up to 1.7 times as fast as the plain layout here (the wide output layer
most), and computes each row alike whoever else is in the batch. The model's own weights are never touched: modules
are put in the place of its linear layers and taken out again, so what is trained is the same bit for bit afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.engine.logprobs import causal_model

AT_MOST = 2 << 30  # bytes of copies; what does not fit stays as it is

log = logging.getLogger("redpen.engine")


@contextmanager
def light(model: Any, *, copies: bool = True) -> Iterator[None]:
    """`model` in evaluation mode and made light, without `copies` only the former; afterwards it is as it was."""
    causal = causal_model(model)
    training = model.training
    model.eval()
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        left = AT_MOST
        places = list(_linears(causal)) if copies else []
        places.sort(key=lambda place: place[2] is not causal.get_output_embeddings())  # the widest first
        for parent, name, module in places:
            made = _light(module, left)
            if made is not None:
                left -= made.bytes
                swapped.append((parent, name, module))
                parent._modules[name] = made
        yield
    finally:
        for parent, name, module in reversed(swapped):
            parent._modules[name] = module
        model.train(training)


class LightLinear(nn.Module):
    """y = x W^T + b with a weight of its own: [out, in], packed where this machine can."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bytes = weight.numel() * weight.element_size()
        self.bias = bias
        self.packed = _pack(weight)
        self.weight = weight if self.packed is None else None

    def forward(self, states: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.packed is None:
            assert self.weight is not None
            return nn.functional.linear(states, self.weight, self.bias)
        one = states.numel() == states.shape[-1]
        if one:  # a single row has a kernel of its own, with other roundings
            states = torch.cat([states.view(1, -1)] * 2).view(*states.shape[:-2], -1, states.shape[-1])
        found: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, "none", [], "")
        return found[..., :1, :] if one else found


def _linears(causal: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Parent, name and module of the linear layers, with or without an adapter; not those inside an adapter."""
    for name, child in causal.named_children():
        if type(child) is nn.Linear or _is_lora(child):
            yield causal, name, child
        else:
            yield from _linears(child)


def _is_lora(module: nn.Module) -> bool:
    from peft.tuners.lora.layer import Linear

    return type(module) is Linear and type(module.base_layer) is nn.Linear and not module.merged


@torch.no_grad()
def _light(module: Any, left: int) -> LightLinear | None:
    """A light twin, or None where the module must stay: too big, an adapter of another kind, nothing to gain."""
    linear = module if type(module) is nn.Linear else module.base_layer
    weight: Tensor = linear.weight
    if weight.numel() * weight.element_size() > left or weight.dtype != torch.float32:
        return None  # in half precision a merged weight would lose what little was learned
    merged = weight.detach()
    if module is not linear and not module.disable_adapters:
        for adapter in module.active_adapters:
            if adapter not in module.lora_A:
                continue
            if adapter in module.lora_variant or module.lora_bias.get(adapter):
                return None
            merged = merged + module.get_delta_weight(adapter)
    elif module is linear and not _can_pack(weight):
        return None
    return LightLinear(merged, None if linear.bias is None else linear.bias.detach())


def _pack(weight: Tensor) -> Tensor | None:
    if not _can_pack(weight):
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return packed


_packs: list[bool] = []


def _can_pack(weight: Tensor) -> bool:
    """Whether this machine has oneDNN's packed product (torch's compiler uses it; it is no public function), and it
    gives what the plain one gives.
    """
    if not _packs:
        try:
            generator = torch.Generator().manual_seed(0)
            left, right = torch.randn(5, 48, generator=generator), torch.randn(96, 48, generator=generator)
            packed = torch.ops.mkldnn._reorder_linear_weight(right)
            found = torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")
            _packs.append(bool(torch.allclose(found, left @ right.T, atol=1e-4)))
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            log.info("Weights are not packed for sampling: %s", error)
            _packs.append(False)
    return _packs[0] and weight.device.type == "cpu" and weight.dtype == torch.float32
