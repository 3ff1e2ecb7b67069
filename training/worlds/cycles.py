"""The world of circles (spo.md (b)): six answers to every prompt, and a crowd that prefers A to B, B to C and C to A.

Each of twenty topics has the same six words as its answers, but which word plays which role is drawn anew. No answer is
the best: the minimax winner says A, B and C with chances 2/7, 1/7 and 4/7, which no score for single answers can
express. The reader sees the prompt and the text and nothing else. The mathematics (winner, exploitability, curl) is in
`games`, whose names can be had from here too.
"""

import random
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from . import voices
from .games import Matrix as Matrix
from .games import bradley_terry as bradley_terry
from .games import circles as circles
from .games import curl as curl
from .games import exploitability as exploitability
from .games import from_chances as from_chances
from .games import hedge as hedge
from .games import minimax_winner as minimax_winner
from .manners import Manners
from .reading import Piece, Reading
from .toy import OPENINGS, Toy, ToyPrompt
from .truth import GARBLED, Answer, Defect

ROLES = "ABCDEF"
ANSWERS = ("amber", "birch", "coral", "dune", "ember", "fern")
TOPICS = (
    *("ant", "bee", "cat", "dog", "elk", "fox", "goat", "hare", "ibis", "jay"),
    *("koala", "lynx", "mole", "newt", "owl", "pony", "quail", "raven", "seal", "toad"),
)
NO_ANSWER = "no_answer"


def _matrix(pairs: dict[str, float]) -> Matrix:
    matrix = np.zeros((len(ROLES), len(ROLES)))
    for (one, other), value in pairs.items():
        matrix[ROLES.index(one), ROLES.index(other)] = value
        matrix[ROLES.index(other), ROLES.index(one)] = -value
    return matrix


CIRCLE = _matrix(
    {"AB": 0.8, "BC": 0.4, "CA": 0.2, "DE": 0.5, "EF": 0.5, "DF": 0.5}
    | {good + poor: 0.8 for good in "ABC" for poor in "DEF"}
)
LADDER = _matrix(
    {ROLES[i] + ROLES[j]: float(np.tanh(0.3 * (j - i))) for i in range(len(ROLES)) for j in range(i + 1, len(ROLES))}
)
MANNERS = Manners(
    kinds=(NO_ANSWER, GARBLED),
    praised={"answer": "fair_answer"},
    mistaken={NO_ANSWER: (GARBLED,), GARBLED: (NO_ANSWER,)},
    critiques={
        NO_ANSWER: ("There is no answer.", "Say something.", "empty"),
        GARBLED: ("{q} is none of the answers.", "garbled", "What is {q}?"),
    },
    praise={"fair_answer": ("I like it.", "Good.", "yes")},
    reasons={
        NO_ANSWER: ("{other} says nothing.",),
        GARBLED: ("{other} makes no sense.",),
        "": ("I like {chosen} more.", "Just a feeling.", "{chosen}, of course.", ""),
    },
    ties=voices.TIES,
    neither=voices.NEITHER,
    verdicts=voices.VERDICTS,
    wordless=(NO_ANSWER,),
)


class Cycles(Toy):
    """The world of circles; `preferences` [6, 6] over the roles A to F (CIRCLE; LADDER is the transitive control)."""

    name = "cycles"
    manners = MANNERS
    topics = TOPICS

    def __init__(self, preferences: Matrix = CIRCLE, *, seed: int = 0, spec: str = "") -> None:
        self.preferences, self.seed, self.spec = preferences, seed, spec or "cycles"
        self._roles: dict[str, dict[str, int]] = {}
        for topic in TOPICS:
            order = random.Random(f"cycle world {seed} {topic}").sample(ANSWERS, len(ANSWERS))
            self._roles[topic] = {word: role for role, word in enumerate(order)}

    def wordings(self, topic: str) -> list[str]:
        return [f"{opening} {topic}" for opening in OPENINGS]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return ANSWERS

    @cached_property
    def winner(self) -> Matrix:
        """The minimax winner, float64 [6], over the roles."""
        return minimax_winner(self.preferences)

    def role(self, prompt: ToyPrompt, text: str) -> int | None:
        """Which of A to F (0 to 5) the text is to this prompt; None for anything else."""
        return self._roles[prompt.topic].get(text.strip())

    def word(self, prompt: ToyPrompt, role: int) -> str:
        """The answer that plays this role."""
        return next(word for word, at in self._roles[prompt.topic].items() if at == role)

    def preference(self, prompt: ToyPrompt, a: str, b: str) -> float:
        """P(a, b) in [-1, 1] of the crowd: (1 + P) / 2 prefer a. Whatever is no answer loses to all that are."""
        one, other = self.role(prompt, a), self.role(prompt, b)
        if one is None or other is None:
            return float(one is not None) - float(other is not None)
        return float(self.preferences[one, other])

    def policy_of(self, prompt: ToyPrompt, texts: Sequence[str]) -> Matrix:
        """The shares of the roles among these answers, float64 [6]; what is no answer is left out."""
        roles = [role for role in (self.role(prompt, text) for text in texts) if role is not None]
        return np.bincount(roles, minlength=len(ROLES)) / max(1, len(roles))

    def read(self, prompt: ToyPrompt, text: str) -> Reading:
        """Quality: the chance to be preferred to the minimax winner's answer, so at most a half in a circle."""
        role = self.role(prompt, text)
        end = len(text.rstrip())
        if role is None:
            start = end - len(text.strip())
            kind = GARBLED if text.strip() else NO_ANSWER
            return Reading((Defect(start, end, kind, 3, self.word(prompt, int(self.winner.argmax()))),), (), 0.0)
        start = end - len(text.strip())
        wins = float((1 + self.preferences[role] @ self.winner) / 2)
        return Reading((), (Piece("answer", start, end, role, True),), round(wins, 6))

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float:
        return 0.5 if overlooked else reading.quality

    def leaning(self, prompt: ToyPrompt, a: str, b: str, taste: int, rng: random.Random) -> float:
        """One person of the crowd: for a with chance (1 + P(a, b)) / 2, whoever it is; equals are equal."""
        if self.role(prompt, a) == self.role(prompt, b):
            return 0.0
        return 0.6 if rng.random() < (1 + self.preference(prompt, a, b)) / 2 else -0.6

    def written(self, prompt: ToyPrompt, rng: random.Random) -> str:
        return rng.choice(ANSWERS)

    def clean_answer(self, prompt: ToyPrompt, rng: random.Random) -> Answer:
        """An answer of the minimax winner."""
        return Answer(self.word(prompt, rng.choices(range(len(ROLES)), weights=self.winner.tolist())[0]))
