"""Log-probabilities of completions, without ever building [batch, length, vocabulary].

The rows of the trained tokens are selected before the head; the head is *called*, chunk by chunk, never read: so a
bias, a soft cap, a scaling or an adapter on it count. The log-sum-exp is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.engine import attention
from training.engine.packs import Pack

CHUNK = 512  # trained tokens whose logits exist at one time


@dataclass(frozen=True)
class TokenLogprobs:
    """Of the N trained tokens of a pack, in its order."""

    values: Tensor  # float32 [N]
    entropy: Tensor | None  # float32 [N], of the whole next-token distribution, nats


def hidden_states(model: nn.Module, pack: Pack, *, at: Tensor) -> Tensor:
    """The backbone's last hidden states at places of the pack's stream, [len(at), D]."""
    causal = causal_model(model)
    hidden = attention.run_backbone(causal, pack)
    if hidden is None:
        hidden = attention.plain_forward(causal, pack)
    return hidden.index_select(0, at)


def completion_logprobs(
    model: nn.Module, pack: Pack, *, temperature: float = 1.0, entropy: bool = False, chunk: int = CHUNK
) -> TokenLogprobs:
    """log p of each trained token given all that stands before it, at the sampler's `temperature`."""
    hidden = hidden_states(model, pack, at=pack.before)
    logits = logits_of(model)
    recompute = torch.is_grad_enabled() and hidden.requires_grad
    values, entropies = [], []

    def of_chunk(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits(states).float() / temperature
        total = torch.logsumexp(scores, dim=-1)
        chosen = scores.gather(-1, targets[:, None])[:, 0] - total
        spread = total - (scores.softmax(-1) * scores).sum(-1) if entropy else total.new_zeros(())
        return chosen, spread

    for start in range(0, len(pack.token_ids), chunk):
        states, targets = hidden[start : start + chunk], pack.token_ids[start : start + chunk]
        if recompute:  # the logits of a chunk are made again in backward rather than kept
            chosen, spread = checkpoint(of_chunk, states, targets, use_reentrant=False)
        else:
            chosen, spread = of_chunk(states, targets)
        values.append(chosen)
        entropies.append(spread)
    if not values:
        empty = hidden.new_zeros(0, dtype=torch.float32)
        return TokenLogprobs(empty, empty if entropy else None)
    return TokenLogprobs(torch.cat(values), torch.cat(entropies) if entropy else None)


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
