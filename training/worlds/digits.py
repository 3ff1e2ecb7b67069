"""The digit world (baselines.md): asked for a start a and a step b, the answer counts: y_t = (a + t b) mod 10, t 0..3.

A careless writer, whose answers the tiny base has read, writes the right digit with probability .55 +- .15 (drawn once
for each start, step and place), else any other. So about 9 % of its answers are right as a whole. The reader sees the
prompt and the text and nothing else.
"""

import random
import re
from collections.abc import Sequence
from typing import Literal

from . import voices
from .manners import Manners
from .reading import Piece, Reading
from .toy import OPENINGS, Toy, ToyPrompt
from .truth import GARBLED, Answer, Defect

LENGTH = 4
DIGITS = tuple("0123456789")
CERTAINTY, SPREAD = 0.55, 0.15
WRONG_DIGIT, MISSING_DIGIT, TOO_MUCH = "wrong_digit", "missing_digit", "too_much"

MANNERS = Manners(
    kinds=(WRONG_DIGIT, MISSING_DIGIT, TOO_MUCH, GARBLED),
    praised={"right": "right_digit"},
    mistaken={
        WRONG_DIGIT: (GARBLED,),
        MISSING_DIGIT: (WRONG_DIGIT,),
        TOO_MUCH: (WRONG_DIGIT,),
        GARBLED: (WRONG_DIGIT,),
    },
    critiques={
        WRONG_DIGIT: ("Not {q}, {r}.", "{q} is wrong.", "It should be {r}.", "miscounted", "Count again: {r}."),
        MISSING_DIGIT: ("You stop too early.", "missing: {r}", "There should be four.", "incomplete"),
        TOO_MUCH: ("One too many.", "Stop before {q}.", "too long"),
        GARBLED: ("{q} is no digit.", "garbled", "What is {q}?"),
    },
    praise={"right_digit": ("Right.", "Correct.", "yes")},
    reasons={
        WRONG_DIGIT: ("{other} counts wrong.", "More of {chosen} is right."),
        MISSING_DIGIT: ("{other} stops too early.", "{chosen} is complete."),
        TOO_MUCH: ("{other} goes on too long.",),
        GARBLED: ("{other} makes no sense.",),
        "": ("{chosen} is a bit better.", "Just a feeling.", ""),
    },
    ties=voices.TIES,
    neither=voices.NEITHER,
    verdicts=voices.VERDICTS,
    wordless=(MISSING_DIGIT,),
)
_CHUNK = re.compile(r"\S+")


class Digits(Toy):
    """The digit world; `truth` is "exact" (all or nothing, the cards' reward) or "share" (of the right digits)."""

    name = "digits"
    manners = MANNERS
    topics = tuple(f"{a}+{b}" for a in range(10) for b in range(10))

    def __init__(self, truth: Literal["exact", "share"] = "exact", *, seed: int = 0, spec: str = "") -> None:
        self.truth, self.seed, self.spec = truth, seed, spec or "digits"
        rng = random.Random(f"digit world {seed}")
        self.certainty = {
            topic: tuple(CERTAINTY + SPREAD * (2 * rng.random() - 1) for _ in range(LENGTH)) for topic in self.topics
        }

    def wordings(self, topic: str) -> list[str]:
        return [f"{opening} {topic}" for opening in OPENINGS]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return DIGITS

    def right(self, prompt: ToyPrompt) -> tuple[str, ...]:
        """The four digits of a right answer."""
        a, b = (int(word) for word in prompt.topic.split("+"))
        return tuple(str((a + t * b) % 10) for t in range(LENGTH))

    def reference_exact(self) -> float:
        """How often a careless writer is right as a whole, exactly, over all starts and steps."""
        chances = [p[0] * p[1] * p[2] * p[3] for p in self.certainty.values()]
        return sum(chances) / len(chances)

    def read(self, prompt: ToyPrompt, text: str) -> Reading:
        right = self.right(prompt)
        defects, pieces = [], []
        said = list(_CHUNK.finditer(text))
        for place, match in enumerate(said):
            start, end, word = match.start(), match.end(), match.group()
            if place >= LENGTH:
                defects.append(Defect(start, end, TOO_MUCH, 1))
            elif word == right[place]:
                pieces.append(Piece("right", start, end, place, True))
            else:
                kind = WRONG_DIGIT if word in DIGITS else GARBLED
                defects.append(Defect(start, end, kind, 2, right[place]))
        if len(said) < LENGTH:
            end = len(text.rstrip())
            lacking = right[len(said) :]
            defects.append(Defect(end, end, MISSING_DIGIT, min(3, len(lacking)), f" {' '.join(lacking)}"))
        quality = len(pieces) / max(LENGTH, len(said))
        return Reading(tuple(defects), tuple(pieces), float(quality == 1) if self.truth == "exact" else quality)

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float:
        """People judge by the share of right digits, also where the truth is all or nothing."""
        right = len(reading.pieces)
        wrong = sum(len(d.replacement.split()) if d.kind == MISSING_DIGIT else 1 for d in reading.defects)
        believed = sum(len(d.replacement.split()) if d.kind == MISSING_DIGIT else 1 for d in overlooked)
        return (right + believed) / max(1, right + wrong)

    def written(self, prompt: ToyPrompt, rng: random.Random) -> str:
        said = []
        for digit, chance in zip(self.right(prompt), self.certainty[prompt.topic], strict=True):
            others = [other for other in DIGITS if other != digit]
            said.append(digit if rng.random() < chance else rng.choice(others))
        return " ".join(said)

    def clean_answer(self, prompt: ToyPrompt, rng: random.Random) -> Answer:
        return Answer(" ".join(self.right(prompt)))
