"""Sampling from a policy: each prompt is read once for all its answers, and the batch stays full while prompts wait.

Every answer has a seed of its own: the numbers that it is drawn with do not depend on who else is in the batch, so
that any answer can be made again (`own` says how exactly). The log-probabilities are those of the distribution that
was really sampled from. Back ends are in `backends`, `vllm` and `endpoint`, conversations of several turns in
`conversations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.engine.policy import Policy
from training.engine.rollouts.backends import Backend, Own, Prompt, Transformers, require_logprobs, sample_with
from training.engine.rollouts.conversations import Environment, Episode, Reply, episodes
from training.engine.rollouts.sampling import NoLogprobs, Sample, Sampling, TruncatedSampling, Walk, seed_of
from training.engine.rollouts.weights import light

__all__ = [
    "Backend",
    "Environment",
    "Episode",
    "NoLogprobs",
    "Own",
    "Prompt",
    "Reply",
    "Sample",
    "Sampling",
    "Transformers",
    "TruncatedSampling",
    "Walk",
    "episodes",
    "light",
    "require_logprobs",
    "sample",
    "sample_with",
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
    copies: bool = True,
    heed: Callable[[], object] = lambda: None,
) -> list[Sample]:
    """`n` answers to each prompt (given as ids, generation prompt included), in the order of the prompts.

    `rows` bounds how many answers are written together: give all prompts at once, and the batch stays full. Sample k of
    prompt p is drawn with seed `seed_of(seed, p, k)`. With `copies` of the weights, packed and with the adapter merged,
    writing is up to 1.4 times as fast and takes the model's memory a second time. `heed` is called before each step;
    what it raises (a run's stop) ends the sampling. Raises ValueError for a prompt without tokens.
    """
    asked = [Prompt(ids) for ids in prompts]
    return sample_with(Own(policy, rows=rows, copies=copies, heed=heed), asked, n, sampling=sampling, seed=seed)
