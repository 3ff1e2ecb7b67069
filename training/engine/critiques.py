"""Critiques as a model writes them: words first, then the phrases they are about, as JSON.

    {"textual_feedback": str, "good_spans": [str, ...], "poor_spans": [str, ...]}

The form of Text2Grad's reward model (arXiv 2505.22338) for questions and answers: the words come before the quotes,
because they are what makes the quotes right. What cannot be read is no verdict, which is not the same as a verdict
without quotes. A quote has no place of its own: it is searched for in the answer. Torch-free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from training.engine.tokens import Span

WORDS, GOOD, POOR = "textual_feedback", "good_spans", "poor_spans"
ALIKE = 0.7  # how alike a phrase of the answer must be to a quote that stands nowhere in it
Place = tuple[int, int]
NOTHING = "Nothing to criticise."
_STRING = r'"((?:[^"\\]|\\.)*)"'
_PIECE = re.compile(r"\S+")


@dataclass(frozen=True)
class Critique:
    """Words on an answer, and phrases of it."""

    words: str
    good: Sequence[str] = field(default_factory=tuple)
    poor: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Located:
    """A critique's quotes as marks on the answer."""

    spans: tuple[Span, ...]
    lost: int  # quotes that stand nowhere in it


def written(critique: Critique) -> str:
    """As a model is taught to write it. The words hold no quotation marks, so that the first one ends them."""
    return json.dumps(
        {WORDS: plain(critique.words), GOOD: [*critique.good], POOR: [*critique.poor]}, ensure_ascii=False
    )


def plain(words: str) -> str:
    """Words on one line, with single quotation marks and without backslashes."""
    return " ".join(words.replace('"', "'").replace("\\", "").split())


def of_marks(marks: Sequence[Mapping[str, Any]], said: str = "") -> Critique:
    """What one person marked, as a critique: what they said of the whole, then of each phrase, in the text's order.

    A phrase that nobody put in words is named by its label. Something that is missing has words, and no phrase.
    """
    words = [said.strip()] if said.strip() else []
    good: list[str] = []
    poor: list[str] = []
    for mark in sorted(marks, key=lambda one: (one["start"], one["end"])):
        quote, sign = mark["quote"].strip(), mark["sentiment"]
        why = (mark.get("critique") or "").strip() or str(mark.get("label") or ("good" if sign > 0 else "bad"))
        words.append(f"'{plain(quote)}': {why.replace('_', ' ')}" if quote else f"Missing: {why.replace('_', ' ')}")
        if quote and sign:
            (good if sign > 0 else poor).append(quote)
    return Critique(" ".join(one if one[-1] in ".!?" else f"{one}." for one in words) or NOTHING, good, poor)


def parsed(text: str) -> Critique | None:
    """What a model wrote: the first whole {...} that is JSON with lists of phrases; else what can be read of it; None
    where no list of phrases can.
    """
    for piece in _balanced(text):
        try:
            found = json.loads(piece)
        except ValueError:
            continue
        if isinstance(found, dict) and (GOOD in found or POOR in found):
            good, poor = found.get(GOOD, []), found.get(POOR, [])
            if _are_phrases(good) and _are_phrases(poor):
                return Critique(str(found.get(WORDS, "")), good, poor)
    lists = {}
    for name in (GOOD, POOR):
        if match := re.search(rf'"{name}"\s*:\s*\[((?:\s*{_STRING}\s*,?)*)', text):
            lists[name] = [_unescaped(one) for one in re.findall(_STRING, match[1])]
    if not lists:
        return None
    words = re.search(rf'"{WORDS}"\s*:\s*{_STRING}', text)
    return Critique(_unescaped(words[1]) if words else "", lists.get(GOOD, []), lists.get(POOR, []))


def located(text: str, critique: Critique) -> Located:
    """Where the quotes stand in the answer: letter by letter; else with case, punctuation and spaces folded; else the
    phrase that is most alike, if it is alike enough; else nowhere. A quote that comes twice marks the first place that
    it has not yet taken, and where there is none, nothing.
    """
    spans: list[Span] = []
    places: dict[str, list[Place]] = {}  # of the same words
    lost = 0
    for quotes, score in ((critique.good, 1.0), (critique.poor, -1.0)):
        for quote in quotes:
            taken = places.setdefault(_fold(quote)[0].strip(), [])
            found = _exact(text, quote) or _folded(text, quote) or _alike(text, quote)
            place = next((one for one in found if _free(one, taken)), None)
            if place is None:
                lost += not found
                continue
            taken.append(place)
            spans.append(Span(*place, score))
    return Located(tuple(sorted(spans, key=lambda one: (one.start, one.end))), lost)


def overlap(mine: str, theirs: str) -> float:
    """ROUGE-L: the F1 of the longest common row of words of two critiques, case aside; 0 where one is empty."""
    a, b = (re.findall(r"\w+", one.casefold()) for one in (mine, theirs))
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(a) + len(b))


def _balanced(text: str) -> Iterator[str]:
    """Every {...} that begins at an opening brace and ends where its braces, outside of strings, are balanced."""
    for start in (match.start() for match in re.finditer(r"\{", text)):
        depth, quoted, escaped = 0, False, False
        for place in range(start, len(text)):
            letter = text[place]
            if quoted:
                quoted = escaped or letter != '"'
                escaped = letter == "\\" and not escaped
            elif letter == '"':
                quoted = True
            else:
                depth += (letter == "{") - (letter == "}")
            if depth == 0:
                yield text[start : place + 1]
                break


def _are_phrases(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _unescaped(string: str) -> str:
    try:
        return str(json.loads(f'"{string}"', strict=False))
    except ValueError:
        return string


def _free(place: Place, taken: Sequence[Place]) -> bool:
    return all(place[1] <= start or end <= place[0] for start, end in taken)


def _exact(text: str, quote: str) -> list[Place]:
    """Where the quote stands letter by letter: first between words, then within them."""
    quote = quote.strip()
    found = [(at, at + len(quote)) for at in _places(text, quote)]
    return sorted(found, key=lambda place: (not _between_words(text, place), place))


def _folded(text: str, quote: str) -> list[Place]:
    bare, places = _fold(text)
    wanted = _fold(quote)[0].strip()
    found = [(places[at], places[at + len(wanted) - 1] + 1) for at in _places(bare, wanted)]
    return sorted(found, key=lambda place: (not _between_words(text, place), place))


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part) if part else -1
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _between_words(text: str, place: Place) -> bool:
    start, end = place
    return not (start and text[start - 1].isalnum() and text[start].isalnum()) and not (
        end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
    )


def _fold(text: str) -> tuple[str, list[int]]:
    """Letters and digits in lower case, all else one space; and where each character came from."""
    bare: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        for one in letter.casefold() if letter.isalnum() else " ":
            if one != " " or (bare and bare[-1] != " "):
                bare.append(one)
                places.append(place)
    return "".join(bare), places


def _alike(text: str, quote: str) -> list[Place]:
    """The phrases that are alike enough, the most alike first."""
    wanted = _fold(quote)[0].strip()
    pieces = [match.span() for match in _PIECE.finditer(text)]
    n = len(wanted.split())
    if not n:
        return []
    found: list[tuple[float, Place]] = []
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    for size in range(max(1, n - 1), n + 2):
        for at in range(len(pieces) - size + 1):
            place = pieces[at][0], pieces[at + size - 1][1]
            matcher.set_seq1(_fold(text[slice(*place)])[0].strip())
            if matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE:
                ratio = matcher.ratio()
                if ratio >= ALIKE:
                    found.append((-ratio, place))
    return [place for _, place in sorted(found)]
