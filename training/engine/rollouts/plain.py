"""The plain sampler: transformers' own cache and attention, for models that the own sampler does not take.

Prompts are padded on the left and copied for each answer; rows that have ended leave the batch. It says the same as
the own sampler and is the oracle of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from training.engine.logprobs import causal_model, logits_of
from training.engine.rollouts.draw import draw
from training.engine.rollouts.sampling import Ask, Draft, Sampling, restrained
from training.engine.rollouts.stops import Stops

Then = tuple[Sequence[int], Draft]


@torch.no_grad()
def write(
    policy: Any,
    asks: Iterable[Ask],
    *,
    sampling: Sampling,
    rows: int,
    ended: Callable[[Draft], Then | None] = lambda draft: None,
    heed: Callable[[], object] = lambda: None,
) -> None:
    """As `own.write`; a conversation is read again for each answer in it."""
    training = policy.model.training
    policy.model.eval()
    stops = Stops(policy.tokenizer, sampling)
    waiting = [Ask(ask.ids, [draft]) for ask in asks for draft in ask.drafts]
    try:
        while waiting:
            batch, waiting = waiting[:rows], waiting[rows:]
            _decode(policy, batch, sampling, stops, heed)
            for ask in batch:
                draft = ask.drafts[0]
                then = ended(draft)
                if then is not None:
                    said, following = then
                    waiting.append(Ask([*ask.ids, *draft.ids, *said], [following]))
    finally:
        policy.model.train(training)


def _decode(policy: Any, batch: Sequence[Ask], sampling: Sampling, stops: Stops, heed: Callable[[], object]) -> None:
    device = policy.device
    backbone = causal_model(policy.model).get_decoder()
    logits = logits_of(policy.model)
    longest = max(len(ask.ids) for ask in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.int64, device=device)
    seen = torch.zeros(len(batch), longest, dtype=torch.int64, device=device)
    for row, ask in enumerate(batch):
        ids[row, longest - len(ask.ids) :] = torch.tensor(ask.ids, device=device)
        seen[row, longest - len(ask.ids) :] = 1
    positions = (seen.cumsum(1) - 1).clamp_min(0)
    output = backbone(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=True)
    cache, position = output.past_key_values, positions[:, -1:]
    live = [ask.drafts[0] for ask in batch]
    while True:
        heed()
        numbers = torch.tensor([draft.draw for draft in live], dtype=torch.float64, device=device)
        drawn = draw(restrained(logits(output.last_hidden_state[:, -1]), live), numbers, sampling)
        full = drawn.full.tolist() if drawn.full is not None else [None] * len(live)
        told = zip(live, drawn.tokens.tolist(), drawn.logprobs.tolist(), full, strict=True)
        left = [place for place, (draft, *values) in enumerate(told) if not stops.take(draft, *values)]
        if not left:
            return
        if len(left) < len(live):
            kept = torch.tensor(left, device=device)
            live, seen, position = [live[place] for place in left], seen[kept], position[kept]
            cache.batch_select_indices(kept)
        seen = torch.cat([seen, seen.new_ones(len(live), 1)], 1)
        position = position + 1
        output = backbone(
            input_ids=torch.tensor([[draft.ids[-1]] for draft in live], device=device),
            attention_mask=seen,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
