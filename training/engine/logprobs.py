"""Log-probabilities of completions, without ever building [batch, length, vocabulary].

The rows of the trained tokens are selected before the head; the head is *called*, chunk by chunk, never read: so a
bias, a soft cap, a scaling or an adapter on it count. The log-sum-exp is float32.

Where nothing in the head is trained, the gradient of each log-probability to its hidden state is formed at once, while
the chunk's logits are there (d log p_y / d z = onehot(y) - softmax(z)): the backward pass only scales it by what the
objective asks of each token, and no logits are made a second time. A head that is trained is recomputed in backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.engine import attention
from training.engine.packs import Pack

CHUNK = 64  # trained tokens whose logits exist at one time: few enough for a CPU's cache to hold them
ON_GPU = 2048  # the same where memory is fast and kernels are slow to start

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TokenLogprobs:
    """Of the N trained tokens of a pack, in its order."""

    values: Tensor  # float32 [N]
    entropy: Tensor | None  # float32 [N], of the whole next-token distribution, nats


def hidden_states(model: nn.Module, pack: Pack, *, at: Tensor) -> Tensor:
    """The backbone's last hidden states at places of the pack's stream, [len(at), D]."""
    causal = causal_model(model)
    hidden = attention.run_backbone(causal, pack, at)
    return attention.plain_forward(causal, pack, at) if hidden is None else hidden


def completion_logprobs(
    model: nn.Module,
    pack: Pack,
    *,
    temperature: float = 1.0,
    entropy: bool | Literal["differentiable"] = False,
    chunk: int | None = None,
    hidden: Tensor | None = None,
) -> TokenLogprobs:
    """log p of each trained token given all that stands before it, at the sampler's `temperature`.

    `entropy` True gives it as a figure, without a gradient; "differentiable" for a bonus in the loss. `hidden` [N, D]
    stands in for the backbone where its states at `pack.before` are known already.
    """
    if hidden is None:
        hidden = hidden_states(model, pack, at=pack.before)
    size = _even(len(pack.token_ids), chunk or (ON_GPU if hidden.is_cuda else CHUNK))
    logits = logits_of(model)
    head = causal_model(model).get_output_embeddings()
    trained = any(parameter.requires_grad for parameter in head.parameters())
    if torch.is_grad_enabled() and (trained or (entropy == "differentiable" and hidden.requires_grad)):
        return _recomputed(hidden, pack.token_ids, logits, temperature, bool(entropy), size)
    values, spread = _Formed.apply(  # type: ignore[no-untyped-call]
        hidden, pack.token_ids, logits, temperature, bool(entropy), size
    )
    return TokenLogprobs(values, spread if entropy else None)


class _Formed(torch.autograd.Function):
    """Hidden states [N, D] and tokens [N] -> their log-probs and the entropies, both float32 [N]; the gradient of the
    former is formed on the way, [N, D].
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, tokens: Tensor, logits: Logits, temperature: float, entropy: bool, size: int
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        exact = _exact(hidden)
        values = torch.empty(len(tokens), dtype=exact, device=hidden.device)
        spread = torch.empty_like(values) if entropy else values.new_empty(0)
        slopes = torch.empty_like(hidden) if wanted else None
        for start in range(0, len(tokens), size):
            part = slice(start, start + size)
            states, chosen = hidden[part].detach(), tokens[part, None]
            with torch.set_grad_enabled(wanted):
                raw = logits(states.requires_grad_(wanted))
            logs = _log_softmax(raw.detach().to(exact), temperature)
            values[part] = logs.gather(-1, chosen)[:, 0]
            if entropy:
                spread[part] = -torch.linalg.vecdot(logs.exp(), logs)
            if slopes is not None:
                logs.exp_().scatter_add_(-1, chosen, torch.full_like(chosen, -1.0, dtype=exact))  # softmax - onehot
                (slope,) = torch.autograd.grad(raw, states, logs.to(raw.dtype))
                slopes[part] = slope.mul_(-1 / temperature)
            del raw, logs  # before the next chunk's are made
        if slopes is not None:
            ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(spread)
        return values, spread

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (slopes,) = ctx.saved_tensors
        return slopes * grad[:, None].to(slopes.dtype), None, None, None, None, None


def _recomputed(
    hidden: Tensor, tokens: Tensor, logits: Logits, temperature: float, entropy: bool, size: int
) -> TokenLogprobs:
    exact = _exact(hidden)

    def of_chunk(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logs = _log_softmax(logits(states).to(exact), temperature)  # as `_Formed`: the same to the bit
        chosen = logs.gather(-1, targets[:, None])[:, 0]
        return chosen, -torch.linalg.vecdot(logs.exp(), logs) if entropy else chosen.new_zeros(len(targets))

    found = [  # the logits of a chunk are made again in backward rather than kept
        checkpoint(of_chunk, hidden[start : start + size], tokens[start : start + size], use_reentrant=False)
        for start in range(0, len(tokens), size)
    ]
    if not found:
        nothing = hidden.sum(-1).to(exact)
        return TokenLogprobs(nothing, nothing.detach() if entropy else None)
    values, spread = (torch.cat(parts) for parts in zip(*found, strict=True))
    return TokenLogprobs(values, spread if entropy else None)


def _even(tokens: int, size: int) -> int:
    """A chunk's size, at most `size`, such that no chunk is much smaller than the others."""
    return -(-tokens // -(-tokens // size)) if tokens else size


def _log_softmax(scores: Tensor, temperature: float) -> Tensor:
    return (scores if temperature == 1.0 else scores / temperature).log_softmax(-1)


def _exact(hidden: Tensor) -> torch.dtype:
    """What log-probabilities are computed in: float32 for every model that is used, float64 for one that tests."""
    return torch.promote_types(hidden.dtype, torch.float32)


def logits_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's own way from hidden states to logits, with what some architectures do after the head."""
    causal = causal_model(model)
    head = causal.get_output_embeddings()
    softcap = getattr(causal.config, "final_logit_softcapping", None)
    scale = getattr(causal.config, "logit_scale", None)
    divisor = getattr(causal.config, "logits_scaling", None)

    def compute(hidden: Tensor) -> Tensor:
        scores: Tensor = head(hidden)
        if scale is not None:
            scores = scores * scale
        if divisor is not None:
            scores = scores / divisor
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        return scores

    return compute


def causal_model(model: Any) -> Any:
    """The causal language model itself, out of an adapter's wrapping; adapters are injected in its layers and stay
    active.
    """
    return model.get_base_model() if hasattr(model, "get_base_model") else model
