"""A critic that is a program, and a stand-in for a model that takes advice: for recipes that learn from critiques.

The critic reads an answer as the world's reader does and says in varied words what is wrong, each phrase quoted. The
refiner reads the critique alone (and the answer and the prompt), so what a critique does not name is not repaired: with
an empty one it only makes slips. Both stand in where there is no model for it yet.
"""

import random
import re
from typing import Any

FINE = ("Nothing is wrong here.", "I have nothing to say against it.", "All of it is right.", "Good as it stands.")
BEGINNINGS = ("", "", "Look again. ", "Not yet. ", "Some of this has to go. ", "Nearly, but: ")
PLAIN = {True: "This answer is right.", False: "This answer is not right."}
_QUOTED = re.compile(r"[“\"]([^”\"]*)[”\"]")
_CHUNK = re.compile(r"\S+")


class Critic:
    """What is wrong with an answer, in words; all chance is the caller's."""

    def __init__(self, world: Any, *, misses: float = 0.0) -> None:
        """`misses` is the chance to overlook a defect."""
        self.world, self.misses = world, misses

    def __call__(self, prompt: Any, text: str, rng: random.Random) -> str:
        """One line for each defect that was seen, as `“quote”: what is wrong with it`; where something is missing the
        quote is what stands before it. A sentence of praise where there is no defect.
        """
        lines = [
            f"“{self._quote(defect, text)}”: {self._said(defect, text, rng)}"
            for defect in self.world.defects(prompt, text)
            if rng.random() >= self.misses
        ]
        if not lines:
            return rng.choice(FINE)
        return rng.choice(BEGINNINGS) + "\n".join(lines)

    def _quote(self, defect: Any, text: str) -> str:
        if defect.start < defect.end:
            return text[defect.start : defect.end]
        before = text[: defect.start].split()
        return before[-1] if before else ""

    def _said(self, defect: Any, text: str, rng: random.Random) -> str:
        manners = self.world.manners
        instead = manners.said_as(defect.replacement)
        sentences = manners.critiques[manners.sentences_of(defect)]
        said = rng.choice([one for one in sentences if instead or "{r}" not in one])
        return said.format(r=instead, q=text[defect.start : defect.end])


def verdict_only(world: Any, prompt: Any, text: str) -> str:
    """The least that a critic can say: right or not."""
    return PLAIN[not world.defects(prompt, text)]


def named(critique: str) -> list[str]:
    """What a critique quotes, in its order."""
    return _QUOTED.findall(critique)


def refine(
    world: Any,
    prompt: Any,
    text: str,
    critique: str,
    rng: random.Random,
    *,
    repairs: float = 0.8,
    slips: float = 0.01,
) -> str:
    """The answer written once more by somebody who reads the critique: each word that it quotes is replaced by a right
    one with chance `repairs`, and any word is spoiled with chance `slips` (critique-grpo.md (b)). For worlds of single
    words (`words`, `digits`): the right words are `world.right_words(prompt, place)`.
    """
    left = named(critique)
    vocabulary = list(world.vocabulary)
    words = []
    for place, word in enumerate(_CHUNK.findall(text)):
        if word in left:
            left.remove(word)
            if rng.random() < repairs:
                word = rng.choice(list(world.right_words(prompt, place)))
        if rng.random() < slips:
            word = rng.choice(vocabulary)
        words.append(word)
    return " ".join(words)


def varied(critiques: list[str]) -> float:
    """The share of different critiques among these, quotes apart: a critic with one sentence has nearly none."""
    bare = {_QUOTED.sub("", one) for one in critiques}
    return len(bare) / len(critiques) if critiques else 0.0
