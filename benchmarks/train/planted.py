"""What stands in for chance, the same on both sides: frozen answers, rewards, the tokens that end an answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from benchmarks.train.cells import NEW_TOKENS, STOPS

FROZEN = (300, 1500)  # frozen answers are made of these tokens: every model here has them, none is special
STOPPING = (1000, 49_000)  # and of these are drawn those that end a rollout


def frozen_answer(step: int, prompt: int, k: int) -> list[int]:
    """Answer k to a prompt of a step, NEW_TOKENS long."""
    rng = random.Random(f"{step}-{prompt}-{k}")
    return [rng.randrange(*FROZEN) for _ in range(NEW_TOKENS)]


def reward_of(ids: Sequence[int]) -> float:
    """A reward between 0 and 1 that differs from answer to answer."""
    return (sum(ids) * 2_654_435_761 % 1_000_003) / 1_000_003


def stop_tokens(tokenizer: Any) -> list[int]:
    """The tokens that end an uneven rollout: the tokenizer's own, and a fixed draw of STOPS others.

    A random model finds all tokens about equally likely, so that answers end at lengths with a geometric distribution,
    of mean 48 where the vocabulary has 49,152 tokens, by the stopping that each side has.
    """
    others = random.Random(0).sample(range(*STOPPING), STOPS)
    return [tokenizer.eos_token_id, *others]
