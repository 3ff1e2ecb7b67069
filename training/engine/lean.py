"""Layers in fewer passes over memory, and with less kept for backward.

Adapted linear layers: y = x W^T + s (x A^T) B^T (LoRA, Hu et al. 2022, eq. 3).

An adapter library adds the low-rank part as tensors of the layer's full width: made, scaled, added, and the same again
in backward. Here both parts are summed within the matrix products. Whatever is not this plain case (dropout at work,
several active adapters, merged weights, a base that is trained or in another precision) goes the library's own way.

Gated MLPs: y = down(silu(gate(x)) * up(x)) keeps gate(x) and up(x) and makes silu again in backward, which is cheap.
Norms: y = w x / rms(x) (RMSNorm, Zhang and Sennrich 2019, eq. 4) with its gradient written out, half as many passes.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from transformers.activations import SiLUActivation


def make_lean(model: nn.Module) -> None:
    """Let all adapted linear layers, gated MLPs and plain norms of the model compute this way, where they can."""
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
        elif {name for name, _ in module.named_children()} == GATED and isinstance(
            module.act_fn, nn.SiLU | SiLUActivation
        ):
            module.forward = MethodType(_gated, module)  # type: ignore[method-assign]
        elif type(module).__name__ in NORMS and set(vars(module)["_parameters"]) == {"weight"}:
            module.forward = MethodType(_normed, module)  # type: ignore[method-assign]


NORMS = ("LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "MistralRMSNorm")  # of this very formula; Gemma's differs
GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}  # what a gated MLP is made of, and nothing else


class _Product(torch.autograd.Function):
    """[..., in] -> [..., out]; gradients for the input and the adapter, never for the frozen weight."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        flat = states.reshape(-1, states.shape[-1])
        low = flat @ down.t()
        result = nn.functional.linear(flat, weight, bias).addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scale = scale
        return result.view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        flat, low, weight, down, up = ctx.saved_tensors
        shape = grad.shape[:-1]
        grad = grad.reshape(-1, grad.shape[-1])
        of_states = of_down = of_up = None
        of_low = (grad @ up).mul_(ctx.scale)
        if ctx.needs_input_grad[4]:
            of_up = (grad.t() @ low).mul_(ctx.scale)
        if ctx.needs_input_grad[3]:
            of_down = of_low.t() @ flat
        if ctx.needs_input_grad[0]:
            of_states = (grad @ weight).addmm_(of_low, down).view(*shape, -1)
        return of_states, None, None, of_down, of_up, None


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    base = self.base_layer
    if not args and not kwargs and not self.merged:
        if self.disable_adapters:
            return base(x)  # type: ignore[no-any-return]
        active = [adapter for adapter in self.active_adapters if adapter in self.lora_A]
        if len(active) == 1 and _plain(self, base, active[0], x):
            down, up = self.lora_A[active[0]].weight, self.lora_B[active[0]].weight
            result: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
                x, base.weight, base.bias, down, up, self.scaling[active[0]]
            )
            return result
    return Linear.forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]


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


class _Norm(torch.autograd.Function):
    """w x / sqrt(mean(x^2) + eps) over the last axis, float32; no gradient for w."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inverse = torch.linalg.vecdot(states, states).div_(states.shape[-1]).add_(epsilon).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(states, weight, inverse)
        return (states * inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        states, weight, inverse = ctx.saved_tensors
        of_states = grad * weight
        along = torch.linalg.vecdot(of_states, states).unsqueeze(-1) * inverse.pow(3) / states.shape[-1]
        return of_states.mul_(inverse).addcmul_(states, along, value=-1), None, None


def _normed(self: Any, hidden_states: Tensor) -> Tensor:
    if hidden_states.dtype != torch.float32 or self.weight.dtype != torch.float32 or self.weight.requires_grad:
        return type(self).forward(self, hidden_states)  # type: ignore[no-any-return]
    found: Tensor = _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
    return found


def _plain(module: Any, base: nn.Linear, adapter: str, x: Tensor) -> bool:
    dropout, down, up = module.lora_dropout[adapter], module.lora_A[adapter], module.lora_B[adapter]
    return (
        adapter not in module.lora_variant
        and not module.lora_bias.get(adapter)
        and (isinstance(dropout, nn.Identity) or not dropout.training or dropout.p == 0)
        and not any(one is not None and one.requires_grad for one in (base.weight, base.bias))
        and base.weight.dtype == down.weight.dtype == up.weight.dtype == x.dtype
        and not torch.is_autocast_enabled(x.device.type)
    )
