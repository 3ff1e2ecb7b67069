"""Who writes the answers: one small interface, and the back ends that need nothing but what is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from training.engine.chats import Message
from training.engine.rollouts import own, plain
from training.engine.rollouts.sampling import Ask, Draft, NoLogprobs, Sample, Sampling, Walk, seed_of
from training.engine.rollouts.stops import Stops


@dataclass(frozen=True)
class Prompt:
    """What is to be answered: as ids, generation prompt included, for what knows our tokenizer, or as messages."""

    ids: Sequence[int] = ()
    messages: Sequence[Message] = ()
    walk: Callable[[], Walk] | None = None  # what an answer may consist of: a fresh walk for each; own back ends only


class Backend(Protocol):
    """Something that answers prompts."""

    name: str
    logprobs: bool  # whether its samples carry tokens and log-probabilities, so that a policy can learn from them

    def sample(self, prompts: Sequence[Prompt], n: int, *, sampling: Sampling, seed: int) -> list[Sample]:
        """`n` answers to each prompt, in the order of the prompts; sample k of prompt p has seed `seed_of(seed, p, k)`.

        Raises ValueError for a prompt without what this back end reads (ids or messages).
        """


def sample_with(
    backend: Backend,
    prompts: Sequence[Prompt],
    n: int,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    for_training: bool = False,
) -> list[Sample]:
    """As `sample`, by any back end. `for_training` raises NoLogprobs, before anything is asked, for one without
    log-probabilities.
    """
    if for_training:
        require_logprobs(backend)
    return backend.sample(prompts, n, sampling=sampling or Sampling(), seed=seed) if prompts and n else []


def require_logprobs(backend: Backend) -> None:
    """Raise NoLogprobs unless a policy can be trained on what this back end writes."""
    if not backend.logprobs:
        raise NoLogprobs(
            f"The back end {backend.name} gives text without tokens and log-probabilities, so it can make data to rate "
            "or compare, but no policy can be trained on its answers as its own. Sample with the own back end or vLLM."
        )


class Own:
    """The sampler of this package; where a model does not fit it, transformers' cache."""

    name = "own"
    logprobs = True

    def __init__(
        self, policy: Any, *, rows: int = 64, copies: bool = True, heed: Callable[[], object] = lambda: None
    ) -> None:
        """`copies` of the weights make it faster and cost the model's memory a second time. `heed` is called before
        each step; what it raises (a run's stop) ends the sampling.
        """
        self.policy, self.rows, self.copies, self.heed = policy, rows, copies, heed

    def sample(self, prompts: Sequence[Prompt], n: int, *, sampling: Sampling, seed: int) -> list[Sample]:
        """Of `rows` answers written together at most."""
        write = partial(own.write, copies=self.copies) if own.can_write(self.policy.model) else plain.write
        return self._write(write, prompts, n, sampling, seed)

    def _write(
        self, write: Callable[..., None], prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int
    ) -> list[Sample]:
        drafts = drafts_of(prompts, n, sampling, seed)
        asks = [Ask(prompt.ids, list(group)) for prompt, group in zip(prompts, drafts, strict=True)]
        write(self.policy, asks, sampling=sampling, rows=self.rows, heed=self.heed)
        stops = Stops(self.policy.tokenizer, sampling)
        return [stops.sample(draft) for group in drafts for draft in group]


class Transformers(Own):
    """transformers' own cache and attention in any case: slower, and the oracle of the other."""

    name = "transformers"

    def sample(self, prompts: Sequence[Prompt], n: int, *, sampling: Sampling, seed: int) -> list[Sample]:
        """Of `rows` answers written together at most; the batch waits for its longest."""
        return self._write(plain.write, prompts, n, sampling, seed)


def writer_of(policy: Any) -> Callable[..., None]:
    """The faster of the two writers that this policy's model takes."""
    return own.write if own.can_write(policy.model) else plain.write


def drafts_of(prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int) -> list[list[Draft]]:
    """The answers to be written to each prompt; raises ValueError for one without ids."""
    for place, prompt in enumerate(prompts):
        if not len(prompt.ids):
            raise ValueError(f"Prompt {place} has no tokens, so there is nothing to answer.")
    return [
        [Draft(place, seed_of(seed, place, k), sampling, walk=prompt.walk and prompt.walk()) for k in range(n)]
        for place, prompt in enumerate(prompts)
    ]
