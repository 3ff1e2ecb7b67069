"""What the toy worlds have in common: their prompts with fixed splits, the defects and marks of a reading, the corpus
that a tiny base learns from, simulated people and the records these make.

A toy world says in a few words what other worlds say in sentences, so that a model of some tens of thousands of
parameters speaks it after seconds. Each asks one thing of its prompts' `topic`; the same topic is asked for in a
hundred or so wordings, of which the splits have different ones. All chance is the caller's.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zlib import crc32

from .manners import Manners
from .people import Annotator, Mark, cast
from .reading import Reading
from .records import rows
from .truth import Answer, Defect

OPENINGS = ("please", "kindly", "quickly", "now", "today", "again", "maybe", "next", "first", "finally")
CLOSINGS = ("thanks", "friend", "please", "now", "soon", "here", "there", "once", "indeed", "alone")
SPLITS = ("train",) * 8 + ("dev", "test")


@dataclass(frozen=True)
class ToyPrompt:
    """What is asked. `messages` and `context` are what the database keeps; the rest follows from them."""

    id: str
    messages: tuple[dict, ...] = field(hash=False)
    topic: str
    split: str  # train, dev or test: 8 : 1 : 1 in every topic
    context: tuple[dict, ...] = field(default=(), hash=False)


class Toy:
    """A toy world. Subclasses give `name`, `manners`, `topics`, `vocabulary`, `read`, `quality_without`, `written` and
    `clean_answer`."""

    name: str
    manners: Manners
    topics: tuple[str, ...]
    seed: int = 0
    spec: str = ""  # the name with its options: `registry.world(spec)` is this world again

    # Prompts

    def wordings(self, topic: str) -> list[str]:
        """All the ways to ask for a topic."""
        return [f"{opening} {topic} {closing}" for opening in OPENINGS for closing in CLOSINGS]

    @cached_property
    def _prompts(self) -> list[ToyPrompt]:
        found = []
        for number, topic in enumerate(self.topics):
            for place, text in enumerate(self.wordings(topic)):
                split = SPLITS[(place // 10 + place + number) % 10]  # every split has every opening and closing
                name = f"{topic.replace(' ', '-')}-{place:02d}"
                found.append(ToyPrompt(name, ({"role": "user", "content": text},), topic, split))
        return found

    @cached_property
    def _asked(self) -> dict[str, ToyPrompt]:
        return {prompt.messages[0]["content"]: prompt for prompt in self._prompts}

    def prompts(self, n: int, seed: int | random.Random = 0, split: str | None = None) -> list[ToyPrompt]:
        """`n` different prompts (of one split, if named); fewer only where there are no more."""
        rng = seed if isinstance(seed, random.Random) else random.Random(f"{self.name} prompts {seed}")
        chosen = [prompt for prompt in self._prompts if split in (None, prompt.split)]
        return rng.sample(chosen, min(n, len(chosen)))

    def prompt_from(self, messages: Sequence[Any], context: Sequence[Any] = ()) -> ToyPrompt | None:
        """The prompt again from what the database keeps; None for one that this world does not know."""
        text = next((str(m.get("content", "")) for m in messages if m.get("role") == "user"), "")
        return self._asked.get(text.strip())

    # The truth

    def read(self, prompt: ToyPrompt, text: str) -> Reading:
        """Defects, recognised pieces and quality of any text as an answer to this prompt."""
        raise NotImplementedError

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float:
        """The quality as it looks to somebody who has not seen these defects."""
        raise NotImplementedError

    def defects(self, prompt: ToyPrompt, text: str) -> list[Defect]:
        return list(self.read(prompt, text).defects)

    def true_quality(self, prompt: ToyPrompt, text: str) -> float:
        """From 0 (nothing is right) to 1 (nothing is missing or wrong)."""
        return self.read(prompt, text).quality

    def leaning(self, prompt: ToyPrompt, a: str, b: str, taste: int, rng: random.Random) -> float:
        """By how much somebody of this taste leans to a besides its quality, and to b where it is negative."""
        return 0.0

    def preference(self, prompt: ToyPrompt, a: str, b: str) -> float:
        """P(a, b) in [-1, 1] of all people: (1 + P) / 2 of them prefer a. Here the better answer wins with all."""
        gap = self.true_quality(prompt, a) - self.true_quality(prompt, b)
        return float(gap > 0) - float(gap < 0)

    def marks(self, prompt: ToyPrompt, text: str) -> list[Mark]:
        """What a perfect reader marks: everything bad, and everything that deserves praise."""
        return marks_of(self, prompt, text)

    # Answers

    def written(self, prompt: ToyPrompt, rng: random.Random) -> str:
        """An answer as a careless writer gives it: what the tiny base is taught."""
        raise NotImplementedError

    def answer(self, prompt: ToyPrompt, rng: random.Random) -> Answer:
        """The same with what is wrong in it."""
        text = self.written(prompt, rng)
        return Answer(text, self.read(prompt, text).defects)

    def clean_answer(self, prompt: ToyPrompt, rng: random.Random) -> Answer:
        """An answer without a defect."""
        raise NotImplementedError

    def corpus(self, n: int, seed: int = 0, split: str | None = "train") -> list[tuple[ToyPrompt, str]]:
        """`n` prompts with an answer each for a base model to read; when the prompts are used up they come again."""
        rng = random.Random(f"{self.name} corpus {self.seed} {seed}")
        found: list[tuple[ToyPrompt, str]] = []
        while len(found) < n:
            prompts = self.prompts(n - len(found), rng, split)
            found += [(prompt, self.written(prompt, rng)) for prompt in prompts]
        return found

    @property
    def whole_words(self) -> tuple[str, ...]:
        """The words that are one token each of this world's tokenizer, in a fixed order."""
        asked = [word for prompt in self._prompts for word in prompt.messages[0]["content"].split()]
        return tuple(dict.fromkeys([*asked, *self.vocabulary]))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words of answers."""
        raise NotImplementedError

    # People

    def people(self, **parameters: Any) -> dict[str, Annotator]:
        """Simulated people; `parameters` hold for all of them (see `people.Annotator`)."""
        return cast(self, **parameters)

    def rows(
        self,
        prompts: Sequence[ToyPrompt],
        texts: Sequence[str] | Sequence[Sequence[str]],
        people: Any = None,
        seed: int = 0,
        kinds: Sequence[str] = ("response", "preference"),
    ) -> Iterator[dict[str, Any]]:
        """What people say of these answers, as a snapshot's rows (`records.rows`)."""
        return rows(self, prompts, texts, people=people, seed=seed, kinds=kinds)


def marks_of(world: Any, prompt: Any, text: str) -> list[Mark]:
    """A perfect reader's marks, in the order of the text, each with a sentence: one of the many that people have for
    it, chosen by where the mark stands, so that the same text has the same ones.
    """
    reading, manners = world.read(prompt, text), world.manners

    def picked(sentences: Sequence[str], start: int) -> str:
        return sentences[crc32(f"{text}|{start}".encode()) % len(sentences)]

    found = []
    for defect in reading.defects:
        quote, instead = text[defect.start : defect.end], manners.said_as(defect.replacement)
        words = [one for one in manners.critiques[manners.sentences_of(defect)] if instead or "{r}" not in one]
        said = picked(words, defect.start).format(q=quote, r=instead)
        mark = Mark(defect.start, defect.end, quote, -1, defect.severity, defect.kind, said, defect.replacement)
        found.append(mark)
    for one in reading.pieces:
        if one.right and one.kind in manners.praised:
            label = manners.praised[one.kind]
            said = picked(manners.praise[label], one.start)
            found.append(Mark(one.start, one.end, text[one.start : one.end], 1, 1, label, said))
    return sorted(found)
