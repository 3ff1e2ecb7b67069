"""A decoder layer of the Llama kind over a forest, forward and backward written out as one node of the graph.

    m = x + o(attention(rotated q, rotated k, v of norm(x)));   m + down(silu(gate(n)) * up(n)) with n = norm(m)

Every projection may carry an adapter: y = x W^T + s (x A^T) B^T (LoRA, Hu et al. 2022, eq. 3). Only the adapters and x
get gradients. What is cheap to make is not kept for backward: the results of the norms and the product that `down`
reads are made again; low-rank parts and residuals are summed within the matrix products. Of the last layer only what
is read is computed behind the attention.

Llama (Touvron et al. 2023), Mistral, Qwen2 and Qwen3 (which norms each head's q and k) are built like this; whatever is
not this plain case goes the model's own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from training.engine import lean
from training.engine.attention import blocks_backward, blocks_forward, narrowed
from training.engine.forest import Forest
from training.engine.lean import (
    Norm,
    Part,
    inverse_rms,
    norm_back,
    norm_of,
    of_adapter,
    of_input,
    part_of,
    product,
)

ATTENTIONS = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def make_lean_layers(model: nn.Module) -> None:
    """Let all decoder layers of this kind compute this way, where a call allows it."""
    for module in model.modules():
        if _is_plain_layer(module):
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
            module.narrow_at = None  # type: ignore[assignment]  # places behind the attention that are read; None: all


@dataclass(frozen=True)
class Layer:
    """All that a layer is made of, for one call."""

    before: Norm
    q: Part
    k: Part
    v: Part
    o: Part
    of_q: Norm | None
    of_k: Norm | None
    behind: Norm
    gate: Part
    up: Part
    down: Part
    width: int  # of a head
    scaling: float

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.q, self.k, self.v, self.o, self.gate, self.up, self.down)


def _forward(
    self: Any,
    hidden_states: Tensor,
    *args: Any,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    past_key_values: Any = None,
    forest: Forest | None = None,
    **kwargs: Any,
) -> Tensor:
    plain = None
    if not args and forest is not None and past_key_values is None and position_embeddings is not None:
        plain = _layer_of(self, hidden_states, position_embeddings[0])
    if plain is not None and position_embeddings is not None:
        adapters = [one for part in plain.parts for one in (part.down, part.up)]
        cos, sin = position_embeddings
        found: Tensor = _Whole.apply(  # type: ignore[no-untyped-call]
            hidden_states[0], cos[0], sin[0], forest, plain, self.narrow_at, *adapters
        )
        return found[None]
    if forest is not None:
        kwargs["forest"] = forest
    given = {"position_embeddings": position_embeddings, "past_key_values": past_key_values, **kwargs}
    if self.narrow_at is None or args:
        result: Tensor = type(self).forward(self, hidden_states, *args, **given)
        return result
    return narrowed(self, hidden_states, self.narrow_at, **given)


class _Whole(torch.autograd.Function):
    """states [T, D] -> [T, D], or [len(at), D] at these places. `adapters`: down and up of every part, in its order."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        cos: Tensor,
        sin: Tensor,
        forest: Forest,
        layer: Layer,
        at: Tensor | None,
        *adapters: Tensor | None,
    ) -> Tensor:
        heads = (len(states), -1, layer.width)
        inverse = inverse_rms(states, layer.before)
        normed = lean.normed(states, inverse, layer.before)
        (q, low_q), (k, low_k), (v, low_v) = (product(normed, part) for part in (layer.q, layer.k, layer.v))
        q, k, v = q.view(heads), k.view(heads), v.view(heads)
        raw: list[Tensor] = []  # q and k before their own norms
        if layer.of_q is not None and layer.of_k is not None:
            raw = [q, k, inverse_rms(q, layer.of_q), inverse_rms(k, layer.of_k)]
            q, k = lean.normed(q, raw[2], layer.of_q), lean.normed(k, raw[3], layer.of_k)
        q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
        attended, sums = blocks_forward(*_as_attention(q, k, v), forest, layer.scaling)
        read = attended[0].flatten(1)
        middle = states
        if at is not None:
            read, middle = read.index_select(0, at), states.index_select(0, at)
        middle, low_o = product(read, layer.o, onto=middle)
        inverse_m = inverse_rms(middle, layer.behind)
        normed = lean.normed(middle, inverse_m, layer.behind)
        (gate, low_g), (up, low_u) = product(normed, layer.gate), product(normed, layer.up)
        result, low_d = product(nn.functional.silu(gate).mul_(up), layer.down, onto=middle)
        ctx.layer, ctx.forest, ctx.at = layer, forest, at
        ctx.save_for_backward(
            *(states, inverse, q, k, v, attended, sums, middle, inverse_m, gate, up, cos, sin),
            *(low_q, low_k, low_v, low_o, low_g, low_u, low_d),
            *raw,
        )
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        layer, at = ctx.layer, ctx.at
        states, inverse, q, k, v, attended, sums, middle, inverse_m, gate, up, cos, sin, *more = ctx.saved_tensors
        low_q, low_k, low_v, low_o, low_g, low_u, low_d, *raw = more

        # the gated MLP
        on = nn.functional.silu(gate)
        of_low, *of_down = of_adapter(grad, on * up, low_d, layer.down)
        of_inner = of_input(grad, of_low, layer.down)
        of_up_states = on.mul_(of_inner)
        of_gate_states = torch.ops.aten.silu_backward(of_inner.mul_(up), gate)
        normed = lean.normed(middle, inverse_m, layer.behind)
        of_low, *of_gate = of_adapter(of_gate_states, normed, low_g, layer.gate)
        of_normed = of_input(of_gate_states, of_low, layer.gate)
        of_low, *of_up = of_adapter(of_up_states, normed, low_u, layer.up)
        of_normed = of_input(of_up_states, of_low, layer.up, onto=of_normed)
        of_middle = norm_back(of_normed, middle, inverse_m, layer.behind).add_(grad)

        # the attention
        read = attended[0].flatten(1)
        of_low, *of_o = of_adapter(of_middle, read if at is None else read.index_select(0, at), low_o, layer.o)
        of_read = of_input(of_middle, of_low, layer.o)
        of_states = of_middle
        if at is not None:
            of_states = torch.zeros_like(states).index_add_(0, at, of_middle)
            of_read = torch.zeros_like(read).index_add_(0, at, of_read)
        of_heads = blocks_backward(
            of_read.view(attended.shape), *_as_attention(q, k, v), attended, sums, ctx.forest, layer.scaling
        )
        of_q, of_k, of_v = (_as_heads(one, like) for one, like in zip(of_heads, (q, k, v), strict=True))
        of_q, of_k = _rotated(of_q, cos, -sin), _rotated(of_k, cos, -sin)
        if raw and layer.of_q is not None and layer.of_k is not None:
            of_q = norm_back(of_q, raw[0], raw[2], layer.of_q)
            of_k = norm_back(of_k, raw[1], raw[3], layer.of_k)
        normed = lean.normed(states, inverse, layer.before)
        onto = torch.zeros_like(states) if ctx.needs_input_grad[0] else None
        found: list[Tensor | None] = []
        for of, low, part in ((of_q, low_q, layer.q), (of_k, low_k, layer.k), (of_v, low_v, layer.v)):
            of_low, *of_part = of_adapter(of.flatten(1), normed, low, part)
            found += of_part
            if onto is not None:
                onto = of_input(of.flatten(1), of_low, part, onto=onto)
        adapters = (*found, *of_o, *of_gate, *of_up, *of_down)
        if onto is None:
            return None, None, None, None, None, None, *adapters
        return norm_back(onto, states, inverse, layer.before).add_(of_states), None, None, None, None, None, *adapters


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[T, H, d] turned by its positions' angles (RoFormer, Su et al. 2021), the halves of d being the two coordinates;
    cos and sin [T, d] hold every angle twice. `-sin` turns back.
    """
    half = heads.shape[-1] // 2
    turned = heads * cos[:, None]
    turned[..., :half].addcmul_(heads[..., half:], sin[:, None, :half], value=-1)
    turned[..., half:].addcmul_(heads[..., :half], sin[:, None, half:])
    return turned


def _as_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[T, H, d] and [T, K, d] twice -> all [1, H, T, d]."""
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    return q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None]


def _as_heads(grad: Tensor, like: Tensor) -> Tensor:
    """Back from [1, H, T, d] to the shape of `like` [T, K, d]: repeated heads are summed."""
    found = grad[0].transpose(0, 1)
    if found.shape[1] != like.shape[1]:
        found = found.reshape(len(like), like.shape[1], -1, like.shape[2]).sum(2)
    return found.contiguous()


# --- is it the plain case?


def _is_plain_layer(module: nn.Module) -> bool:
    children = dict(module.named_children())
    if set(children) != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
        return False
    attention = children["self_attn"]
    return (
        type(attention).__name__ in ATTENTIONS
        and {name for name, _ in attention.named_children()} in ({*PROJECTIONS}, {*PROJECTIONS, "q_norm", "k_norm"})
        and lean.is_gated(children["mlp"])
        and lean.is_norm(children["input_layernorm"])
        and lean.is_norm(children["post_attention_layernorm"])
    )


def _layer_of(module: Any, states: Tensor, cos: Tensor) -> Layer | None:
    """What the layer is made of, or None where this call is not the plain case."""
    attention, mlp = module.self_attn, module.mlp
    if (
        states.device.type != "cpu"
        or states.dtype != torch.float32
        or len(states) != 1
        or cos.shape[-1] != attention.head_dim
        or (attention.attention_dropout and attention.training)
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    before, behind = norm_of(module.input_layernorm), norm_of(module.post_attention_layernorm)
    own = [norm_of(getattr(attention, name)) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
    parts = [part_of(getattr(attention, name), states) for name in PROJECTIONS]
    parts += [part_of(getattr(mlp, name), states) for name in lean.GATED]
    there = [part for part in parts if part is not None]
    if before is None or behind is None or None in own or len(there) < len(parts):
        return None
    of_q, of_k = own or (None, None)
    q, k, v, o, gate, up, down = there
    return Layer(before, q, k, v, o, of_q, of_k, behind, gate, up, down, attention.head_dim, attention.scaling)
