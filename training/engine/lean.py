"""Layers in fewer passes over memory, and with less kept for backward.

Adapted linear layers: y = x W^T + s (x A^T) B^T (LoRA, Hu et al. 2022, eq. 3).

An adapter library adds the low-rank part as tensors of the layer's full width: made, scaled, added, and the same again
in backward. Here both parts are summed within the matrix products. Whatever is not this plain case (dropout at work,
several active adapters, merged weights, a base that is trained or in another precision) goes the library's own way.

Gated MLPs: y = down(silu(gate(x)) * up(x)) keeps gate(x) and up(x) and makes silu again in backward, which is cheap.
Norms: y = w x / rms(x) (RMSNorm, Zhang and Sennrich 2019, eq. 4) with its gradient written out, half as many passes.

These are the parts one by one, for every way in which a model is called; `layers` puts them together where whole rows
of a pack are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from transformers.activations import SiLUActivation

NORMS = ("LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "MistralRMSNorm")  # of this very formula; Gemma's differs
GATED = ("gate_proj", "up_proj", "down_proj")


def make_lean(model: nn.Module) -> None:
    """Let all adapted linear layers, gated MLPs and plain norms of the model compute this way, where they can."""
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
        elif is_gated(module):
            module.forward = MethodType(_gated, module)  # type: ignore[method-assign]
        elif is_norm(module):
            module.forward = MethodType(_normed, module)  # type: ignore[method-assign]


def is_gated(module: Any) -> bool:
    """Whether it is made as a gated MLP is, and of nothing else."""
    children = {name for name, _ in module.named_children()}
    return children == {*GATED, "act_fn"} and isinstance(module.act_fn, nn.SiLU | SiLUActivation)


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm of this formula."""
    return type(module).__name__ in NORMS and set(vars(module)["_parameters"]) == {"weight"}


# --- adapted products


@dataclass(frozen=True)
class Part:
    """A projection [in] -> [out]: frozen weight [out, in] and bias, and the adapter that is at work, if any."""

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None = None  # A [r, in]
    up: Tensor | None = None  # B [out, r]
    scale: float = 1.0


def part_of(module: Any, states: Tensor) -> Part | None:
    """The projection with the adapter that is at work, or None where it is more than that: dropout, several active
    adapters, merged weights, a base that is trained or in another precision.
    """
    base = module.base_layer if type(module) is Linear else module
    if type(base) is not nn.Linear or _watched(module) or _watched(base):
        return None
    frozen = [one for one in (base.weight, base.bias) if one is not None]
    if any(one.requires_grad for one in frozen) or base.weight.dtype != states.dtype:
        return None
    if base is module or module.disable_adapters:
        return None if base is not module and module.merged else Part(base.weight, base.bias)
    active = [adapter for adapter in module.active_adapters if adapter in module.lora_A]
    if module.merged or len(active) > 1:
        return None
    if not active:
        return Part(base.weight, base.bias)
    (adapter,) = active
    dropout, down, up = module.lora_dropout[adapter], module.lora_A[adapter].weight, module.lora_B[adapter].weight
    if (
        adapter in module.lora_variant
        or module.lora_bias.get(adapter)
        or not (isinstance(dropout, nn.Identity) or not dropout.training or dropout.p == 0)
        or down.dtype != states.dtype
        or up.dtype != states.dtype
    ):
        return None
    return Part(base.weight, base.bias, down, up, module.scaling[adapter])


def _watched(module: nn.Module) -> bool:
    """Whether somebody has hung a hook on it, which a product of matrices would not call."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def product(states: Tensor, part: Part, *, onto: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """x W^T + b + s (x A^T) B^T [T, out], added to `onto` where that is given, and x A^T [T, r]."""
    if onto is None:
        result = nn.functional.linear(states, part.weight, part.bias)
    else:
        result = torch.addmm(onto, states, part.weight.t())
        if part.bias is not None:
            result.add_(part.bias)
    if part.down is None or part.up is None:
        return result, None
    low = states @ part.down.t()
    return result.addmm_(low, part.up.t(), alpha=part.scale), low


def of_adapter(
    grad: Tensor, states: Tensor, low: Tensor | None, part: Part
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients for x A^T (what `of_input` needs), for A and for B, of the one for the product's result."""
    if low is None or part.down is None or part.up is None:
        return None, None, None
    of_low = (grad @ part.up).mul_(part.scale)
    of_down = of_low.t() @ states if part.down.requires_grad else None
    of_up = (grad.t() @ low).mul_(part.scale) if part.up.requires_grad else None
    return of_low, of_down, of_up


def of_input(grad: Tensor, of_low: Tensor | None, part: Part, *, onto: Tensor | None = None) -> Tensor:
    """The gradient for x, added to `onto` where that is given."""
    found = grad @ part.weight if onto is None else onto.addmm_(grad, part.weight)
    return found if of_low is None or part.down is None else found.addmm_(of_low, part.down)


class _Product(torch.autograd.Function):
    """[..., in] -> [..., out]; gradients for the input and the adapter, never for the frozen weight."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, part: Part, down: Tensor, up: Tensor) -> Tensor:
        flat = states.reshape(-1, states.shape[-1])
        result, low = product(flat, part)
        ctx.save_for_backward(flat, low, down, up)
        ctx.part = part
        return result.view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        flat, low, *_ = ctx.saved_tensors
        shape, grad = grad.shape[:-1], grad.reshape(-1, grad.shape[-1])
        of_low, of_down, of_up = of_adapter(grad, flat, low, ctx.part)
        of_states = of_input(grad, of_low, ctx.part).view(*shape, -1) if ctx.needs_input_grad[0] else None
        return of_states, None, of_down, of_up


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    part = None if args or kwargs else part_of(self, x)
    if part is None:
        return Linear.forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    if part.down is None:
        return self.base_layer(x)  # type: ignore[no-any-return]
    found: Tensor = _Product.apply(x, part, part.down, part.up)  # type: ignore[no-untyped-call]
    return found


# --- gated MLPs


class _Gate(torch.autograd.Function):
    """silu(gate) * up, both [..., inner]."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        of_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return of_gate, nn.functional.silu(gate).mul_(grad)


def _gated(self: Any, x: Tensor) -> Tensor:
    inner = _Gate.apply(self.gate_proj(x), self.up_proj(x))  # type: ignore[no-untyped-call]
    return self.down_proj(inner)  # type: ignore[no-any-return]


# --- norms


@dataclass(frozen=True)
class Norm:
    """w x / sqrt(mean(x^2) + eps) over the last axis, w frozen."""

    weight: Tensor
    epsilon: float


def norm_of(module: Any) -> Norm | None:
    """The norm's numbers, or None where they are trained or not float32."""
    weight = module.weight
    return None if weight.requires_grad or weight.dtype != torch.float32 else Norm(weight, module.variance_epsilon)


def inverse_rms(states: Tensor, norm: Norm) -> Tensor:
    """1 / sqrt(mean(x^2) + eps), [..., 1]."""
    return torch.linalg.vecdot(states, states).div_(states.shape[-1]).add_(norm.epsilon).rsqrt_().unsqueeze(-1)


def normed(states: Tensor, inverse: Tensor, norm: Norm) -> Tensor:
    """The norm of states, of which `inverse` is known."""
    return (states * inverse).mul_(norm.weight)


def norm_back(grad: Tensor, states: Tensor, inverse: Tensor, norm: Norm) -> Tensor:
    """The gradient for the norm's input; `grad` is used up."""
    of_states = grad.mul_(norm.weight)
    along = torch.linalg.vecdot(of_states, states).unsqueeze(-1) * inverse.pow(3) / states.shape[-1]
    return of_states.mul_(inverse).addcmul_(states, along, value=-1)


class _Norm(torch.autograd.Function):
    """The norm of float32 states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, norm: Norm) -> Tensor:
        inverse = inverse_rms(states, norm)
        ctx.save_for_backward(states, inverse)
        ctx.norm = norm
        return normed(states, inverse, norm)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, inverse = ctx.saved_tensors
        return norm_back(grad.clone(), states, inverse, ctx.norm), None


def _normed(self: Any, hidden_states: Tensor) -> Tensor:
    norm = norm_of(self)
    if norm is None or hidden_states.dtype != torch.float32:
        return type(self).forward(self, hidden_states)  # type: ignore[no-any-return]
    found: Tensor = _Norm.apply(hidden_states, norm)  # type: ignore[no-untyped-call]
    return found
