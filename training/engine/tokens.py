"""Marks on characters as weights on tokens, and back. How chats become tokens is in `engine.chats`, whose names can be
had from here too.

Character offsets are half-open and count code points. Nothing here needs torch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.engine.chats import RenderedChat as RenderedChat
from training.engine.chats import TemplateRefused as TemplateRefused
from training.engine.chats import render_chat as render_chat
from training.engine.chats import stop_ids as stop_ids
from training.engine.templates import check_template as check_template

Offsets = Sequence[tuple[int, int]]
SignConflict = Literal["negative", "positive", "mean"]


@dataclass(frozen=True)
class Span:
    """A mark: `score` in [-1, 1] on [start, end); empty (start = end) says that something is missing there."""

    start: int
    end: int
    score: float = 1.0
    author: str | None = None


def spans_to_token_weights(
    text: str,
    offsets: Offsets,
    spans: Sequence[Span],
    *,
    words_only: bool = True,
    sign_conflict: SignConflict = "negative",
    annotators: int | None = None,
) -> list[float]:
    """One weight in [-1, 1] for each token of `text` and one more, the last, for the stop token.

    A token belongs to a span when it holds at least one character of it that is not a space. With `words_only`,
    tokens without a letter or digit get 0. Where signs meet, in one annotator's marks or within one token,
    `sign_conflict` says who wins. Several annotators: the mean of their scores per character, first; `annotators`
    counts those who marked nothing too (by default, only those who marked). An empty span goes to the token that
    follows it, at the end to the stop token.
    """
    by_author: dict[str | None, list[Span]] = {}
    for span in spans:
        if not 0 <= span.start <= span.end <= len(text):
            raise ValueError(f"The span {span.start}-{span.end} does not lie in a text of {len(text)} characters.")
        by_author.setdefault(span.author, []).append(span)
    people = max(annotators or 0, len(by_author), 1)

    characters = [0.0] * len(text)
    missing = [0.0] * (len(offsets) + 1)
    for marks in by_author.values():
        marked: dict[int, list[float]] = {}
        absent: dict[int, list[float]] = {}
        for span in marks:
            if span.start == span.end:
                absent.setdefault(_following_token(text, offsets, span.start), []).append(span.score)
            for place in range(span.start, span.end):
                marked.setdefault(place, []).append(span.score)
        for place, scores in marked.items():
            characters[place] += _settle(scores, sign_conflict) / people
        for token, scores in absent.items():
            missing[token] += _settle(scores, sign_conflict) / people

    weights = []
    for token, (start, end) in enumerate(offsets):
        scores = [characters[place] for place in range(start, end) if not text[place].isspace()]
        if words_only and not any(_in_a_word(text[place]) for place in range(start, end)):
            scores = []
        weights.append(_settle([*scores, *([missing[token]] if missing[token] else [])], sign_conflict))
    return [*weights, missing[len(offsets)]]


def token_weights_to_spans(
    text: str, offsets: Offsets, weights: Sequence[float], *, threshold: float = 0.0
) -> list[Span]:
    """The phrases that neighbouring tokens of one sign make, without spaces at their ends; their score is the tokens'
    mean.

    Weights within `threshold` of 0 mark nothing. A weight beyond the last token (the stop token's) is an empty span
    at the end.
    """
    spans: list[Span] = []
    start = end = 0
    scores: list[float] = []

    def close() -> None:
        if scores:
            phrase = text[start:end]
            left = start + len(phrase) - len(phrase.lstrip())
            spans.append(Span(left, max(left, start + len(phrase.rstrip())), sum(scores) / len(scores)))
            scores.clear()

    for (token_start, token_end), weight in zip(offsets, weights, strict=False):
        if not text[token_start:token_end].strip():
            continue  # a token of spaces neither marks nor parts
        if abs(weight) <= threshold:
            close()
            continue
        if scores and (weight > 0) != (scores[-1] > 0):
            close()
        if not scores:
            start = token_start
        end = max(end, token_end) if scores else token_end
        scores.append(weight)
    close()
    if len(weights) > len(offsets) and abs(weights[len(offsets)]) > threshold:
        spans.append(Span(len(text), len(text), weights[len(offsets)]))
    return spans


def _settle(scores: Sequence[float], sign_conflict: SignConflict) -> float:
    """One score from several on one place."""
    marked = [score for score in scores if score]
    if not marked:
        return 0.0
    if sign_conflict == "mean":
        return sum(marked) / len(marked)
    low, high = min(marked), max(marked)
    if sign_conflict == "negative":
        return low if low < 0 else high
    return high if high > 0 else low


def _following_token(text: str, offsets: Offsets, place: int) -> int:
    """The first token whose first character that is not a space stands at or after `place`; beyond the last: the stop
    token.
    """
    for token, (start, end) in enumerate(offsets):
        first = next((at for at in range(start, end) if not text[at].isspace()), None)
        if first is not None and first >= place:
            return token
    return len(offsets)


def _in_a_word(character: str) -> bool:
    """Letters, digits and the marks that belong to letters; not the selectors that dress emoji."""
    return unicodedata.category(character)[0] in "LNM" and not unicodedata.name(character, "").startswith("VARIATION")
