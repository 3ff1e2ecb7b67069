"""The reader: takes any text apart into the phrases that the world knows, and judges it against the handbook.

It never sees how a text was made. It looks for the cheapest way to cover the words with known phrases (facts, steps, courtesies,
rude phrases, digressions, claims); words that no phrase covers are garbled. What is required and not there is missing. So there is no
text that scores well without being a good answer: nothing scores 0, copies of the handbook or the question are not answers,
a phrase said twice is rambling, and stating every possible value makes all wrong ones invented facts.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from . import phrases
from .truth import GARBLED, INVENTED_FACT, KEPT, MISSING_STEP, RAMBLING, RUDE_PHRASE, Defect

# Digits with a decimal point, or letters with their combining marks, inner apostrophes and hyphens.
_WORD = re.compile(r"\d+(?:\.\d+)?(?:[^\W\d_]+)?|[^\W\d_][\w\u0300-\u036f'’-]*")
_SENTENCE_END = re.compile(r"[.!?…؟\n]")
_EMOJI = re.compile("|".join(re.escape(emoji) for emoji in phrases.EMOJI))
_PLAIN_GAP = re.compile(r"\s*[.,!?:;()\"'“”،؟…¡¿-]{0,3}\s*[\"“(¡¿]?\s*")
_AFTER = re.compile(r"[.,!?:،]+")
MAX_EMOJI = 3
_COURTESIES = {"greeting": 1, "opening": 1, "lead": 2, "closing": 1}  # how many of each do not tire


@dataclass(frozen=True)
class Word:
    key: str
    start: int
    end: int
    sentence: int


@dataclass(frozen=True)
class Pattern:
    """A phrase that the world knows: words (str) and slots (Slot), what it is, and whose (topic and number of the step)."""

    elements: tuple
    kind: str  # greeting opening lead closing fact step rude ramble claim link
    topic: str = ""
    index: int = -1
    severity: int = 1
    instead: str = ""
    stops: bool = False  # ends with punctuation, which belongs to it


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


@dataclass(frozen=True)
class Piece:
    """A phrase that was recognised, with its offsets: `right` says that it belongs here and says the truth."""

    kind: str
    start: int
    end: int
    index: int
    right: bool


@dataclass(frozen=True)
class Reading:
    """All that the reader found in a text."""

    defects: tuple[Defect, ...]
    pieces: tuple[Piece, ...]
    quality: float


def words_of(text: str) -> list[Word]:
    """The words of a text with their offsets and the number of their sentence."""
    words, sentence, last = [], 0, 0
    for found in _WORD.finditer(text):
        if words and _SENTENCE_END.search(text, last, found.start()):
            sentence += 1
        words.append(Word(found.group().casefold(), found.start(), found.end(), sentence))
        last = found.end()
    return words


@lru_cache(maxsize=None)
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
    return Pattern(tuple(elements), kind, stops=bool(re.search(r"[.,!?:،]$", template)), **extra)


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


class Reader:
    """Reads texts with the phrases of one world."""

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

    def read(self, text: str, truth: "Truth") -> Reading:
        """Everything that is wrong and right with `text` as an answer to the question of `truth`."""
        words = words_of(text)
        matches = self.cover(words, truth.topic)
        return _Judgement(text, words, matches, truth).reading()


@dataclass(frozen=True)
class Truth:
    """What a right answer to one question says. Values are keys of words as `keys_of` makes them."""

    topic: str
    product: str
    name: str
    fact: str  # the value
    steps: tuple[str, ...]  # the value of each step, empty where it has none
    fact_sentence: str  # how to say it where it is missing
    step_clauses: tuple[str, ...]


class _Judgement:
    """One reading in the making: passes over the matches in order and collects defects and pieces."""

    def __init__(self, text: str, words: list[Word], matches: list[Match], truth: Truth):
        self.text, self.words, self.matches, self.truth = text, words, matches, truth
        self.defects: list[Defect] = []
        self.pieces: list[Piece] = []
        self.seen: set = set()
        self.courtesies: dict[str, int] = {}
        self.covered: dict[int, bool] = {}  # -1 is the fact, then the steps: said rightly
        self.places: list[tuple[int, int, int]] = []  # step, start of its clause, end with its punctuation

    def reading(self) -> Reading:
        self._stray_words()
        for number, match in enumerate(self.matches):
            self._judge(number, match)
        self._strange_characters()
        self._missing()
        defects = tuple(sorted(_merged(self.text, self.defects)))
        return Reading(defects, tuple(self.pieces), self._quality(defects))

    def _judge(self, number: int, match: Match) -> None:
        pattern = match.pattern
        start, end = self._span(match)
        if pattern.kind == "link":
            if not self._link_leads_on(number):
                self._add(start, end, GARBLED, 1)
            return
        if pattern.kind == "rude":
            self._add(start, end, RUDE_PHRASE, pattern.severity, pattern.instead)
            return self._piece(match, False)
        if pattern.kind == "claim":
            self._add(start, end, INVENTED_FACT, 3)
            return self._piece(match, False)
        if pattern.kind == "ramble" or (pattern.topic and pattern.topic != self.truth.topic):
            self._add(self._clause_start(number), end, RAMBLING, 1 if pattern.kind == "ramble" else 2)
            return self._piece(match, False)
        self._judge_needed(number, match, start, end)

    def _judge_needed(self, number: int, match: Match, start: int, end: int) -> None:
        """A fact, a step or a courtesy: right once, wrong where a slot is wrong, rambling when said again."""
        pattern = match.pattern
        what = (pattern.kind, pattern.index)
        self.courtesies[pattern.kind] = self.courtesies.get(pattern.kind, 0) + 1
        too_many = pattern.kind in _COURTESIES and self.courtesies[pattern.kind] > _COURTESIES[pattern.kind]
        wrong = self._wrong_slots(match)
        if too_many or (what in self.seen and pattern.kind in ("fact", "step") and not wrong):
            self._add(self._clause_start(number), max(end, self._sentence_end(match)), RAMBLING, 2)
            return self._piece(match, False)
        self.defects.extend(wrong)
        if pattern.kind in ("fact", "step"):
            item = -1 if pattern.kind == "fact" else pattern.index
            self.covered[item] = self.covered.get(item, False) or not wrong
            if what not in self.seen:
                self.places.append((item, self._clause_start(number), self._sentence_end(match)))
            self.seen.add(what)
        self._piece(match, not wrong)

    def _wrong_slots(self, match: Match) -> list[Defect]:
        right = {
            "product": (self.truth.product, 2),
            "name": (self.truth.name or "there", 1),
            "value": (self.truth.fact, 2),
            "step": (self.truth.steps[match.pattern.index] if match.pattern.kind == "step" else "", 2),
        }
        wrong = []
        for name, first, last in match.slots:
            if name not in right:
                continue
            value, severity = right[name]
            said = tuple(word.key for word in self.words[first:last])
            if said != keys_of(value):
                wrong.append(Defect(self.words[first].start, self.words[last - 1].end, INVENTED_FACT, severity, value))
        return wrong

    def _stray_words(self) -> None:
        """Words that belong to no phrase: garbled, one span for each run within a sentence."""
        taken = {at for match in self.matches for at in range(match.first, match.last)}
        run: list[Word] = []
        for at, word in enumerate([*self.words, None]):
            stray = word is not None and at not in taken
            if run and (not stray or word.sentence != run[-1].sentence):
                self._add(run[0].start, run[-1].end, GARBLED, min(3, 1 + len(run) // 2))
                run = []
            if stray:
                run.append(word)

    def _strange_characters(self) -> None:
        """Between words: spaces, usual punctuation and a few known emoji; everything else is garbled."""
        edges = [0, *(edge for word in self.words for edge in (word.start, word.end)), len(self.text)]
        emoji = 0
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            gap = self.text[start:end]
            emoji += len(_EMOJI.findall(gap))
            if not _PLAIN_GAP.fullmatch(_EMOJI.sub("", gap)) or emoji > MAX_EMOJI:
                lead = len(gap) - len(gap.lstrip())
                self._add(start + lead, start + max(lead, len(gap.rstrip())), GARBLED, 2)

    def _missing(self) -> None:
        """Required and not said at all: an empty span where it should stand; neighbours share one."""
        said = {item for item, _, _ in self.places}
        gaps: dict[int, list[int]] = {}
        for item in range(-1, len(self.truth.steps)):
            if item not in said:
                gaps.setdefault(self._place_for(item), []).append(item)
        for place, items in gaps.items():
            self._add(place, place, MISSING_STEP, min(3, 1 + len(items)), self._insertion(place, items))

    def _place_for(self, item: int) -> int:
        """Before the first later thing that is said; else after the last earlier one; else at the end."""
        later = [start for other, start, _ in self.places if other > item]
        if later:
            return min(later)
        earlier = [end for _, _, end in self.places]
        return max(earlier) if earlier else len(self.text.rstrip())

    def _insertion(self, place: int, items: list[int]) -> str:
        sentences, last = [], len(self.truth.steps) - 1
        for item in items:
            if item < 0:
                sentences.append(self.truth.fact_sentence)
                continue
            link = phrases.INSERTED_LAST if item == last else phrases.INSERTED_NEXT if item else phrases.INSERTED_FIRST
            sentences.append(f"{link} {self.truth.step_clauses[item]}.")
        before = self.text[:place].rstrip()
        if before and before[-1] == "," and any(start == place for _, start, _ in self.places):
            return "".join(f"{phrases.JOINED} {self.truth.step_clauses[item]}, " for item in items if item >= 0)
        inserted = " ".join(sentences)
        return f"{inserted} " if place < len(self.text) and self.text[place : place + 1].strip() else f" {inserted}"

    def _link_leads_on(self, number: int) -> bool:
        """A connecting word must stand before a step (perhaps after one more connecting word) of its sentence."""
        for step in (number + 1, number + 2):
            if step >= len(self.matches):
                return False
            this, following = self.matches[step - 1], self.matches[step]
            if following.first != this.last or self.words[this.first].sentence != self.words[following.first].sentence:
                return False
            if following.pattern.kind != "link":
                return following.pattern.kind == "step"
        return False

    def _clause_start(self, number: int) -> int:
        """Where the clause of this match begins, its connecting words included."""
        while number and self.matches[number - 1].pattern.kind in ("link",) and self._link_leads_on(number - 1):
            number -= 1
        return self.words[self.matches[number].first].start

    def _span(self, match: Match) -> tuple[int, int]:
        start, end = self.words[match.first].start, self.words[match.last - 1].end
        if match.pattern.stops and (found := _AFTER.match(self.text, end)):
            end = found.end()
        return start, end

    def _sentence_end(self, match: Match) -> int:
        sentence = self.words[match.last - 1].sentence
        end = max(word.end for word in self.words if word.sentence == sentence)
        found = _AFTER.match(self.text, end)
        return found.end() if found else end

    def _add(self, start: int, end: int, kind: str, severity: int, replacement: str = "") -> None:
        self.defects.append(Defect(start, end, kind, severity, replacement))

    def _piece(self, match: Match, right: bool) -> None:
        self.pieces.append(Piece(match.pattern.kind, *self._span(match), match.pattern.index, right))

    def _quality(self, defects: tuple[Defect, ...]) -> float:
        """Share of what is required and right, to the power 1.5, times what each defect leaves, times the form."""
        required = 1 + len(self.truth.steps)
        quality = (sum(self.covered.values()) / required) ** 1.5
        for defect in defects:
            if defect.kind != MISSING_STEP:
                quality *= KEPT[defect.kind][defect.severity]
        garbled = sum(len(keys_of(self.text[d.start : d.end])) or 1 for d in defects if d.kind == GARBLED)
        quality *= max(0.0, 1 - 2 * garbled / max(1, len(self.words)))
        return round(quality * self._order() * self._form(), 4)

    def _order(self) -> float:
        items = [item for item, _, _ in self.places if item >= 0]
        return 1.0 if items == sorted(items) else 0.8

    def _form(self) -> float:
        """Sentences begin with a capital where there are capitals, and end with a mark: otherwise up to a third is lost."""
        sentences = [part for part in re.split(r"(?<=[.!?…؟])\s+", _EMOJI.sub("", self.text).strip()) if part.strip()]
        if not sentences:
            return 0.0
        good = 0
        for sentence in sentences:
            letters = [c for c in sentence if c.isalpha()]
            good += bool(letters) and not letters[0].islower()
        good -= len(sentences) < len({word.sentence for word in self.words}) / 2
        long = sum(1 for sentence in sentences if len(keys_of(sentence)) > 45)
        return 0.67 + 0.33 * max(0, good - long) / len(sentences)


def _merged(text: str, defects: list[Defect]) -> list[Defect]:
    """Neighbouring digressions and neighbouring garbled phrases are one defect each, a little more severe."""
    merged: list[Defect] = []
    for defect in sorted(defects):
        before = merged[-1] if merged else None
        touching = before is not None and not text[before.end : defect.start].strip()
        if touching and before.kind == defect.kind == RAMBLING and defect.start > before.start:
            merged[-1] = Defect(before.start, defect.end, RAMBLING, min(3, before.severity + defect.severity))
        else:
            merged.append(defect)
    return merged
