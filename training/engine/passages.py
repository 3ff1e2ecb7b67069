"""Passages in a prompt: which of their sentences to show when not all fit. No torch here."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")
_WORD = re.compile(r"\w+")
_SMALL = frozenset(
    """
    a an and are as at be been but by did do does for from had has have he her his how i in is it its me
    my of on or our she that the their them they this to us was we were what when where which who why
    will with you your
    """.split()  # noqa: SIM905 - a list would be a page long
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text stand, without the space around them."""
    found, start = [], 0
    for gap in [*_END.finditer(text), None]:
        stop = gap.end() if gap else len(text)
        piece = text[start:stop]
        left, right = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if right > left:
            found.append((left, right))
        start = stop
    return found


def words(text: str) -> list[str]:
    """The words that carry meaning, folded, with plural and similar endings cut off."""
    return [_stem(word) for word in _WORD.findall(text.casefold()) if word not in _SMALL]


def best_sentences(
    query: str,
    context: Sequence[Mapping[str, Any]],
    *,
    budget: int,
    measure: Callable[[str], int],
) -> list[tuple[str, str]]:
    """(title, text) of the passages' sentences closest to the query, in their own order, as many as fit `budget`.

    Closeness: the query's words in the sentence, rare ones counting more and those of its title half; long sentences
    gain less from each.
    """
    pieces = [
        (title, text[start:end])
        for passage in context
        for title, text in [(str(passage.get("title") or ""), str(passage["text"]))]
        for start, end in sentences(text)
    ]
    bags = [set(words(text)) for _, text in pieces]
    titles = [set(words(title)) - bag for (title, _), bag in zip(pieces, bags, strict=True)]
    seen = Counter(word for bag, title in zip(bags, titles, strict=True) for word in bag | title)
    wanted = Counter(words(query))
    weight = {
        word: math.log(1 + len(pieces) / seen[word]) * min(2, count) for word, count in wanted.items() if word in seen
    }
    closeness = [
        (sum(weight.get(word, 0.0) for word in bag) + 0.5 * sum(weight.get(word, 0.0) for word in title))
        / math.sqrt(8 + len(bag))
        for bag, title in zip(bags, titles, strict=True)
    ]
    chosen, left = set(), budget
    for index in sorted(range(len(pieces)), key=lambda index: (-closeness[index], index)):
        cost = measure(pieces[index][1]) + 1
        if cost <= left:
            chosen.add(index)
            left -= cost
    return [pieces[index] for index in sorted(chosen)]


def passages_text(
    query: str, context: Sequence[Mapping[str, Any]], *, budget: int, measure: Callable[[str], int]
) -> str:
    """The passages as they stand in a prompt: whole where they fit, else the best sentences, under their titles."""
    lines: list[str] = []
    title = None
    for own_title, text in best_sentences(query, context, budget=budget, measure=measure):
        if own_title != title:
            title = own_title
            lines.append(f"{title}: {text}" if title else text)
        else:
            lines[-1] += " " + text
    return "\n".join(lines)


def with_passages(messages: Sequence[Mapping[str, Any]], passages: str) -> list[dict[str, Any]]:
    """The conversation with the passages as (or under) its system message; without passages it is unchanged."""
    rest = [dict(message) for message in messages]
    if not passages:
        return rest
    told = f"Answer from these passages.\n{passages}"
    if rest and rest[0]["role"] == "system":
        return [{**rest[0], "content": f"{rest[0]['content']}\n\n{told}"}, *rest[1:]]
    return [{"role": "system", "content": told}, *rest]


def question_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What is asked: the last user message."""
    return next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")


def _stem(word: str) -> str:
    for ending in _endings(word):
        return word[: -len(ending)]
    return word


def _endings(word: str) -> Iterator[str]:
    for ending in ("ies", "ing", "ed", "es", "s"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            yield ending
