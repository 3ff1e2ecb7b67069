"""The attention of the sampler: all that is computed together is one stream of tokens, without padding or masks.

A prompt's keys and values are read once and kept once (`Prefix`). The answers that are drawn to it together are a
`Group`: each has keys and values of its own from where the prompt ends, all have the same length, and the queries of
all of them go over the prompt's in one product. What a query gets from the prompt and from its own answer is merged
by the log-sum-exps of the two, which is one softmax over both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import AttentionInterface

from training.engine.rollouts.sampling import Draft

NAME = "redpen_sampler"  # of our implementation, among transformers'
FIRST = 64  # tokens that a group has room for at first; the room doubles when it is full, up to what it can need
FEW = 4  # queries below this number have kernels of their own, with other roundings

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_stream: ContextVar[Stream] = ContextVar("stream")


@dataclass
class Prefix:
    """A prompt and what every layer made of it."""

    ids: Sequence[int]
    keys: dict[int, Tensor] = field(default_factory=dict)  # layer -> [1, K, L, d]
    values: dict[int, Tensor] = field(default_factory=dict)
    hidden: Tensor | None = None  # [D], of its last token

    def __len__(self) -> int:
        return len(self.ids)

    def attend(self, layer: int, query: Tensor, kv: Tensor, scale: float, window: int | None) -> Tensor:
        """Read it: query [H, L, d], kv [2, K, L, d] -> [H, L, d]."""
        keys, values = kv[:, None].contiguous()
        self.keys[layer], self.values[layer] = keys, values
        repeats = query.shape[0] // keys.shape[1]
        mask = None if window is None or len(self) <= window else _causal(len(self), len(self), window, query.device)
        return F.scaled_dot_product_attention(
            query[None],
            keys.repeat_interleave(repeats, 1),
            values.repeat_interleave(repeats, 1),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
        )[0]


@dataclass
class Group:
    """Answers to one prompt that were begun together: n of them, each with `length` tokens in the cache."""

    prefix: Prefix
    drafts: list[Draft]
    length: int = 0
    slabs: dict[int, Tensor] = field(default_factory=dict)  # layer -> [2, n, K, room, d]: keys and values

    def __len__(self) -> int:
        return len(self.drafts)

    @property
    def position(self) -> int:
        """Of the next token."""
        return len(self.prefix) + self.length

    def drop(self, place: int) -> None:
        """Take an answer out; the last one moves into its place."""
        last = len(self.drafts) - 1
        if place != last:
            self.drafts[place] = self.drafts[last]
            for slab in self.slabs.values():
                slab[:, place, :, : self.length] = slab[:, last, :, : self.length]
        self.drafts.pop()

    def part(self, place: int) -> Group:
        """One answer as a group of its own, taken out of this one."""
        slabs = {layer: slab[:, place : place + 1].clone() for layer, slab in self.slabs.items()}
        alone = Group(self.prefix, [self.drafts[place]], self.length, slabs)
        self.drop(place)
        return alone

    def room(self, layer: int, kv: Tensor, more: int) -> Tensor:
        """The layer's slab [2, n, K, room, d] with room for `more` tokens."""
        slab = self.slabs.get(layer)
        if slab is None or slab.shape[3] < self.length + more:
            needed = self.length + more
            most = needed + max(draft.sampling.max_tokens - len(draft.ids) for draft in self.drafts)
            room = max(needed, min(most, max(FIRST, 2 * self.length)))
            grown = kv.new_empty(2, len(self.drafts), kv.shape[1], room, kv.shape[3])
            if slab is not None:
                grown[:, :, :, : self.length] = slab[:, : len(self.drafts), :, : self.length]
            self.slabs[layer] = slab = grown
        return slab[:, : len(self.drafts)]


@dataclass
class Extension:
    """Tokens that are appended to the one answer of a group: what an environment said."""

    group: Group
    ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    def attend(self, layer: int, query: Tensor, kv: Tensor, scale: float, window: int | None) -> Tensor:
        """query [H, m, d], kv [2, K, m, d] -> [H, m, d]: over the prompt, what was said, and their own past."""
        group, more = self.group, len(self)
        slab = group.room(layer, kv, more)
        slab[:, 0, :, group.length : group.length + more] = kv
        own = slab[:, 0, :, : group.length + more]
        keys = torch.cat([group.prefix.keys[layer][0], own[0]], 1)
        values = torch.cat([group.prefix.values[layer][0], own[1]], 1)
        repeats = query.shape[0] // keys.shape[0]
        mask = _causal(more, keys.shape[1], window, query.device)
        return F.scaled_dot_product_attention(
            query[None],
            keys.repeat_interleave(repeats, 0)[None],
            values.repeat_interleave(repeats, 0)[None],
            attn_mask=mask,
            scale=scale,
        )[0]


class Stream:
    """Tokens computed in one forward pass: prompts and extensions piece after piece, or one token of every answer."""

    def __init__(self, pieces: Sequence[Prefix | Extension] = (), groups: Sequence[Group] = ()) -> None:
        self.pieces = pieces
        self.groups = groups

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """query [H, T, d], key and value [K, T, d] -> [T, H, d]."""
        kv = torch.stack((key, value))
        if self.groups:
            return self._decode(layer, query, kv, scale, window)
        outputs, start = [], 0
        for piece in self.pieces:
            stop = start + len(piece)
            outputs.append(piece.attend(layer, query[:, start:stop], kv[:, :, start:stop], scale, window))
            start = stop
        return torch.cat(outputs, 1).transpose(0, 1)

    def _decode(self, layer: int, query: Tensor, kv: Tensor, scale: float, window: int | None) -> Tensor:
        heads, tokens, width = query.shape
        shared = kv.shape[1]
        queries = query.view(shared, heads // shared, tokens, width).permute(2, 0, 1, 3).contiguous()  # [T, K, r, d]
        kv = kv.transpose(1, 2)  # [2, T, K, d]
        of_own, of_prompt, own_sums, prompt_sums = [], [], [], []
        start = 0
        for group in self.groups:
            stop = start + len(group)
            slab = group.room(layer, kv.transpose(1, 2), 1)
            slab[:, :, :, group.length] = kv[:, start:stop]
            seen = 0 if window is None else max(0, group.position + 1 - window)  # the first place in sight
            own = slab[:, :, :, max(0, seen - len(group.prefix)) : group.length + 1]
            found, total = attend_with_sum(queries[start:stop], own[0], own[1], scale)
            of_own.append(found)
            own_sums.append(total)
            asked = queries[start:stop].transpose(0, 1).reshape(1, shared, -1, width)  # [1, K, n r, d]
            if seen < len(group.prefix):
                keys, values = group.prefix.keys[layer][:, :, seen:], group.prefix.values[layer][:, :, seen:]
                found, total = _over_prompt(asked, keys, values, scale)
            else:
                found, total = torch.zeros_like(asked), asked.new_full(asked.shape[:-1], -torch.inf)
            of_prompt.append(found)
            prompt_sums.append(total)
            start = stop
        own_output, own_sum = torch.cat(of_own), torch.cat(own_sums)  # [T, K, r, d], [T, K, r]
        output = torch.cat(of_prompt, 2).view(shared, tokens, -1, width).transpose(0, 1)
        weight = torch.sigmoid(torch.cat(prompt_sums, 2).view(shared, tokens, -1).transpose(0, 1) - own_sum)
        merged = torch.lerp(own_output, output, weight[..., None].to(output.dtype))
        return merged.reshape(tokens, heads, width)


def attend_with_sum(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(q k^T) v and the log-sum-exp: [B, K, q, d] over [B, K, L, d] -> [B, K, q, d], [B, K, q]."""
    if query.device.type == "cpu":
        found: tuple[Tensor, Tensor] = _flash(query, key, value, 0.0, False, scale=scale)
        return found
    scores = (query @ key.transpose(-1, -2)).float() * scale
    return scores.softmax(-1).to(value.dtype) @ value, scores.logsumexp(-1)


def _over_prompt(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    few = query.shape[2]
    if few >= FEW:
        return attend_with_sum(query, key, value, scale)
    found, total = attend_with_sum(query.repeat(1, 1, FEW, 1), key, value, scale)
    return found[:, :, :few], total[:, :, :few]


def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """bool [queries, keys]: the queries are the last ones of the keys."""
    past = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    return (past >= 0) if window is None else (past >= 0) & (past < window)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' interface: query [1, H, T, d], key and value [1, K, T, d] -> [1, T, H, d]."""
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if unknown or query.shape[-1] != value.shape[-1]:
        raise NotImplementedError(f"its attention has {', '.join(unknown) or 'values of another width'}")
    layer: Any = module.layer_idx
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return _stream.get().attend(layer, query[0], key[0], value[0], scale, sliding_window)[None], None


@contextmanager
def own_attention(backbone: nn.Module) -> Iterator[None]:
    """The backbone's layers attend by the stream that is being computed; afterwards as before."""
    configs = {id(config): config for part in backbone.modules() if (config := getattr(part, "config", None))}
    before = [(config, config._attn_implementation) for config in configs.values()]
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for config, kind in before:
            config._attn_implementation = kind


def run(backbone: Any, stream: Stream, ids: list[int], positions: list[int], device: torch.device) -> Tensor:
    """The last hidden states [T, D] of the stream's tokens, which are in the cache afterwards."""
    token = _stream.set(stream)
    try:
        output = backbone(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
        )
    finally:
        _stream.reset(token)
    hidden: Tensor = output.last_hidden_state
    return hidden[0]


AttentionInterface.register(NAME, attention_forward)
