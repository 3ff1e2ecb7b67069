"""Sampling from a policy: each prompt is read once for all its answers, and the batch stays full while prompts wait.

Every answer has a seed of its own: the numbers that it is drawn with do not depend on who else is in the batch, so
that any answer can be made again (`own` says how exactly). The log-probabilities are those of the distribution that
was really sampled from.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.engine.policy import Policy
from training.engine.rollouts import own, plain
from training.engine.rollouts.conversations import Environment, Episode, Reply, episodes
from training.engine.rollouts.sampling import (
    Ask,
    Draft,
    NoLogprobs,
    Sample,
    Sampling,
    TruncatedSampling,
    seed_of,
)
from training.engine.rollouts.stops import Stops

__all__ = [
    "Ask",
    "Draft",
    "Environment",
    "Episode",
    "NoLogprobs",
    "Reply",
    "Sample",
    "Sampling",
    "TruncatedSampling",
    "episodes",
    "sample",
    "seed_of",
]


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

    `rows` bounds how many answers are written together. Sample k of prompt p is drawn with seed `seed_of(seed, p, k)`.
    Raises ValueError for a prompt without tokens.
    """
    sampling = sampling or Sampling()
    empty = next((place for place, ids in enumerate(prompts) if not len(ids)), None)
    if empty is not None:
        raise ValueError(f"Prompt {empty} has no tokens, so there is nothing to answer.")
    drafts = [[Draft(place, seed_of(seed, place, k), sampling) for k in range(n)] for place in range(len(prompts))]
    asks = [Ask(ids, list(group)) for ids, group in zip(prompts, drafts, strict=True)]
    if n and asks:
        write = own.write if own.can_write(policy.model) else plain.write
        write(policy, asks, sampling=sampling, rows=rows)
    stops = Stops(policy.tokenizer, sampling)
    return [stops.sample(draft) for group in drafts for draft in group]
