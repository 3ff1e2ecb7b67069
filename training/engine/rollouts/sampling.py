"""How answers are drawn, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from training.engine.packs import Row


class TruncatedSampling(ValueError):
    """This run needs the log-probabilities of the whole distribution, and top_p or top_k cut it."""


class NoLogprobs(ValueError):
    """This sample came without its tokens' log-probabilities, so no policy can be trained on it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw.

    With `top_p` below 1 or `top_k` above 0 the log-probabilities are those of what is left, made to sum to 1 again;
    the whole distribution's are kept beside them (`Sample.full_logprobs`). A trainer computes the whole distribution,
    so a ratio of the two would be off by the mass that was kept: recipes that build ratios call `require_whole`.

    An answer ends at a stop token of the tokenizer, at one of `stop_tokens`, or as soon as its text holds one of the
    `stop` strings.
    """

    max_tokens: int = 128
    temperature: float = 1.0  # 0 takes the likeliest token, and log-probs are the model's own
    top_p: float = 1.0
    top_k: int = 0
    stop: Sequence[str] = ()
    stop_tokens: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; an answer has at least one token.")
        if self.temperature < 0:
            raise ValueError(f"The temperature is {self.temperature}; it cannot be negative.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it lies above 0 and at most at 1.")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; 0 leaves all tokens, a number above 0 that many.")
        if isinstance(self.stop, str) or "" in self.stop:
            raise ValueError("Stop strings are a list of strings, and none of them is empty.")

    @property
    def truncated(self) -> bool:
        """Whether something of the distribution can be cut away."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)

    def require_whole(self) -> None:
        """Raise TruncatedSampling unless every token could be drawn: ratios to the trainer's log-probs need that."""
        if self.truncated:
            raise TruncatedSampling(
                f"top_p {self.top_p} and top_k {self.top_k} draw from a part of the distribution, and the trainer's "
                "log-probabilities are of the whole: every ratio would be off by the mass that was kept. Set top_p to "
                "1 and top_k to 0."
            )


@dataclass(frozen=True)
class Sample:
    """One sampled answer. `ids` are as sampled, the stop token or the tokens that wrote a stop string with them; they
    are what a policy is trained on. `text` shows neither.
    """

    prompt: int  # its place in the list of prompts
    seed: int
    ids: list[int]
    logprobs: list[float]  # one for each id; none where the back end does not tell
    text: str
    finished: bool  # False: cut off at max_tokens
    stop: str | None = None  # the stop string that ended it, where one did
    full_logprobs: list[float] | None = None  # before top_p and top_k, where they cut

    def row(
        self, name: str, prompt_ids: Sequence[int], *, of_row: Mapping[str, float] | None = None, old: bool = True
    ) -> Row:
        """Prompt and answer as a row to train on, all sampled tokens trained, with the sampler's log-probs as `old`.

        Raises NoLogprobs for a sample of a back end that gives none.
        """
        if len(self.logprobs) != len(self.ids) or not self.ids:
            raise NoLogprobs(
                f"{name}: this answer came without tokens and log-probabilities, as from an endpoint that only gives "
                "text. It can be rated or compared; to train a policy on its own answers, sample with the own back "
                "end or vLLM."
            )
        return Row(
            name=name,
            ids=[*prompt_ids, *self.ids],
            trained=[False] * len(prompt_ids) + [True] * len(self.ids),
            of_tokens={"old": self.logprobs} if old else {},
            of_row=dict(of_row or {}),
        )


def seed_of(seed: int, prompt: int, k: int) -> int:
    """The seed of one sample."""
    return (seed * 1_000_003 + prompt * 10_007 + k) % (2**62)


class Walk(Protocol):
    """What an answer may consist of, as it is written."""

    def allowed(self) -> Sequence[int]:
        """The ids of the tokens that may come next, at least one."""

    def take(self, token: int) -> None:
        """This one has come."""


@dataclass
class Draft:
    """An answer that is being written."""

    prompt: int
    seed: int
    sampling: Sampling
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    full: list[float] = field(default_factory=list)
    finished: bool = False
    stop: str | None = None
    walk: Walk | None = None  # None: anything may be written
    numbers: list[float] = field(default_factory=list)  # made with the first token and gone after the last

    @property
    def draw(self) -> float:
        """The number in [0, 1) that the next token is drawn with: it depends on the seed and the place only."""
        if self.sampling.temperature == 0:
            return 0.0
        if not self.numbers:
            self.numbers = numbers_of(self.seed, self.sampling.max_tokens)
        return self.numbers[len(self.ids)]


def numbers_of(seed: int, count: int) -> list[float]:
    """The numbers in [0, 1) that the tokens of the answer with this seed are drawn with."""
    generator = torch.Generator().manual_seed(seed)
    found: list[float] = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    return found


@dataclass
class Ask:
    """A prompt and the answers that are to be drawn to it."""

    ids: Sequence[int]
    drafts: list[Draft]


def restrained(scores: Tensor, drafts: Sequence[Draft]) -> Tensor:
    """The logits [R, V] with -inf where a draft may not go on; log-probabilities are then those of what is left."""
    if all(draft.walk is None for draft in drafts):
        return scores
    found = scores.clone()
    for row, draft in enumerate(drafts):
        if draft.walk is not None:
            may = torch.tensor(draft.walk.allowed(), dtype=torch.int64, device=scores.device)
            found[row] = -torch.inf
            found[row, may] = scores[row, may]
    return found
