"""The writer: puts an answer together phrase by phrase and notes where it planted a defect.

An answer is: greeting, opening, the fact, the steps, a closing; courtesies come and go. The writer and the reader
share the lists of phrases and nothing else: a test holds what was planted against what is found.
"""

import random
from typing import TYPE_CHECKING

from . import phrases
from .truth import (
    GARBLED,
    INVENTED_FACT,
    MISSING_STEP,
    RAMBLING,
    RUDE_PHRASE,
    Answer,
    Defect,
    WorldPrompt,
    garbled_severity,
)

if TYPE_CHECKING:
    from .support import World


class _Page:
    """Text in the making, with the defects that were put in."""

    def __init__(self):
        self.text = ""
        self.defects: list[Defect] = []

    def say(self, text: str, glue: str = " ") -> int:
        """Append, with a space between; returns where it starts."""
        if self.text and not self.text.endswith("\n"):
            self.text += glue
        start = len(self.text)
        self.text += text
        return start

    def say_badly(self, text: str, kind: str, severity: int, replacement: str = "") -> None:
        start = self.say(text)
        self.defects.append(Defect(start, len(self.text), kind, severity, replacement))

    def planted(self, start: int, sentence: str, wrong: str, right: str, severity: int = 2) -> None:
        """`wrong` stands in the sentence that begins at `start`, where `right` should."""
        at = start + sentence.rindex(wrong)
        self.defects.append(Defect(at, at + len(wrong), INVENTED_FACT, severity, right))


class Writer:
    """Writes the answers of one world."""

    def __init__(self, world: "World"):
        self.world = world

    def answer(self, prompt: WorldPrompt, rng: random.Random, rates: dict[str, float]) -> Answer:
        plan = _Plan(self.world, prompt, rng, rates)
        page = _Page()
        self._opening(page, prompt, rng, plan)
        if plan.ramble_at == "opening":
            self._ramble(page, rng)
        self._fact(page, prompt, rng, plan)
        if plan.claim and plan.claim_early:
            self._claim(page, prompt, rng)
        if plan.ramble_at == "middle":
            self._ramble(page, rng)
        self._steps(page, prompt, rng, plan)
        if plan.garbled:
            self._garble(page, rng)
        if plan.claim and not plan.claim_early:
            self._claim(page, prompt, rng)
        if plan.ramble_at == "end":
            self._ramble(page, rng)
        if plan.rude_at == "closing":
            rude = rng.choice(phrases.RUDE_CLOSINGS)
            page.say_badly(rude.text, RUDE_PHRASE, rude.severity, rude.instead)
        elif rng.random() < 0.55:
            page.say(rng.choice(phrases.CLOSINGS))
        return Answer(page.text, tuple(sorted(page.defects)))

    def _opening(self, page: _Page, prompt: WorldPrompt, rng: random.Random, plan: "_Plan") -> None:
        if rng.random() < 0.75:
            greetings = phrases.GREETINGS[prompt.tongue] if prompt.name else phrases.PLAIN_GREETINGS
            page.say(rng.choice(greetings).format(n=prompt.name) + "\n")
        if plan.rude_at == "opening":
            rude = rng.choice(phrases.RUDE_OPENINGS)
            page.say_badly(rude.text, RUDE_PHRASE, rude.severity, rude.instead)
        elif rng.random() < 0.5:
            page.say(rng.choice(phrases.OPENINGS))

    def _fact(self, page: _Page, prompt: WorldPrompt, rng: random.Random, plan: "_Plan") -> None:
        said = plan.wrong_value or prompt.value
        sentence = rng.choice(self.world.topics[prompt.topic].facts).format(p=prompt.product, v=said)
        if plan.rude_at == "lead":
            rude = rng.choice(phrases.RUDE_LEADS)
            page.say_badly(rude.text, RUDE_PHRASE, rude.severity, rude.instead)
        elif plan.lead:
            page.say(plan.lead)
        if plan.rude_at == "lead" or plan.lead:
            sentence = sentence[0].lower() + sentence[1:]
        start = page.say(sentence)
        if plan.wrong_value:
            page.planted(start, sentence, plan.wrong_value, prompt.value)

    def _steps(self, page: _Page, prompt: WorldPrompt, rng: random.Random, plan: "_Plan") -> None:
        """The steps that are left, linked as if none were missing; where one is missing is noted at what follows it."""
        steps = self.world.topics[prompt.topic].steps
        left = [index for index in range(len(steps)) if index not in plan.dropped]
        joined = len(left) > 1 and rng.random() < 0.35
        begins: list[int] = []
        for place, index in enumerate(left):
            right = self.world.step_values[prompt.topic][index]
            value = plan.wrong_step_value if index == plan.wrong_step else right
            clause = self.world.step_clause(prompt.topic, index, rng.randrange(len(steps[index].wordings)), value)
            if place == 1 and joined:
                sentence = f"{phrases.JOINED} {clause}"
            else:
                words = (
                    phrases.FIRST_WORDS
                    if place == 0
                    else phrases.LAST_WORDS
                    if place == len(left) - 1
                    else phrases.NEXT_WORDS
                )
                link = rng.choice(words)
                sentence = f"{link} {clause}" if link else clause[0].upper() + clause[1:]
            start = page.say(sentence)
            begins.append(start)
            if index == plan.wrong_step:
                page.planted(start, sentence, value, right)
            if plan.rude_at == "tail" and place == len(left) - 1:
                rude = rng.choice(phrases.RUDE_TAILS)
                page.say_badly(rude.text, RUDE_PHRASE, rude.severity, rude.instead)
            page.text += "," if place == 0 and joined else "."
        self._note_missing(page, prompt, plan, left, begins)

    def _note_missing(
        self, page: _Page, prompt: WorldPrompt, plan: "_Plan", left: list[int], begins: list[int]
    ) -> None:
        for index in plan.dropped:
            after = [begin for begin, other in zip(begins, left, strict=True) if other > index]
            at = after[0] if after else len(page.text)
            clause = self.world.step_clause(prompt.topic, index)
            if after and page.text[:at].endswith(", "):
                replacement = f"{phrases.JOINED} {clause}, "
            elif after:
                replacement = f"{phrases.INSERTED_NEXT if index else phrases.INSERTED_FIRST} {clause}. "
            else:
                replacement = f" {phrases.INSERTED_LAST} {clause}."
            page.defects.append(Defect(at, at, MISSING_STEP, 2, replacement))

    def _ramble(self, page: _Page, rng: random.Random) -> None:
        sentences = []
        for _ in range(1 if rng.random() < 0.65 else 2):
            if rng.random() < 0.35:
                sentences.append(rng.choice([text for text in phrases.FIXED_RAMBLES if text not in sentences]))
            else:
                parts = {"who": phrases.RAMBLE_WHO, "did": phrases.RAMBLE_DID, "where": phrases.RAMBLE_WHERE}
                chosen = {key: rng.choice(values) for key, values in parts.items()}
                sentences.append(rng.choice(phrases.RAMBLES).format(**chosen))
        page.say_badly(" ".join(sentences), RAMBLING, len(sentences))

    def _claim(self, page: _Page, prompt: WorldPrompt, rng: random.Random) -> None:
        sentence = rng.choice(phrases.CLAIMS).format(p=prompt.product, claim=rng.choice(phrases.CLAIM_ENDS))
        page.say_badly(sentence, INVENTED_FACT, 3)

    def _garble(self, page: _Page, rng: random.Random) -> None:
        """Half of one step and half of another, as a weak model writes: a sentence without sense."""
        known = [
            self.world.step_clause(key, i) for key, topic in self.world.topics.items() for i in range(len(topic.steps))
        ]
        sentence = known[0]
        while sentence in known:
            begin, end = (clause.split() for clause in rng.sample(known, 2))
            words = [*begin[: len(begin) // 2], *end[-(len(end) // 2) :]]
            sentence = " ".join(words)
        page.say_badly(sentence[0].upper() + sentence[1:] + ".", GARBLED, garbled_severity(len(words)))


class _Plan:
    """Which defects an answer will have, drawn before the first word."""

    def __init__(self, world: "World", prompt: WorldPrompt, rng: random.Random, rates: dict[str, float]):
        topic = world.topics[prompt.topic]
        self.wrong_value = self.wrong_step_value = ""
        self.wrong_step = -1
        self.claim = self.claim_early = False
        self.dropped: list[int] = []
        if rng.random() < rates[MISSING_STEP]:
            self.dropped = [rng.randrange(len(topic.steps))]
        if rng.random() < rates[INVENTED_FACT]:
            self._invent(world, prompt, rng)
        self.rude_at = ""
        if rng.random() < rates[RUDE_PHRASE]:
            self.rude_at = rng.choice(("opening", "opening", "lead", "tail", "closing", "closing"))
        self.ramble_at = ""
        if rng.random() < rates[RAMBLING]:
            self.ramble_at = rng.choice(("opening", "middle", "end", "end"))
        self.lead = rng.choice(phrases.LEADS) if self.rude_at != "lead" and rng.random() < 0.2 else ""
        self.garbled = rng.random() < rates.get(GARBLED, 0.0)

    def _invent(self, world: "World", prompt: WorldPrompt, rng: random.Random) -> None:
        topic = world.topics[prompt.topic]
        valued = [i for i, step in enumerate(topic.steps) if step.pool and i not in self.dropped]
        way = rng.random()
        if way < 0.5 or (way < 0.75 and not valued):
            self.wrong_value = rng.choice([value for value in topic.pool if value != prompt.value])
        elif way < 0.75:
            self.wrong_step = rng.choice(valued)
            right = world.step_values[prompt.topic][self.wrong_step]
            self.wrong_step_value = rng.choice([v for v in topic.steps[self.wrong_step].pool if v != right])
        else:
            self.claim, self.claim_early = True, rng.random() < 0.5
