"""Log-probabilities of completions, without ever building [batch, length, vocabulary].

The rows of the trained tokens are selected before the head; the head is *called*, chunk by chunk, never read: so a
bias, a soft cap, a scaling or an adapter on it count. The log-sum-exp is float32.

Where nothing in the head is trained, the gradient of each log-probability to its hidden state is formed at once, while
the chunk's logits are there (d log p_y / d z = onehot(y) - softmax(z)): the backward pass only scales it by what the
objective asks of each token, and no logits are made a second time. A head that is trained is recomputed in backward.

A plain frozen head on a CPU is not even called in chunks of tokens. That gradient, W_y - sum_v softmax(h W^T)_v W_v,
has the form of attention with h as query and W as keys and values, so it is summed over blocks of the vocabulary with
a running maximum (Milakov and Gimelshein 2018, arXiv 1805.02867): a block's scores stay in the cache, and are all
that there is of logits.
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
WORDS = 1024  # of the vocabulary whose scores exist at one time, for all tokens of a pack, where the head is plain

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
    bonus = entropy == "differentiable"
    if not trained and (scale := _plain_scale(model, head, hidden)) is not None:
        values, spread = _Streamed.apply(  # type: ignore[no-untyped-call]
            hidden, pack.token_ids, head.weight, scale / temperature, bool(entropy), bonus
        )
        return TokenLogprobs(values, spread if entropy else None)
    if torch.is_grad_enabled() and (trained or (bonus and hidden.requires_grad)):
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


class _Streamed(torch.autograd.Function):
    """The same for a head that is nothing but scores = scale * h W^T, W [V, D], over blocks of the vocabulary.

    With log p_v = scores_v - L the entropy is L - sum_v p_v scores_v; its slope in scores_v: -p_v (log p_v + entropy).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, tokens: Tensor, weight: Tensor, scale: float, entropy: bool, bonus: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.wanted, ctx.scale, ctx.bonus = ctx.needs_input_grad[0], scale, bonus and ctx.needs_input_grad[0]
        states = hidden.detach() * scale
        sums = _Sums(states, mean=ctx.wanted or entropy, second=ctx.bonus)
        for rows in weight.detach().split(WORDS):
            sums.add(rows)
        total, chosen = sums.total, weight.detach().index_select(0, tokens)
        values = torch.linalg.vecdot(states, chosen) - total
        spread = values.new_empty(0)
        if sums.mean is not None:
            sums.mean.div_(sums.mass)
            if entropy:
                spread = total - torch.linalg.vecdot(states, sums.mean)
        slopes = []
        if ctx.wanted and sums.mean is not None:
            slopes.append(chosen.sub_(sums.mean))
            if sums.second is not None:
                slopes.append((sums.mean * (total - spread)[:, None]).sub_(sums.second.div_(sums.mass)))
        if not ctx.bonus:
            ctx.mark_non_differentiable(spread)
        ctx.save_for_backward(*slopes)
        return values, spread

    @staticmethod
    def backward(ctx: Any, grad: Tensor, of_entropy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        slopes = ctx.saved_tensors
        found = slopes[0] * grad[:, None]
        if ctx.bonus:
            found.addcmul_(slopes[1], of_entropy[:, None])
        return found.mul_(ctx.scale), None, None, None, None, None


class _Sums:
    """For N tokens, over the vocabulary, block by block: sums of e_v = exp(scores_v - highest), and of e_v W_v and
    e_v scores_v W_v.
    """

    def __init__(self, states: Tensor, *, mean: bool, second: bool) -> None:
        self.states = states
        self.highest = states.new_full((len(states), 1), -torch.inf)
        self.mass = states.new_zeros(len(states), 1)  # sum of exp(score - highest)
        self.mean = torch.zeros_like(states) if mean else None
        self.second = torch.zeros_like(states) if second else None
        self.block = states.new_empty(len(states), WORDS)

    def add(self, rows: Tensor) -> None:
        """The next rows of W [B, D]."""
        scores = self.block if len(rows) == WORDS else self.block.new_empty(len(self.block), len(rows))
        torch.mm(self.states, rows.t(), out=scores)
        highest = torch.maximum(self.highest, scores.amax(-1, keepdim=True))
        kept = self.highest.sub_(highest).exp_()
        self.highest = highest
        share = scores.sub_(highest).exp_() if self.second is None else (scores - highest).exp_()
        self.mass.mul_(kept).add_(share.sum(-1, keepdim=True))
        if self.mean is not None:
            self.mean.mul_(kept).addmm_(share, rows)
        if self.second is not None:
            self.second.mul_(kept).addmm_(share.mul_(scores), rows)

    @property
    def total(self) -> Tensor:
        """log sum_v exp(scores_v), [N]."""
        return self.highest[:, 0] + self.mass[:, 0].log()


def _plain_scale(model: nn.Module, head: nn.Module, hidden: Tensor) -> float | None:
    """What the plain product with the head's weight is multiplied by, or None where scores are more than that, or a GPU
    or half precision does better with whole chunks.
    """
    config = causal_model(model).config
    if (
        type(head) is not nn.Linear
        or getattr(head, "bias", None) is not None
        or head._forward_hooks
        or head._forward_pre_hooks
        or "forward" in vars(head)
        or hidden.device.type != "cpu"
        or hidden.dtype not in (torch.float32, torch.float64)
        or head.weight.dtype != hidden.dtype
        or getattr(config, "final_logit_softcapping", None) is not None
    ):
        return None
    scale = 1.0 if (found := getattr(config, "logit_scale", None)) is None else float(found)
    divisor = getattr(config, "logits_scaling", None)
    return scale if divisor is None else scale / float(divisor)


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
