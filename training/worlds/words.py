"""The word world: asked for a topic, an answer is a row of words, and each of them is right, wrong or of no account.

The world of text2grad.md (b): 4 topics of 6 words and 8 fillers, 12 words an answer; +1 for a word of the topic asked
for, -1 for another topic's, 0 for a filler. What a weak writer does, 35 % good, 35 % bad and 30 % filler, is what its
tiny base has read. Options make it harder (`registry` names them): rude words that cost twice as much, repetitions that
cost half, more topics with more words, a truth that is all or nothing (critique-grpo.md (b)) or asks for all words of a
topic (fine-grained-rlhf.md (b)). The reader sees the prompt and the text and nothing else.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .manners import Manners
from .reading import Piece, Reading
from .toy import Toy, ToyPrompt
from .truth import GARBLED, RUDE_PHRASE, Answer, Defect
from .vocabularies import FILLERS, LEXICON, RUDE
from .words_voices import MANNERS

FOREIGN = "foreign_word"
REPEATED = "repeated"
MISSING = "missing_words"
COSTS = {FOREIGN: 1.0, RUDE_PHRASE: 2.0, REPEATED: 0.5, GARBLED: 1.0, MISSING: 1.0}  # what one such word takes
SEVERITIES = {FOREIGN: 2, RUDE_PHRASE: 3, REPEATED: 1, GARBLED: 2}
PLAIN = (FOREIGN,)
ALL = (FOREIGN, RUDE_PHRASE, REPEATED)
SHARES = {"good": 0.35, "bad": 0.35, "filler": 0.3}
SEGMENT = 4  # words of a segment
STYLES = 3

Truth = Literal["mean", "all", "coverage"]
_CHUNK = re.compile(r"\S+")


@dataclass(frozen=True)
class Heard:
    """One word of an answer: where it stands, what it is (own, filler, or a kind of defect), and what it is worth."""

    start: int
    end: int
    key: str
    kind: str
    worth: float


class Words(Toy):
    """The word world with its options."""

    name = "words"
    manners: Manners = MANNERS

    def __init__(
        self,
        length: int = 12,
        *,
        topics: int = 4,
        words: int = 6,
        defects: Sequence[str] = PLAIN,
        truth: Truth = "mean",
        tastes: float = 0.0,
        seed: int = 0,
        spec: str = "",
    ) -> None:
        """`length` words an answer; the first `topics` of the lexicon with their first `words`; the kinds of `defects`
        that a careless writer makes. Rude and garbled words are seen in any case, repetitions only where named.
        `tastes` says how much people care for an answer's style besides (see `leaning`).
        """
        self.length, self.defect_kinds, self.truth, self.seed = length, tuple(defects), truth, seed
        self.tastes = tastes
        self.lexicon = {topic: LEXICON[topic][:words] for topic in list(LEXICON)[:topics]}
        self.topics = tuple(self.lexicon)
        self.spec = spec or "words"
        self._topic_of = {word: topic for topic, own in self.lexicon.items() for word in own}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words of answers: each topic's, fillers, rude ones."""
        return (*self._topic_of, *FILLERS, *RUDE)

    # The reader

    def heard(self, prompt: ToyPrompt, text: str) -> list[Heard]:
        """The words of a text, in its order, each with what it is and what it is worth as an answer to the prompt."""
        found: list[Heard] = []
        said: set[str] = set()
        for match in _CHUNK.finditer(text):
            key = match.group().rstrip(".,!?").casefold()
            kind = self._kind_of(prompt.topic, key, said)
            worth = -COSTS[kind] if kind in COSTS else float(kind == "own" and len(found) < self.length)
            found.append(Heard(match.start(), match.start() + max(1, len(key)), key, kind, worth))
            said.add(key)
        return found

    def _kind_of(self, topic: str, key: str, said: set[str]) -> str:
        if key in FILLERS:
            return "filler"
        if key in RUDE:
            return RUDE_PHRASE
        if self._topic_of.get(key) == topic:
            return REPEATED if REPEATED in self.defect_kinds and key in said else "own"
        return FOREIGN if key in self._topic_of else GARBLED

    def worths(self, prompt: ToyPrompt, text: str) -> list[float]:
        """What each word of the text is worth: the oracle of the cards."""
        return [one.worth for one in self.heard(prompt, text)]

    def read(self, prompt: ToyPrompt, text: str) -> Reading:
        heard = self.heard(prompt, text)
        unused = [word for word in self.lexicon[prompt.topic] if word not in {one.key for one in heard}]
        spare = unused or list(self.lexicon[prompt.topic])
        defects = []
        pieces = []
        for one in heard:
            if one.kind in COSTS:
                instead = spare[len(defects) % len(spare)]
                defects.append(Defect(one.start, one.end, one.kind, SEVERITIES[one.kind], instead))
            else:
                pieces.append(Piece(one.kind, one.start, one.end, 0, True))
        lacking = self.length - len(heard)
        if lacking > 0:
            end = len(text.rstrip())
            more = [spare[(len(defects) + k) % len(spare)] for k in range(lacking)]
            defects.append(Defect(end, end, MISSING, min(3, 1 + lacking // 4), f" {' '.join(more)}"))
        return Reading(tuple(defects), tuple(pieces), self._quality(prompt, text, heard))

    def mean(self, prompt: ToyPrompt, text: str) -> float:
        """The words' mean worth, from -1 to 1; a missing word counts as a wrong one."""
        heard = self.heard(prompt, text)
        lacking = max(0, self.length - len(heard))
        total = sum(one.worth for one in heard) - COSTS[MISSING] * lacking
        return max(-1.0, total / max(self.length, len(heard)))

    def _quality(self, prompt: ToyPrompt, text: str, heard: list[Heard]) -> float:
        if self.truth == "all":
            own = sum(one.kind == "own" for one in heard)
            return float(own >= self.enough and all(one.kind in ("own", "filler") for one in heard))
        if self.truth == "coverage":
            clean = sum(1 if good else -1 for good in self.clean_segments(prompt, text))
            most = 0.3 * -(-self.length // SEGMENT)
            total = 0.3 * clean + 0.6 * (2 * self.coverage(prompt, text) - 1)
            return round(min(1.0, max(0.0, (1 + total / (most + 0.6)) / 2)), 4) if heard else 0.0
        return round((1 + self.mean(prompt, text)) / 2, 4)

    @property
    def enough(self) -> int:
        """Own words of an answer that is right all in all: two thirds of its length."""
        return -(-2 * self.length // 3)

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float:
        """The mean worth of the words as somebody sees it who takes these for fillers, from 0 to 1: people judge so
        also where the truth is another (all or nothing says too little to them, coverage is hard to see).
        """
        sizes = {d: len(d.replacement.split()) if d.kind == MISSING else 1 for d in reading.defects}
        length = max(self.length, len(reading.pieces) + sum(d.kind != MISSING for d in reading.defects))
        quality = reading.quality
        if self.truth != "mean":
            own = min(self.length, sum(piece.kind == "own" for piece in reading.pieces))
            taken = sum(COSTS[d.kind] * sizes[d] for d in reading.defects)
            quality = max(0.0, (1 + (own - taken) / length) / 2)
        return min(1.0, quality + sum(COSTS[d.kind] * sizes[d] for d in overlooked) / length / 2)

    # Tastes

    def styles(self, prompt: ToyPrompt, text: str) -> tuple[float, ...]:
        """What share of the own words is of each of three styles: every third word of the topic's list is of one."""
        places = {word: place % STYLES for place, word in enumerate(self.lexicon[prompt.topic])}
        found = [places[one.key] for one in self.heard(prompt, text) if one.kind == "own"]
        return tuple(found.count(style) / len(found) if found else 0.0 for style in range(STYLES))

    def leaning(self, prompt: ToyPrompt, a: str, b: str, taste: int, rng: random.Random) -> float:
        """Group k of the crowd likes style k best, then k + 1, then k + 2: among pure styles of equal quality, two
        thirds prefer 0 to 1, 1 to 2, and 2 to 0.
        """
        if not self.tastes:
            return 0.0
        likes = [1 - (style - taste) % STYLES for style in range(STYLES)]
        one, other = self.styles(prompt, a), self.styles(prompt, b)
        return self.tastes * sum(u * (x - y) for u, x, y in zip(likes, one, other, strict=True))

    def preference(self, prompt: ToyPrompt, a: str, b: str) -> float:
        """P(a, b) in [-1, 1] of a crowd of three equal groups."""
        better = self.true_quality(prompt, a) - self.true_quality(prompt, b)
        gaps = [better + self.leaning(prompt, a, b, taste, random.Random(0)) for taste in range(STYLES)]
        return sum(float(gap > 1e-9) - float(gap < -1e-9) for gap in gaps) / STYLES

    # Segments and coverage

    def segments(self, text: str, size: int = SEGMENT) -> list[tuple[int, int]]:
        """Offsets of every `size` words, the last one may be shorter."""
        places = [match.span() for match in _CHUNK.finditer(text)]
        return [(places[at][0], places[min(at + size, len(places)) - 1][1]) for at in range(0, len(places), size)]

    def clean_segments(self, prompt: ToyPrompt, text: str, size: int = SEGMENT) -> list[bool]:
        """Of each segment, whether nothing is wrong in it."""
        bad = [one.start for one in self.heard(prompt, text) if one.kind in COSTS]
        return [not any(start <= at < end for at in bad) for start, end in self.segments(text, size)]

    def coverage(self, prompt: ToyPrompt, text: str) -> float:
        """What share of the topic's words is said."""
        own = self.lexicon[prompt.topic]
        return len(set(own) & {one.key for one in self.heard(prompt, text)}) / len(own)

    # Answers

    @cached_property
    def _strangers(self) -> dict[str, list[str]]:
        return {topic: [word for word, of in self._topic_of.items() if of != topic] for topic in self.lexicon}

    def written(self, prompt: ToyPrompt, rng: random.Random, shares: dict[str, float] | None = None) -> str:
        """An answer of `length` words drawn one by one: good, bad and filler in these shares (those not named as in
        SHARES). What is bad is one of the world's kinds of defect.
        """
        weights = {**SHARES, **(shares or {})}
        said: list[str] = []
        for _ in range(self.length):
            what = rng.choices(list(weights), weights=list(weights.values()))[0]
            said.append(rng.choice(FILLERS) if what == "filler" else self._word(prompt.topic, what == "bad", said, rng))
        return " ".join(said)

    def _word(self, topic: str, bad: bool, said: list[str], rng: random.Random) -> str:
        own = self.lexicon[topic]
        again = [word for word in said if word in own]
        if not bad:
            fresh = [word for word in own if word not in said] if REPEATED in self.defect_kinds else []
            return rng.choice(fresh or list(own))
        kind = rng.choice(self.defect_kinds)
        if kind == RUDE_PHRASE:
            return rng.choice(RUDE)
        return rng.choice(again if kind == REPEATED and again else self._strangers[topic])

    def clean_answer(self, prompt: ToyPrompt, rng: random.Random) -> Answer:
        """An answer of nothing but own words, all of them said before one is said again (fillers instead of a second
        time where repetitions are a defect).
        """
        own = self.lexicon[prompt.topic]
        said: list[str] = []
        while len(said) < self.length:
            more = list(own) if REPEATED not in self.defect_kinds or not said else [rng.choice(FILLERS)]
            said += rng.sample(more, min(len(more), self.length - len(said)))
        return Answer(" ".join(said))
