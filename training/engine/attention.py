"""Attention over a forest: one layout, three back ends, and a check on first use that they say what the model says.

On a CPU each block of the layout is one call of torch's own flash kernel, without any mask; what a query gets from
several blocks is merged by their log-sum-exps, and the backward pass gives every block the merged output, as ring
attention does (Liu et al. 2023, arXiv 2310.01889). On a GPU FlexAttention gets the forest as its mask. Everywhere
else, and for what those two cannot do, scaled_dot_product_attention gets the mask as a tensor.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.engine.forest import Forest

NAME = "redpen"  # of our implementation, among transformers'
UNSEEN = torch.empty(1, 1, 1, 1)  # a mask of four dimensions is passed on by transformers as it is; we never look at it
TOLERANCE = 1e-3  # relative, of hidden states and gradients on first use; a wrong mask is off by far more

log = logging.getLogger("redpen.engine")
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_checked: weakref.WeakKeyDictionary[nn.Module, dict[str, bool]] = weakref.WeakKeyDictionary()


def run_backbone(model: Any, pack: Any, at: Tensor) -> Tensor | None:
    """The last hidden states at places of a pack's stream [len(at), D] by way of the forest, or None where this model
    needs the plain path.

    `model` is the causal language model itself, out of any wrapping; `pack` a `packs.Pack`.
    """
    window = _window(model.config)
    if not takes_forests(model, pack.ids.device) or (window is not None and pack.forest.longest > window):
        return None
    return _forward(model, pack, at)


def takes_forests(model: Any, device: torch.device) -> bool:
    """Whether this model gives the same hidden states and gradients on a forest as row by row; asked once a model and
    kind of device.
    """
    verdicts = _checked.setdefault(model, {})
    if device.type not in verdicts:
        verdicts[device.type] = False  # while it is being found out, and if that fails
        reason = _why_not(model, device)
        verdicts[device.type] = reason is None
        if reason is not None:
            log.warning(
                "%s is computed row by row, with padding and without shared prompts: %s", type(model).__name__, reason
            )
    return verdicts[device.type]


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    forest: Forest | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' interface: query [1, H, T, d], key and value [1, K, T, d] -> [1, T, H, d]. Without a forest it is
    their own SDPA.
    """
    if forest is None:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    if kwargs.get("softcap") is not None:
        raise NotImplementedError("its attention caps its scores")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if query.is_cuda and not dropout:
        return _flex(query, key, value, forest, scale), None
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    if query.device.type == "cpu" and not dropout and value.shape[-1] == query.shape[-1]:
        merged: Tensor = _Blocks.apply(query, key, value, forest, scale)  # type: ignore[no-untyped-call]
        return merged, None
    mask = forest.mask(device=query.device)
    dense = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale)
    return dense.transpose(1, 2), None


class _Blocks(torch.autograd.Function):
    """softmax(q k^T) v over the blocks of a forest; all [1, H, T, d], the result [1, T, H, d]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float) -> Tensor:
        output, sums = blocks_forward(query, key, value, forest, scale)
        ctx.save_for_backward(query, key, value, output, sums)
        ctx.forest, ctx.scale = forest, scale
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, output, sums = ctx.saved_tensors
        return *blocks_backward(grad, query, key, value, output, sums, ctx.forest, ctx.scale), None, None


def blocks_forward(query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(q k^T) v over the blocks of a forest, on a CPU; all [1, H, T, d]. Gives the result [1, T, H, d] and the
    log-sum-exp of every query [1, T, H].
    """
    output = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    sums = query.new_empty(1, query.shape[2], query.shape[1], dtype=exact)
    for block in forest.blocks:
        (q0, q1), (k0, k1) = block.queries, block.keys
        found, total = _flash(query[:, :, q0:q1], key[:, :, k0:k1], value[:, :, k0:k1], 0.0, block.causal, scale=scale)
        found, total = found.transpose(1, 2), total.transpose(1, 2)
        if block.causal:  # comes first, once for every query
            output[:, q0:q1], sums[:, q0:q1] = found, total
            continue
        before = sums[:, q0:q1]
        merged = torch.logaddexp(before, total)
        kept = torch.exp(before - merged)[..., None].to(output.dtype)
        output[:, q0:q1].mul_(kept).addcmul_(found, 1 - kept)
        sums[:, q0:q1] = merged
    return output, sums


def blocks_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    sums: Tensor,
    forest: Forest,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for query, key and value [1, H, T, d], of the one for the result [1, T, H, d]."""
    output, sums, grad = output.transpose(1, 2), sums.transpose(1, 2), grad.transpose(1, 2)
    of_query, of_key, of_value = (torch.empty_like(one) for one in (query, key, value))
    for block in forest.blocks:
        (q0, q1), (k0, k1) = block.queries, block.keys
        found = _flash_backward(
            grad[:, :, q0:q1],
            query[:, :, q0:q1],
            key[:, :, k0:k1],
            value[:, :, k0:k1],
            output[:, :, q0:q1],
            sums[:, :, q0:q1],
            0.0,
            block.causal,
            scale=scale,
        )
        parts = (of_query[:, :, q0:q1], of_key[:, :, k0:k1], of_value[:, :, k0:k1])
        for part, one in zip(parts, found, strict=True):
            if block.causal:
                part.copy_(one)
            else:
                part.add_(one)
    return of_query, of_key, of_value


def _flex(query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float) -> Tensor:
    """FlexAttention with the forest as its mask. Unproven until it has run on a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask

    masks: dict[torch.device, Any] = forest.__dict__.setdefault("_block_masks", {})
    if query.device not in masks:
        reaches = forest.reaches().to(query.device)

        def seen(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k <= q) & (q < reaches[k])

        masks[query.device] = create_block_mask(seen, None, None, forest.tokens, forest.tokens, device=query.device)
    found: Tensor = _compiled_flex()(
        query, key, value, block_mask=masks[query.device], scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return found.transpose(1, 2)


_compiled: list[Callable[..., Any]] = []


def _compiled_flex() -> Callable[..., Any]:
    if not _compiled:
        from torch.nn.attention.flex_attention import flex_attention

        _compiled.append(torch.compile(flex_attention, dynamic=True))
    return _compiled[0]


def _forward(model: Any, pack: Any, at: Tensor) -> Tensor:
    decoder = model.get_decoder()
    with _narrow_at_the_end(decoder, at) as narrow:
        output = decoder(
            input_ids=pack.ids,
            attention_mask=UNSEEN,
            position_ids=pack.positions,
            use_cache=False,
            forest=pack.forest,
        )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden if narrow else hidden.index_select(0, at)


@contextmanager
def _narrow_at_the_end(decoder: Any, at: Tensor) -> Iterator[bool]:
    """The last layer's MLP is computed at these places only: nobody reads its other results. Where the layer is not of
    the common kind (attention and MLP, each behind a norm, each added to its input), or is computed again in backward,
    nothing is changed and False is given.
    """
    layer = decoder.layers[-1] if len(getattr(decoder, "layers", ())) else None
    kind = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
    if (
        layer is None
        or {name for name, _ in layer.named_children()} != kind
        or getattr(decoder, "gradient_checkpointing", False)
        or ("forward" in vars(layer) and not hasattr(layer, "narrow_at"))
    ):
        yield False
    elif hasattr(layer, "narrow_at"):  # one of `layers`
        layer.narrow_at = at
        try:
            yield True
        finally:
            layer.narrow_at = None
    else:
        layer.forward = lambda hidden_states, **kwargs: narrowed(layer, hidden_states, at, **kwargs)
        try:
            yield True
        finally:
            del layer.forward


def narrowed(layer: Any, hidden_states: Tensor, at: Tensor, **kwargs: Any) -> Tensor:
    """What a layer of the common kind makes at these places, [1, len(at), D]."""
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
    kept = (hidden_states + attended).index_select(1, at)
    found: Tensor = kept + layer.mlp(layer.post_attention_layernorm(kept))
    return found


def plain_forward(model: Any, pack: Any, at: Tensor) -> Tensor:
    """The last hidden states at places of the pack's stream [len(at), D], computed row by row in a padded rectangle."""
    rectangle = pack.rectangle
    output = model.get_decoder()(input_ids=rectangle.ids, position_ids=rectangle.positions, use_cache=False)
    hidden: Tensor = output.last_hidden_state
    return hidden.flatten(0, 1).index_select(0, rectangle.home.index_select(0, at))


def _why_not(model: Any, device: torch.device) -> str | None:
    """Try a small forest both ways; the reason why it cannot be used, or None. Leaves every RNG as it was."""
    from training.engine.packs import Row, lay_out

    kind = getattr(model.config, "_attn_implementation", None)
    if kind not in ("sdpa", NAME):
        return f"its attention is {kind}, not SDPA"
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.randint(vocabulary, (40,), generator=generator).tolist()
    prompt, answer = ids[:12], ids[12:24]
    tails = [answer, answer[:6], [*answer[:5], *ids[24:31]], ids[31:38]]  # one is the beginning of another
    rows = [
        Row(str(number), [*prompt, *tail], [False] * len(prompt) + [True] * len(tail))
        for number, tail in enumerate(tails)
    ]
    pack = lay_out([rows, Row("alone", ids[24:], [False] * 16)], device=device)
    everywhere = torch.arange(pack.forest.tokens - 1, -1, -1, device=device)
    training, parameters = model.training, [one for one in model.parameters() if one.requires_grad]
    model.eval()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            plain = _probe(model, parameters, lambda: plain_forward(model, pack, everywhere))
            model.set_attn_implementation(NAME)
            packed = _probe(model, parameters, lambda: _forward(model, pack, everywhere))
    except Exception as error:  # whatever an architecture does not take, the plain path takes
        model.set_attn_implementation("sdpa")
        return f"{type(error).__name__}: {error}"
    finally:
        model.train(training)
    worst = max(float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)) for ours, theirs in _zip(packed, plain))
    tolerance = TOLERANCE if next(model.parameters()).dtype in (torch.float32, torch.float64) else 0.05
    if not worst <= tolerance:
        model.set_attn_implementation("sdpa")
        return f"on a forest it differs from itself by {worst:.2g} of its values"
    return None


def _probe(model: Any, parameters: list[nn.Parameter], forward: Callable[[], Tensor]) -> list[Tensor]:
    """Hidden states and, where something is trained, the gradients of a fixed sum of them."""
    hidden = forward()
    found = [hidden.detach().float()]
    if parameters and hidden.requires_grad:
        weights = torch.linspace(-1, 1, hidden.numel(), device=hidden.device, dtype=hidden.dtype).view_as(hidden)
        grads = torch.autograd.grad((hidden * weights).sum(), parameters, allow_unused=True)
        found.append(torch.cat([grad.detach().float().flatten() for grad in grads if grad is not None]))
    return found


def _zip(left: list[Tensor], right: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(a, b) for a, b in zip(left, right, strict=True) if a.numel()]


def _window(config: Any) -> int | None:
    """How far the narrowest layer looks back, where one does."""
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    if kinds is None and not getattr(config, "use_sliding_window", True):
        return None
    return int(window)


AttentionInterface.register(NAME, attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
