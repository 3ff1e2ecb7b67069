"""What can be read off an answer without a model: where each token stands, and how its sentence relates to question,
passages and the rest of the answer. A head gets it beside the model's states (`heads.TokenHead`). No torch.

People who mark answers read for relevance and support, by the phrase. A small model's states hold little of that; words
shared with the question or a passage are crude signs of it, and where a sentence stands says much: what comes late is
seldom what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from training.engine import passages

NAMES = (  # of the columns
    "characters before",
    "share of the answer before",
    "length of the answer",
    "characters left",
    "share of the sentence before",
    "word of the question",
    "word of the passages",
    "no letter or digit",
    "sentences before",
    "share of sentences before",
    "sentences after",
    "sentences",
    "length of the sentence",
    "words of the sentence",
    "question's words in the sentence",
    "sentence's words in the question",
    "sentence's words in the passages",
    "most of it in one sentence of a passage",
    "sentence's words in the passage closest to the question",
    "sentence's words said earlier",
    "sentence's words said elsewhere",
    "digits of the sentence",
)
_CUT = re.compile(
    r"[,;:]\s+|\s+(?=(?:after|and|as|before|but|for|in|that|until|when|where|which|while|who|with)\b)", re.IGNORECASE
)
SHORTEST = (15, 12)  # characters of a phrase, and of what must be left of its sentence after it


def phrases(text: str) -> list[tuple[int, int]]:
    """The sentences cut after a comma or the like and before a word that joins: what people mark in one go.

    Finer than `segments.clauses`: of the phrases of QA-Feedback's train prompts nine in ten are marked as a whole or
    not at all.
    """
    found = []
    for start, stop in passages.sentences(text):
        for gap in _CUT.finditer(text, start, stop):
            if gap.end() - start >= SHORTEST[0] and stop - gap.end() >= SHORTEST[1]:
                found.append((start, gap.end()))
                start = gap.end()
        found.append((start, stop))
    return found


def places_of(parts: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The part (in order) that each token's middle stands in; what stands between two belongs to the earlier one."""
    found, at = [], 0
    for start, end in offsets:
        while at + 1 < len(parts) and (start + end) / 2 >= parts[at + 1][0]:
            at += 1
        found.append(at)
    return found


def evidence(
    messages: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
    text: str,
    offsets: Sequence[tuple[int, int]],
) -> list[list[float]]:
    """One row of `NAMES` for each token, by its place in the answer's text."""
    question = frozenset(passages.words(passages.question_of(messages)))
    sources = [bag for passage in context for bag in _bags(str(passage["text"]))]
    everything = frozenset[str]().union(*sources)
    closest = max(sources, key=lambda bag: _overlap(bag, question), default=frozenset[str]())
    parts = passages.sentences(text) or [(0, len(text))]
    bags = [frozenset(passages.words(text[start:stop])) for start, stop in parts]
    whole = frozenset[str]().union(*bags)
    of_sentences = []
    for index, (bag, (left, right)) in enumerate(zip(bags, parts, strict=True)):
        of_sentences.append(
            [
                float(index),
                index / len(bags),
                float(len(bags) - index - 1),
                float(len(bags)),
                float(right - left),
                float(len(bag)),
                _overlap(question, bag),
                _overlap(bag, question),
                _overlap(bag, everything),
                max((_overlap(source, bag) for source in sources), default=0.0),
                _overlap(bag, closest),
                _overlap(bag, frozenset[str]().union(*bags[:index])),
                _overlap(bag, whole - bag),
                float(sum(character.isdigit() for character in text[left:right])),
            ]
        )
    found = []
    for (start, end), at in zip(offsets, places_of(parts, offsets), strict=True):
        left, right = parts[at]
        word = next(iter(passages.words(_word_at(text, start))), "")
        found.append(
            [
                float(start),
                start / max(1, len(text)),
                float(len(text)),
                float(len(text) - start),
                (start - left) / max(1, right - left),
                float(word in question),
                float(word in everything),
                float(not text[start:end].strip().isalnum()),
                *of_sentences[at],
            ]
        )
    return found


@lru_cache(maxsize=2048)
def _bags(text: str) -> tuple[frozenset[str], ...]:
    """The words of each sentence of a passage: the answers to one prompt share its passages."""
    return tuple(frozenset(passages.words(text[start:stop])) for start, stop in passages.sentences(text))


def _overlap(words: frozenset[str], others: frozenset[str]) -> float:
    """The share of `words` that are among `others`."""
    return len(words & others) / len(words) if words else 0.0


def _word_at(text: str, place: int) -> str:
    """The word around a place, or after the space there."""
    left = place
    while left < len(text) and text[left].isspace():
        left += 1
    right = left
    while left and text[left - 1].isalnum():
        left -= 1
    while right < len(text) and text[right].isalnum():
        right += 1
    return text[left:right]
