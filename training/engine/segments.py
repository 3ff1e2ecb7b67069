"""Answers cut in segments, and what people's marks say of each: the ground of rewards at segment ends.

Fine-Grained RLHF (arXiv 2306.01693) judges facts by the sentence and relevance by the sub-sentence, here a clause: a
piece of a sentence that ends at a comma or the like and is long enough to be judged. Segments tile the text: each
begins at its first word (the first of all at 0) and ends where the next begins. All places count code points. No torch.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.engine import passages

Segment = tuple[int, int]  # from a character to another, exclusive
Segmenter = Callable[[str], list[Segment]]

OK, ERR = "OK", "ERR"  # what a segment may be; None where nobody judged it
SHORTEST = 5  # words of a clause, and of what must follow one
_BREAKS = (",", ";", "!", "?")
_WORD = re.compile(r"\S+")


def sentences(text: str) -> list[Segment]:
    """The sentences of a text, with the space that follows them; none in a text without a word."""
    return _tiles([start for start, _ in passages.sentences(text)], len(text))


def clauses(text: str) -> list[Segment]:
    """The sentences cut at commas, semicolons, exclamation and question marks into pieces of five words or more.

    A sentence is cut before word i where word i - 1 ends in such a mark and more than five words follow from i on. A
    piece of fewer than five words joins the one on its left; the first of a sentence has none and joins what follows.
    """
    starts = []
    for left, right in passages.sentences(text):
        words = [found.start() for found in _WORD.finditer(text, left, right)]
        ends = [found.end() for found in _WORD.finditer(text, left, right)]
        cuts = [0]
        for place in range(1, len(words)):
            if text[ends[place - 1] - 1] not in _BREAKS or place + SHORTEST >= len(words):
                continue
            if place - cuts[-1] >= SHORTEST:
                cuts.append(place)
            elif cuts[-1] > 0:
                cuts[-1] = place
        starts += [words[cut] for cut in cuts]
    return _tiles(starts, len(text))


def of_words(count: int) -> Segmenter:
    """Segments of so many words each, whatever they say; the last may be shorter."""
    if count < 1:
        raise ValueError(f"A segment of {count} words holds nothing.")

    def cut(text: str) -> list[Segment]:
        words = [found.start() for found in _WORD.finditer(text)]
        return _tiles(words[::count], len(text))

    return cut


def segmenter(name: str) -> Segmenter:
    """By name: "sentence", "clause" or "words:4"; raise ValueError for another."""
    kind, _, number = name.partition(":")
    if kind == "words" and number.isascii() and number.isdigit():
        return of_words(int(number))
    found = {"sentence": sentences, "clause": clauses}.get(name)
    if found is None:
        raise ValueError(f"“{name}” is no way to cut an answer; there are sentence, clause and words:4.")
    return found


def last_character(text: str, segment: Segment) -> int:
    """The place of a segment's last character that is no space."""
    start, end = segment
    return start + len(text[start:end].rstrip()) - 1


def end_tokens(text: str, segments: Sequence[Segment], offsets: Sequence[Segment]) -> list[int | None]:
    """For each segment the token that holds its last character (that is no space), by the tokens' offsets in the text;
    None where no token does, because they were cut off.

    Where tokens are parts of one character, it is the last of them.
    """
    starts = [start for start, _ in offsets]
    found: list[int | None] = []
    for segment in segments:
        place = last_character(text, segment)
        token = bisect_right(starts, place) - 1
        found.append(token if token >= 0 and offsets[token][1] > place else None)
    return found


def words_in(text: str, mark: Mapping[str, Any]) -> int:
    """How many words a mark touches."""
    return len(text[mark["start"] : mark["end"]].split())


def verdicts(
    text: str,
    segments: Sequence[Segment],
    marks: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]] = (),
    *,
    facts: bool = False,
    shortest: int = 5,
) -> list[str | None]:
    """What people's marks make of each segment for one category: ERR where any of its characters (that is no space) is
    marked, OK where none is. `marks` are the category's bad spans, `others` those of other categories; an empty span
    (something is missing) stands in the segment of its place.

    A span of fewer than `shortest` words is dropped, an empty one is not. With `facts` no span is, and a segment that
    only another category marks is None: people mark one category a place, so its facts were not judged.
    """

    def hit(spans: Sequence[Mapping[str, Any]], *, facts: bool) -> set[int]:
        kept = [one for one in spans if facts or one["start"] == one["end"] or words_in(text, one) >= shortest]
        return {number for one in kept for number in _touched(text, segments, one["start"], one["end"])}

    own = hit(marks, facts=facts)
    foreign = hit(others, facts=False) if facts else set()
    return [ERR if number in own else None if number in foreign else OK for number in range(len(segments))]


def _touched(text: str, segments: Sequence[Segment], start: int, end: int) -> list[int]:
    if start == end:
        return [number for number, (left, right) in enumerate(segments) if left <= start < right] or (
            [len(segments) - 1] if segments else []
        )
    return [
        number
        for number, (left, right) in enumerate(segments)
        if text[max(left, start) : min(right, end)].strip() and max(left, start) < min(right, end)
    ]


def _tiles(starts: Sequence[int], length: int) -> list[Segment]:
    """Segments that begin at these places, the first one at 0."""
    borders = [0, *starts[1:], length] if starts else []
    return list(zip(borders, borders[1:], strict=False))
