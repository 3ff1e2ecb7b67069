"""Which of a round's answers are kept, and how varied they are. Pure Python.

Rewards are lists, one for each prompt, of one number for each of its answers; None for an answer that can never be
kept: it is empty, was cut off, was filtered out, or nobody could score it. What is kept is told as places, for each
prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Rewards = Sequence[float | None]
SEGMENT = 100  # words of a segment of MSTTR


def best(rewards: Rewards, *, least: float | None = None, equals: bool = False) -> list[int]:
    """The best answer to a prompt, the first of equals: only their order counts, so that an offset of the prompt or any
    rising curve through the rewards keeps the same one.

    None where nothing could be scored, where the best scores below `least`, or where all of several score the same:
    there is nothing to learn from choosing among them. With `equals` the first of those is kept as well.
    """
    scored = [(reward, -place) for place, reward in enumerate(rewards) if reward is not None]
    if not scored or (not equals and len(scored) > 1 and len({reward for reward, _ in scored}) == 1):
        return []
    highest, place = max(scored)
    return [] if least is not None and highest < least else [-place]


def top(rewards: Sequence[Rewards], *, one_in: int, least: float | None = None) -> list[list[int]]:
    """The best of all answers to all prompts, one in so many of those that were scored, the first of equals. Only for
    rewards that mean the same whatever the prompt.
    """
    scored = [(-reward, p, k) for p, row in enumerate(rewards) for k, reward in enumerate(row) if reward is not None]
    kept: list[list[int]] = [[] for _ in rewards]
    if len({reward for reward, _, _ in scored}) < 2 and one_in > 1:
        return kept
    for reward, prompt, place in sorted(scored)[: max(1, len(scored) // one_in) if scored else 0]:
        if least is None or -reward >= least:
            kept[prompt].append(place)
    return [sorted(places) for places in kept]


def right(rewards: Rewards, texts: Sequence[str], *, least: float = 1.0) -> list[int]:
    """All answers to a prompt that are right (a reward of `least` or more), each text once: the verifier's form."""
    found: dict[str, int] = {}
    for place, (reward, text) in enumerate(zip(rewards, texts, strict=True)):
        if reward is not None and reward >= least:
            found.setdefault(" ".join(text.split()), place)
    return list(found.values())


def gain_bound(width: float, samples: int) -> float:
    """How much more the best of so many answers can be worth than their mean, for rewards in an interval of this width:
    sqrt(width^2 / 2 * ln K) (the paper's remark after algorithm 1).
    """
    return math.sqrt(width**2 / 2 * math.log(samples))


def variety(texts: Sequence[str]) -> dict[str, float]:
    """How varied texts are: distinct-1 and -2 (different words and pairs of words over all of them) and MSTTR, the mean
    share of different words in segments of 100 (of fewer where all the texts have fewer).
    """
    words = [text.split() for text in texts]
    singles = [word for one in words for word in one]
    pairs = [pair for one in words for pair in zip(one, one[1:], strict=False)]
    size = min(SEGMENT, len(singles))
    segments = [singles[start : start + size] for start in range(0, len(singles) - size + 1, size)] if size else []
    return {
        **({"distinct_1": len(set(singles)) / len(singles)} if singles else {}),
        **({"distinct_2": len(set(pairs)) / len(pairs)} if pairs else {}),
        **({"msttr": sum(len(set(one)) / size for one in segments) / len(segments)} if segments else {}),
    }
