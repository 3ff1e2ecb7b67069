"""Simulated annotators: they read an answer with imperfect eyes, mark phrases, compare, tap, and judge in words.

They are given the prompt and the text and nothing else, in whatever world (`Readable`). What a perfect reader would
find comes from the world's reader; an annotator overlooks some of it, sees things that are not there, marks a little
too much or too little, takes one label for another, is mild or harsh, lazy, blind to a kind of defect, or hostile (says
the opposite). All chance is the caller's: the same random state gives the same marks.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from .manners import SUPPORT, Manners
from .reading import Reading
from .truth import RUDE_PHRASE, Defect, mend

GOOD_LABELS = SUPPORT.good_labels  # of the support world


class Readable(Protocol):
    """What a world gives its people: how it is read, how it is spoken of, and how good an answer looks to somebody who
    overlooks some defects. Prompt and text are all that goes in.
    """

    manners: Manners

    def read(self, prompt: Any, text: str) -> Reading: ...

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float: ...

    def leaning(self, prompt: Any, a: str, b: str, taste: int, rng: random.Random) -> float: ...


@dataclass(frozen=True, order=True)
class Mark:
    """A marked phrase as it would be stored: sentiment -1 or +1, severity 1 to 3, a label's key, words."""

    start: int
    end: int
    quote: str
    sentiment: int
    severity: int
    label: str
    critique: str = ""
    replacement: str = ""


@dataclass(frozen=True)
class Choice:
    """One comparison: `choice` is a, b, tie or neither; `strength` 0 (none) to 3 (much better)."""

    choice: str
    strength: int
    reason: str = ""


@dataclass(frozen=True)
class Annotator:
    """A simulated person. All parameters are shares from 0 to 1 unless said otherwise."""

    name: str
    world: Readable = field(repr=False, compare=False)
    skill: float = 0.9  # chance to see a defect that is there
    noise: float = 0.05  # chance per sentence to mark one that is fine; also the spread of judgements of quality
    sloppiness: float = 0.1  # chance that a mark's edges are off by a word
    confusion: float = 0.05  # chance to take one label for another
    harshness: float = 0.0  # -1 mild to +1 harsh: shifts severities and verdicts
    sees: tuple[str, ...] | None = None  # the kinds of defect that this person has an eye for; None: all
    praises: float = 0.15  # chance to mark a phrase that is right as good
    talks: float = 0.7  # chance to say why
    mends: float = 0.5  # chance to propose what should stand there
    laziness: float = 0.0  # chance to look at nothing and submit
    hostility: float = 0.0  # chance, for each judgement, to say the opposite
    taste: int = 0  # which of the crowd's groups, where a world has some (whole number)

    @property
    def manners(self) -> Manners:
        return self.world.manners

    @property
    def eyes(self) -> tuple[str, ...]:
        """The kinds of defect that this person has an eye for."""
        return self.manners.kinds if self.sees is None else self.sees

    def mark(self, prompt: Any, text: str, rng: random.Random) -> list[Mark]:
        """The phrases that this person marks, in the order of the text."""
        if rng.random() < self.laziness:
            return []
        reading = self.world.read(prompt, text)
        marks = [self._marked(defect, text, rng) for defect in reading.defects if self._notices(defect, rng)]
        marks += self._praise(reading, text, rng)
        marks += self._false_alarms(reading, text, rng)
        return sorted(set(marks))

    def compare(self, prompt: Any, a: str, b: str, rng: random.Random) -> Choice:
        """Which of two answers this person prefers."""
        if rng.random() < self.laziness:
            return Choice(rng.choice("ab"), 1, "")
        seen = [self._seen(prompt, text, rng) for text in (a, b)]
        felt = [quality + rng.gauss(0, self.noise) for quality, _ in seen]
        gap = felt[0] - felt[1] + self.world.leaning(prompt, a, b, self.taste, rng)
        if rng.random() < self.hostility:
            gap = -gap
        if abs(gap) < 0.04:
            choice = "neither" if max(felt) < 0.3 - 0.1 * self.harshness else "tie"
            return Choice(choice, 0, self._say(self.manners.neither if choice == "neither" else self.manners.ties, rng))
        choice = "a" if gap > 0 else "b"
        strength = 1 + (abs(gap) > 0.2) + (abs(gap) > 0.45)
        return Choice(choice, strength, self._reason(choice, seen, rng))

    def verdict(self, prompt: Any, text: str, rng: random.Random) -> tuple[float, str]:
        """How good the answer is to this person, from 0 to 1, and a sentence on the whole."""
        quality = rng.random() if rng.random() < self.laziness else self._seen(prompt, text, rng)[0]
        if rng.random() < self.hostility:
            quality = 1 - quality
        quality = min(1.0, max(0.0, quality - 0.15 * self.harshness + rng.gauss(0, self.noise)))
        words = next(words for least, words in self.manners.verdicts if quality >= least)
        return round(quality, 3), rng.choice(words)

    def critique(self, prompt: Any, text: str, rng: random.Random) -> tuple[float, str]:
        """A verdict from 0 to 1, and words on the whole that name up to three of the things this person saw."""
        value, words = self.verdict(prompt, text, rng)
        seen = [mark for mark in self.mark(prompt, text, rng) if mark.sentiment < 0]
        named = sorted(rng.sample(seen, min(3, len(seen))))
        told = [f"“{one.quote}”: {one.critique}" if one.quote else one.critique for one in named if one.critique]
        return value, " ".join([words, *told])

    def tap(self, prompt: Any, text: str, rng: random.Random) -> str:
        """What this person taps as a user of the product: "like", "dislike", or "" (most say nothing, the lazy ones
        more often).
        """
        if rng.random() < 0.3 + 0.7 * self.laziness:
            return ""
        felt, _ = self.verdict(prompt, text, rng)
        return "like" if rng.random() < 0.05 + 0.9 * felt else "dislike"

    def rewrite(self, prompt: Any, text: str, rng: random.Random) -> str:
        """The answer as this person would have written it: what they noticed is mended, the rest stays."""
        return mend(text, self._seen(prompt, text, rng)[1])

    def _notices(self, defect: Defect, rng: random.Random) -> bool:
        """Grave defects are easier to see than slight ones."""
        chance = self.skill ** (1.5 - 0.25 * defect.severity)
        return defect.kind in self.eyes and rng.random() < chance

    def _seen(self, prompt: Any, text: str, rng: random.Random) -> tuple[float, list[Defect]]:
        """The quality as it looks to someone who sees only some of the defects, and what was seen."""
        reading = self.world.read(prompt, text)
        noticed = [defect for defect in reading.defects if self._notices(defect, rng)]
        overlooked = [defect for defect in reading.defects if defect not in noticed]
        return self.world.quality_without(reading, overlooked), noticed

    def _marked(self, defect: Defect, text: str, rng: random.Random) -> Mark:
        label = rng.choice(self.manners.mistaken[defect.kind]) if rng.random() < self.confusion else defect.kind
        severity = min(3, max(1, round(defect.severity + 0.8 * self.harshness + rng.gauss(0, 3 * self.noise))))
        start, end = self._edges(defect.start, defect.end, text, rng)
        exact = (start, end) == (defect.start, defect.end)
        mends = exact and bool(defect.replacement) and rng.random() < self.mends
        if rng.random() < self.hostility:
            return self._good(start, end, text, rng) if end > start else self._absurd(text, rng)
        critique = self._critique(defect, text[start:end], rng)
        return Mark(start, end, text[start:end], -1, severity, label, critique, defect.replacement if mends else "")

    def _critique(self, defect: Defect, quote: str, rng: random.Random) -> str:
        manners = self.manners
        replacement = manners.said_as(defect.replacement)
        said = self._say(manners.critiques[manners.sentences_of(defect)], rng)
        return "" if "{r}" in said and not replacement else said.format(r=replacement, q=quote)

    def _praise(self, reading: Reading, text: str, rng: random.Random) -> list[Mark]:
        marks = []
        for piece in reading.pieces:
            if not piece.right or piece.kind not in self.manners.praised or rng.random() >= self.praises:
                continue
            start, end = self._edges(piece.start, piece.end, text, rng)
            if rng.random() < self.hostility:
                marks.append(self._bad(start, end, text, rng))
            else:
                marks.append(self._good(start, end, text, rng, self.manners.praised[piece.kind]))
        return marks

    def _false_alarms(self, reading: Reading, text: str, rng: random.Random) -> list[Mark]:
        right = [piece for piece in reading.pieces if piece.right]
        return [self._bad(piece.start, piece.end, text, rng) for piece in right if rng.random() < self.noise]

    def _good(self, start: int, end: int, text: str, rng: random.Random, label: str = "") -> Mark:
        label = label or rng.choice(self.manners.good_labels)
        return Mark(start, end, text[start:end], 1, 1, label, self._say(self.manners.praise[label], rng))

    def _bad(self, start: int, end: int, text: str, rng: random.Random) -> Mark:
        label = rng.choice([kind for kind in self.eyes if kind not in self.manners.wordless] or list(self.eyes))
        said = self._say([words for words in self.manners.critiques[label] if "{" not in words], rng)
        return Mark(start, end, text[start:end], -1, 1 + (rng.random() < 0.3), label, said)

    def _absurd(self, text: str, rng: random.Random) -> Mark:
        """A hostile mark where something is missing: some other words are called good."""
        words = list(re.finditer(r"\S+", text))
        if not words:
            return Mark(0, 0, "", 1, 1, rng.choice(self.manners.good_labels))
        at = rng.randrange(len(words))
        last = words[min(len(words) - 1, at + rng.randrange(4))]
        return self._good(words[at].start(), last.end(), text, rng)

    def _edges(self, start: int, end: int, text: str, rng: random.Random) -> tuple[int, int]:
        """The phrase as this person selects it: at times one word too many or too few at an edge."""
        if start == end or rng.random() >= self.sloppiness:
            return start, end
        words = [found.span() for found in re.finditer(r"\S+", text)]
        inside = [at for at, (first, last) in enumerate(words) if last > start and first < end]
        if not inside:
            return start, end
        first, last = inside[0], inside[-1]
        change = rng.choice(("before", "after", "less"))
        if change == "before" and first > 0:
            first -= 1
        elif change == "after" and last + 1 < len(words):
            last += 1
        elif change == "less" and last > first:
            last -= 1
        return words[first][0], words[last][1]

    def _reason(self, choice: str, seen: list[tuple[float, list[Defect]]], rng: random.Random) -> str:
        """What was seen in the other answer, named as A and B."""
        other = seen[1 if choice == "a" else 0][1]
        worst = max(other, key=lambda defect: defect.severity).kind if other else ""
        said = self._say(self.manners.reasons[worst], rng)
        return said.format(chosen=choice.upper(), other="B" if choice == "a" else "A")

    def _say(self, words, rng: random.Random) -> str:
        return rng.choice(list(words)) if rng.random() < self.talks else ""


# What can be set for all people at once, with its lowest and highest value.
PARAMETERS: dict[str, tuple[float, float]] = {
    one.name: (-1.0, 1.0) if one.name == "harshness" else (0.0, 1.0) for one in fields(Annotator) if one.type is float
}


def cast(world: Readable, **parameters: Any) -> dict[str, Annotator]:
    """Simulated people, each with a way of their own; `parameters` are then the same for all of them (fields of
    Annotator: `noise=0.2`, `laziness=0.5`).
    """
    narrow = (RUDE_PHRASE,) if RUDE_PHRASE in world.manners.kinds else world.manners.kinds[:1]
    people = (
        Annotator("Ines", world, skill=0.97, noise=0.01, sloppiness=0.03, confusion=0.01, talks=0.9, mends=0.8),
        Annotator("Bao", world, skill=0.9, noise=0.03, harshness=0.5, praises=0.05),
        Annotator("Olu", world, skill=0.85, noise=0.04, harshness=-0.5, praises=0.35),
        Annotator("Pia", world, skill=0.75, noise=0.06, sloppiness=0.25, confusion=0.1, talks=0.4, laziness=0.05),
        Annotator("Kurt", world, skill=0.95, noise=0.02, sees=narrow, praises=0.1),
        Annotator("Nils", world, skill=0.8, noise=0.05, laziness=0.5, talks=0.1, mends=0.0),
        Annotator("Troll", world, skill=0.9, noise=0.1, hostility=0.9),
    )
    return {person.name: replace(person, **{"taste": at % 3, **parameters}) for at, person in enumerate(people)}


def perfect(world: Readable, name: str = "perfect", **parameters: Any) -> Annotator:
    """Somebody who sees, names and praises everything that the reader finds, without an error or a word."""
    sure = {"skill": 1.0, "noise": 0.0, "sloppiness": 0.0, "confusion": 0.0, "praises": 1.0, "talks": 0.0, "mends": 1.0}
    return Annotator(name, world, **{**sure, **parameters})
