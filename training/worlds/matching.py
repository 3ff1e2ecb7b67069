"""Words of a text and the phrases that cover them: patterns with slots, and the cover that explains most words."""

import re
from dataclasses import dataclass
from functools import cache

# Digits with a decimal point, or letters with their combining marks, inner apostrophes and hyphens.
_WORD = re.compile(r"\d+(?:\.\d+)?(?:[^\W\d_]+)?|[^\W\d_][\w\u0300-\u036f'’-]*")
_SENTENCE_END = re.compile(r"[.!?…؟\n]")


@dataclass(frozen=True)
class Word:
    key: str
    start: int
    end: int
    sentence: int


@dataclass(frozen=True)
class Pattern:
    """A phrase that the world knows: its words and slots, what it is, and whose (topic, number of the step)."""

    elements: tuple
    kind: str  # greeting opening lead closing fact step rude ramble claim link
    topic: str = ""
    index: int = -1
    severity: int = 1
    instead: str = ""
    stops: bool = False  # ends with punctuation, which belongs to it
    marks: int = 0  # places inside it where punctuation may stand
    text_goes_on: bool = False  # it hangs on the phrase before it, without a mark between


@dataclass(frozen=True)
class Slot:
    """A place in a phrase: `product`, `name`, `value`, `step` (a value in a step), or a word list (`any`)."""

    name: str
    values: tuple[tuple[str, ...], ...] = ()
    unit: tuple[str, ...] = ()  # any number with this unit is a value too


@dataclass(frozen=True)
class Match:
    pattern: Pattern
    first: int
    last: int  # exclusive, in words
    slots: tuple[tuple[str, int, int], ...]  # name, first and last word


def words_of(text: str) -> list[Word]:
    """The words of a text with their offsets and the number of their sentence."""
    words, sentence, last = [], 0, 0
    for found in _WORD.finditer(text):
        if words and _SENTENCE_END.search(text, last, found.start()):
            sentence += 1
        words.append(Word(found.group().casefold(), found.start(), found.end(), sentence))
        last = found.end()
    return words


@cache
def keys_of(text: str) -> tuple[str, ...]:
    return tuple(word.key for word in words_of(text))


def slot_for_values(name: str, values: tuple[str, ...]) -> Slot:
    """A slot for these values; where all are numbers with one unit, any number with that unit fits."""
    split = tuple(keys_of(value) for value in values)
    numeric = all(keys[0][0].isdigit() for keys in split) and len({keys[1:] for keys in split}) == 1
    return Slot(name, tuple(sorted(split, key=len, reverse=True)), split[0][1:] if numeric and split[0][1:] else ())


def pattern_of(template: str, kind: str, slots: dict[str, Slot] | None = None, **extra) -> Pattern:
    """A phrase as words and slots: `{p}`, `{n}`, `{v}`, `{s}` and the like stand for the slots given."""
    elements = []
    for part in re.split(r"(\{\w+\})", template):
        if part.startswith("{"):
            elements.append((slots or {})[part[1:-1]])
        else:
            elements.extend(keys_of(part))
    marks = len(re.findall(r"[,:;،](?=\s)", template))
    return Pattern(tuple(elements), kind, stops=bool(re.search(r"[.,!?:،]$", template)), marks=marks, **extra)


def _match(pattern: Pattern, words: list[Word], first: int) -> Match | None:
    at, slots = first, []
    sentence = words[first].sentence
    for element in pattern.elements:
        if isinstance(element, str):
            if at >= len(words) or words[at].key != element or words[at].sentence != sentence:
                return None
            at += 1
            continue
        length = _slot_length(element, words, at, sentence)
        if not length:
            return None
        slots.append((element.name, at, at + length))
        at += length
    return Match(pattern, first, at, tuple(slots))


def _slot_length(slot: Slot, words: list[Word], at: int, sentence: int) -> int:
    def fits(keys):
        return at + len(keys) <= len(words) and all(
            words[at + i].key == key and words[at + i].sentence == sentence for i, key in enumerate(keys)
        )

    for keys in slot.values:
        if fits(keys):
            return len(keys)
    if at >= len(words) or words[at].sentence != sentence:
        return 0
    if slot.name == "name":
        return 1
    if slot.unit and words[at].key[0].isdigit():
        rest = [word.key for word in words[at + 1 : at + 1 + len(slot.unit)]]
        return 1 + len(slot.unit) if rest == list(slot.unit) else 0
    return 0


class Phrases:
    """All phrases of one world, by their first word."""

    def __init__(self, patterns: list[Pattern]):
        self._by_first_word: dict[str, list[Pattern]] = {}
        for pattern in patterns:
            self._by_first_word.setdefault(pattern.elements[0], []).append(pattern)

    def cover(self, words: list[Word], topic: str) -> list[Match]:
        """The phrases that cover most words (those of the own topic first), without overlap, in order."""
        best: list[tuple[float, Match | None]] = [(0.0, None)] * (len(words) + 1)
        for at in range(len(words) - 1, -1, -1):
            best[at] = (best[at + 1][0], None)
            for pattern in self._by_first_word.get(words[at].key, ()):
                match = _match(pattern, words, at)
                if match is None:
                    continue
                own = 0.5 if pattern.topic == topic else 0.0
                gain = (match.last - at) - 0.1 - 0.01 * len(match.slots) + own + best[match.last][0]
                if gain > best[at][0]:
                    best[at] = (gain, match)
        found, at = [], 0
        while at < len(words):
            match = best[at][1]
            if match is None:
                at += 1
            else:
                found.append(match)
                at = match.last
        return found
