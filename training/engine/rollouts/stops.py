"""Where an answer ends: at a stop token, or when its text holds a stop string."""

from __future__ import annotations

from typing import Any

from training.engine.rollouts.sampling import Draft, Sample, Sampling
from training.engine.tokens import stop_ids

SLACK = 4  # tokens looked at beyond those that a stop string can take


class Stops:
    """What ends an answer of one tokenizer.

    A stop string is looked for in the text that the sampled ids decode to, also where it spans tokens; nothing is
    tokenised again. The ids stay as they were sampled, those that wrote the stop string included.
    """

    def __init__(self, tokenizer: Any, sampling: Sampling) -> None:
        self.tokenizer = tokenizer
        self.closing = stop_ids(tokenizer) | set(tokenizer.all_special_ids)  # these close an answer by themselves
        self.tokens = self.closing | set(sampling.stop_tokens)
        self.strings = tuple(sampling.stop)
        # a token writes at least one byte, so this many at the end hold a string that the last one completes
        self.window = max((len(one.encode()) for one in self.strings), default=0) + SLACK

    def take(self, draft: Draft, token: int, logprob: float, full: float | None) -> bool:
        """Append a token; whether the answer has ended with it."""
        draft.ids.append(token)
        draft.logprobs.append(logprob)
        if draft.walk is not None:
            draft.walk.take(token)
        if full is not None:
            draft.full.append(full)
        if token in self.tokens:
            draft.finished = True
        elif self.strings:
            draft.stop = self._string(draft.ids)
            draft.finished = draft.stop is not None
        over = draft.finished or len(draft.ids) >= draft.sampling.max_tokens
        if over:
            draft.numbers = []
        return over

    def sample(self, draft: Draft) -> Sample:
        """The finished answer."""
        text = self.decode(draft.ids[:-1] if draft.finished and draft.stop is None else draft.ids)
        if draft.stop is not None:
            text = text[: text.find(draft.stop)]
        return Sample(
            prompt=draft.prompt,
            seed=draft.seed,
            ids=draft.ids,
            logprobs=draft.logprobs,
            text=text,
            finished=draft.finished,
            stop=draft.stop,
            full_logprobs=draft.full if draft.sampling.truncated else None,
        )

    def decode(self, ids: list[int]) -> str:
        """The text, with special tokens written out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _string(self, ids: list[int]) -> str | None:
        """The stop string that stands first in the text, if any does."""
        tail = self.decode(ids[-self.window :])
        if not any(one in tail for one in self.strings):
            return None
        text = self.decode(ids)  # a tail alone may decode to something else at its beginning
        found = [(text.find(one), -len(one), one) for one in self.strings if one in text]
        return min(found)[2] if found else None
