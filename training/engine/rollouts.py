"""Sampling from a policy: each prompt is read once for all its samples, and rows that have ended leave the batch.

Every sample has a seed of its own: the numbers that it is drawn with do not depend on who else is in the batch, so
that any sample can be made again. The log-probabilities are those of the distribution that was really sampled from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.engine.logprobs import causal_model, logits_of
from training.engine.policy import Policy
from training.engine.tokens import stop_ids


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw. `top_k` 0 and `top_p` 1 leave the model's own distribution; with others, log-probs are the
    truncated one's.
    """

    max_tokens: int = 128
    temperature: float = 1.0  # 0 takes the likeliest token
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Sample:
    """One sampled answer. `ids` holds the stop token, when there is one; `text` does not."""

    prompt: int  # its place in the list of prompts
    seed: int
    ids: list[int]
    logprobs: list[float]
    text: str
    finished: bool  # False: cut off at max_tokens


@torch.no_grad()
def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    n: int,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    rows: int = 64,
) -> list[Sample]:
    """`n` answers to each prompt (given as ids, generation prompt included), in the order of the prompts.

    `rows` bounds how many sequences are decoded together. Sample k of prompt p is drawn with seed `seed_of(seed, p,
    k)`.
    """
    sampling = sampling or Sampling()
    model = policy.model
    training = model.training
    model.eval()
    found: list[Sample] = []
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # prompts of like length read together
    together = max(1, rows // n)
    try:
        for start in range(0, len(order), together):
            found += _decode(
                policy, {index: prompts[index] for index in order[start : start + together]}, n, sampling, seed
            )
    finally:
        model.train(training)
    return sorted(found, key=lambda one: one.prompt)


def seed_of(seed: int, prompt: int, k: int) -> int:
    """The seed of one sample."""
    return (seed * 1_000_003 + prompt * 10_007 + k) % (2**62)


def _decode(policy: Policy, prompts: dict[int, Sequence[int]], n: int, sampling: Sampling, seed: int) -> list[Sample]:
    tokenizer, device = policy.tokenizer, policy.device
    backbone = causal_model(policy.model).get_decoder()
    logits = logits_of(policy.model)
    stops = torch.tensor(sorted(stop_ids(tokenizer) | set(tokenizer.all_special_ids)), device=device)

    longest = max(len(ids) for ids in prompts.values())
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64, device=device)
    seen = torch.zeros(len(prompts), longest, dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts.values()):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        seen[row, longest - len(prompt) :] = 1
    positions = (seen.cumsum(1) - 1).clamp_min(0)
    output = backbone(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True)
    cache = output.past_key_values
    cache.batch_repeat_interleave(n)
    hidden = output.last_hidden_state[:, -1].repeat_interleave(n, 0)
    seen = seen.repeat_interleave(n, 0)
    position = positions[:, -1:].repeat_interleave(n, 0)

    seeds = [seed_of(seed, prompt, k) for prompt in prompts for k in range(n)]
    draws = torch.stack(
        [
            torch.rand(sampling.max_tokens, generator=torch.Generator().manual_seed(one), dtype=torch.float64)
            for one in seeds
        ]
    ).to(device)
    live = torch.arange(len(seeds), device=device)
    tokens: list[list[int]] = [[] for _ in seeds]
    logprobs: list[list[float]] = [[] for _ in seeds]
    finished = [False] * len(seeds)

    for step in range(sampling.max_tokens):
        chosen, chosen_logprobs = _draw(logits(hidden).float(), draws[live, step], sampling)
        ended = torch.isin(chosen, stops)
        rows = live.tolist()
        for row, token, logprob, end in zip(
            rows, chosen.tolist(), chosen_logprobs.tolist(), ended.tolist(), strict=True
        ):
            tokens[row].append(token)
            logprobs[row].append(logprob)
            finished[row] = end
        if ended.any():
            left = (~ended).nonzero()[:, 0]
            live, chosen, seen, position = live[left], chosen[left], seen[left], position[left]
            if len(left):
                cache.batch_select_indices(left)
        if not len(live) or step + 1 == sampling.max_tokens:
            break
        seen = torch.cat([seen, seen.new_ones(len(live), 1)], 1)
        position = position + 1
        output = backbone(
            input_ids=chosen[:, None],
            attention_mask=seen,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        hidden = output.last_hidden_state[:, -1]

    places = [prompt for prompt in prompts for _ in range(n)]
    return [
        Sample(
            prompt=place,
            seed=one,
            ids=tokens[row],
            logprobs=logprobs[row],
            text=_text(tokenizer, tokens[row][:-1] if finished[row] else tokens[row]),
            finished=finished[row],
        )
        for row, (place, one) in enumerate(zip(places, seeds, strict=True))
    ]


def _draw(scores: Tensor, draws: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Chosen tokens and their log-probs [rows], from logits [rows, V] and one uniform number for each row."""
    if sampling.temperature == 0:
        logs = scores.log_softmax(-1)
        chosen = scores.argmax(-1)
        return chosen, logs.gather(-1, chosen[:, None])[:, 0]
    logs = (scores / sampling.temperature).log_softmax(-1)
    if sampling.top_k or sampling.top_p < 1:
        ranked, order = logs.sort(-1, descending=True)
        dropped = (ranked.exp().cumsum(-1) - ranked.exp()) >= sampling.top_p
        if sampling.top_k:
            dropped[:, sampling.top_k :] = True
        logs = logs.scatter(-1, order, ranked.masked_fill(dropped, float("-inf"))).log_softmax(-1)
    mass = logs.double().exp().cumsum(-1)
    chosen = torch.searchsorted(mass, (draws * mass[:, -1])[:, None], right=True)[:, 0].clamp_max(logs.shape[-1] - 1)
    return chosen, logs.gather(-1, chosen[:, None])[:, 0]


def _text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
