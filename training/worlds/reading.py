"""The reader: takes any text apart into the phrases that the world knows, and judges it against the handbook.

It never sees how a text was made. It looks for the cheapest way to cover the words with known phrases (facts,
steps, courtesies, rude phrases, digressions, claims); words that no phrase covers are garbled. What is required and
not there is missing. So no text scores well without being a good answer: nothing scores 0, copies of the handbook
or the question are not answers, a phrase said twice is rambling, and stating every possible value makes all wrong
ones invented facts.
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass

from . import phrases
from .matching import Match, Phrases, Word, keys_of, words_of
from .truth import GARBLED, INVENTED_FACT, KEPT, MISSING_STEP, RAMBLING, RUDE_PHRASE, Defect, garbled_severity

_EMOJI = re.compile("|".join(re.escape(emoji) for emoji in phrases.EMOJI))
_PLAIN_GAP = re.compile(r"(?!.*\s{3})\s*[.,!?:;()\"'“”،؟…¡¿-]{0,3}\s*[\"“(¡¿]?\s*", re.DOTALL)
_AFTER = re.compile(r"[.,!?:،]+")
MAX_EMOJI = 3
_COURTESIES = {"greeting": 1, "opening": 1, "lead": 2, "closing": 1}  # how many of each do not tire


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


def read(text: str, truth: Truth, known: Phrases) -> Reading:
    """Everything that is wrong and right with `text` as an answer to the question of `truth`."""
    words = words_of(text)
    return _Judgement(text, words, known.cover(words, truth.topic), truth).reading()


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
            return
        self._broken_up(match)
        if pattern.kind == "rude":
            self._add(start, end, RUDE_PHRASE, pattern.severity, pattern.instead)
            self._piece(match, False)
            return
        if pattern.kind == "claim":
            self._add(start, end, INVENTED_FACT, 3)
            self._piece(match, False)
            return
        if pattern.kind == "ramble" or (pattern.topic and pattern.topic != self.truth.topic):
            severity = 1 if pattern.kind == "ramble" else 2
            self._add(self._clause_start(number), self._end_with_stop(match), RAMBLING, severity)
            self._piece(match, False)
            return
        self._judge_needed(number, match)

    def _judge_needed(self, number: int, match: Match) -> None:
        """A fact, a step or a courtesy: right once, wrong where a slot is wrong, rambling when said again."""
        pattern = match.pattern
        what = (pattern.kind, pattern.index)
        self.courtesies[pattern.kind] = self.courtesies.get(pattern.kind, 0) + 1
        too_many = pattern.kind in _COURTESIES and self.courtesies[pattern.kind] > _COURTESIES[pattern.kind]
        wrong = self._wrong_slots(match)
        if too_many or (what in self.seen and pattern.kind in ("fact", "step") and not wrong):
            self._add(self._clause_start(number), self._end_with_stop(match), RAMBLING, 2)
            self._piece(match, False)
            return
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
        """Words of no phrase, and links that lead nowhere: garbled, one span for each run within a sentence."""
        sizes = Counter(word.sentence for word in self.words)
        leads_to = {"link": "step", "lead": "fact"}
        taken = set()
        for number, match in enumerate(self.matches):
            kind = leads_to.get(match.pattern.kind)
            if kind is None or self._leads_on(number, kind):
                taken.update(range(match.first, match.last))
        run: list[Word] = []
        for at, word in enumerate([*self.words, None]):
            stray = word is not None and at not in taken
            if run and (not stray or word.sentence != run[-1].sentence):
                whole = _AFTER.match(self.text, run[-1].end) if len(run) == sizes[run[-1].sentence] else None
                end = whole.end() if whole else run[-1].end
                self._add(run[0].start, end, GARBLED, garbled_severity(len(run)))
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
                inner = gap.strip() or gap
                self._add(start + gap.index(inner), start + gap.index(inner) + len(inner), GARBLED, 2)

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

    def _leads_on(self, number: int, kind: str) -> bool:
        """A connecting word stands before a step of its sentence (or one more such word), a lead before a fact."""
        for after in (number + 1, number + 2):
            if after >= len(self.matches):
                return False
            this, following = self.matches[after - 1], self.matches[after]
            if following.first != this.last or self.words[this.first].sentence != self.words[following.first].sentence:
                return False
            if following.pattern.kind != self.matches[number].pattern.kind:
                return following.pattern.kind == kind
        return False

    def _broken_up(self, match: Match) -> None:
        """More punctuation inside a phrase than it has: "Open, the! flap"."""
        gaps = [(w.end, after.start) for w, after in itertools.pairwise(self.words[match.first : match.last])]
        odd = [(start, end) for start, end in gaps if self.text[start:end].strip()]
        if len(odd) > match.pattern.marks:
            self._add(odd[0][0], odd[-1][1], GARBLED, 1)

    def _clause_start(self, number: int) -> int:
        """Where the clause of this match begins, its connecting words included."""
        while number and self.matches[number - 1].pattern.kind == "link" and self._leads_on(number - 1, "step"):
            number -= 1
        return self.words[self.matches[number].first].start

    def _span(self, match: Match) -> tuple[int, int]:
        start, end = self.words[match.first].start, self.words[match.last - 1].end
        if match.pattern.stops and (found := _AFTER.match(self.text, end)):
            end = found.end()
        return start, end

    def _end_with_stop(self, match: Match) -> int:
        """The end of a phrase; where it ends its sentence, the full stop is part of it."""
        if match.last < len(self.words) and self.words[match.last].sentence == self.words[match.last - 1].sentence:
            return self._span(match)[1]
        return self._sentence_end(match)

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
        quality *= max(0.0, 1 - 2 * self._share(defects, GARBLED))
        quality *= min(1.0, (1 - self._share(defects, RAMBLING)) / 0.7) ** 2  # a story is one thing, a lecture another
        return round(quality * self._order() * self._form(), 4)

    def _share(self, defects: tuple[Defect, ...], kind: str) -> float:
        """What part of the words stands in defects of this kind (strange characters count as a word)."""
        words = sum(len(words_of(self.text[d.start : d.end])) or 1 for d in defects if d.kind == kind)
        return min(1.0, words / max(1, len(self.words)))

    def _order(self) -> float:
        """Steps in another order cost most; a greeting that is not first and a closing too early cost a little."""
        items = [item for item, _, _ in self.places if item >= 0]
        kinds = [match.pattern.kind for match in self.matches if match.pattern.kind != "link"]
        late_greeting = "greeting" in kinds[1:]
        early_closing = "closing" in kinds and any(k in ("fact", "step") for k in kinds[kinds.index("closing") :])
        return (1.0 if items == sorted(items) else 0.7) * (0.85 if late_greeting or early_closing else 1.0)

    def _form(self) -> float:
        """Sentences begin with a capital, where there are capitals, and do not run on: else up to a third is lost."""
        sentences = [part for part in re.split(r"(?<=[.!?…؟])\s+", _EMOJI.sub("", self.text).strip()) if part.strip()]
        if not sentences:
            return 0.0
        good = -self._run_ons()
        for sentence in sentences:
            letters = [c for c in sentence if c.isalpha()]
            shouted = len(letters) > 3 and all(letter.isupper() for letter in letters)
            good += bool(letters) and not letters[0].islower() and not shouted
        return 0.67 + 0.33 * max(0, good) / len(sentences)

    def _run_ons(self) -> int:
        """Phrases that follow each other, or end the text, without any mark between."""
        run_ons = 0
        for match, following in itertools.pairwise([*self.matches, None]):
            if match.pattern.kind == "link" or (following and following.pattern.text_goes_on):
                continue
            end = self.words[following.first].start if following else len(self.text)
            run_ons += not self.text[self.words[match.last - 1].end : end].strip()
        return run_ons


def _merged(text: str, defects: list[Defect]) -> list[Defect]:
    """Neighbouring digressions are one defect, a little more severe."""
    merged: list[Defect] = []
    for defect in sorted(defects):
        before = merged[-1] if merged else None
        touching = before is not None and not text[before.end : defect.start].strip()
        if touching and before.kind == defect.kind == RAMBLING:
            merged[-1] = Defect(before.start, defect.end, RAMBLING, min(3, before.severity + defect.severity))
        else:
            merged.append(defect)
    return merged
