"""Marks on an answer that was sampled, as a reward on each of its own tokens: delta of Text2Grad (arXiv 2505.22338).

People, a span reward model, a critic's quotes and a program all come to one form, `tokens.Span`s on the answer's text,
and by one function (`tokens.spans_to_token_weights`) to its tokens. Nothing is tokenised again: offsets are those of
the very ids that were sampled. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from training.engine.tokens import SignConflict, Span, spans_to_token_weights

GRAVEST = 3  # people's severity goes from 1 to this


class Rules(TypedDict, total=False):
    """How marks become tokens' rewards (`tokens.spans_to_token_weights`)."""

    words_only: bool  # True: tokens without a letter or digit earn nothing
    sign_conflict: SignConflict  # "negative" wins by default


def offsets_of(tokenizer: Any, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
    """Where each of the sampled ids stands in `text`, half-open, in code points; what stands beyond the text (a stop
    token, a cut stop string) is left out. Ids that write one character together all have its place.
    """
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if list(ids[: len(whole["input_ids"])]) == whole["input_ids"]:
        return [(int(start), int(end)) for start, end in whole["offset_mapping"]]
    found: list[tuple[int, int]] = []
    start = 0
    for count in range(1, len(ids) + 1):
        if start >= len(text):
            break
        written = tokenizer.decode(list(ids[:count]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        found.append((start, max(start, min(len(written), len(text)))))
        start = _alike(written, text, start)
    return found


def rewards_of(
    tokenizer: Any,
    ids: Sequence[int],
    text: str,
    spans: Sequence[Span],
    *,
    annotators: int | None = None,
    **rules: Unpack[Rules],
) -> list[float]:
    """One reward in [-1, 1] for each of the sampled ids. A mark at the answer's very end (something is missing there)
    is the stop token's; where the answer was cut off, its last token's. `annotators` counts those who marked nothing.
    """
    offsets = offsets_of(tokenizer, ids, text)
    weights = spans_to_token_weights(text, offsets, spans, annotators=annotators, **rules)
    *inside, at_end = weights
    beyond = [0.0] * (len(ids) - len(inside))
    if beyond:
        beyond[0] = at_end
    elif at_end and inside:
        inside[-1] = min(inside[-1], at_end) if at_end < 0 else max(inside[-1], at_end)
    return [*inside, *beyond]


def of_people(marks: Sequence[Mapping[str, Any]], *, by_severity: bool = False) -> list[Span]:
    """People's marks as a snapshot keeps them: the sentiment of each, or (`by_severity`) a third of it for every degree
    of severity.
    """
    return [
        Span(
            mark["start"],
            mark["end"],
            mark["sentiment"] * (min(GRAVEST, mark.get("severity") or GRAVEST) / GRAVEST if by_severity else 1.0),
            author=str(mark.get("author")),
        )
        for mark in marks
    ]


def of_scores(scores: Sequence[Mapping[str, Any]], *, how: Literal["argmax", "soft"] = "argmax") -> list[Span]:
    """A span reward model's verdict on its own tokens, as spans: the likeliest of bad, neutral and good, or p(good) -
    p(bad). What is neutral is no span.
    """
    found = []
    for token in scores:
        good, bad = token["good"], token["bad"]
        if how == "soft":
            score = good - bad
        else:
            neutral = 1.0 - good - bad
            score = 0.0 if neutral >= max(good, bad) else 1.0 if good > bad else -1.0
        if score and token["end"] > token["start"]:
            found.append(Span(token["start"], token["end"], score))
    return found


def _alike(written: str, text: str, since: int) -> int:
    """How far two texts are alike, known to be so up to `since`."""
    at = since
    while at < min(len(written), len(text)) and written[at] == text[at]:
        at += 1
    return at
