"""The support world: customers of an invented indoor garden ask, support answers, and the handbook knows the truth.

`World(seed)` draws the facts; everything else is the same language in every world. All randomness comes from seeds
that are given, so a world, its prompts and its answers are the same on every machine. The truth about an answer is
told by the reader alone (`defects`, `true_quality`), which sees the text and nothing else; what the writer planted
only tests the reader.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from . import phrases
from .handbook import PRODUCTS, SIZES, TOPICS, Topic
from .manners import SUPPORT
from .matching import Pattern, Phrases, Slot, keys_of, pattern_of, slot_for_values
from .reading import Reading, Truth, read
from .truth import GARBLED, INVENTED_FACT, KEPT, MISSING_STEP, RAMBLING, RUDE_PHRASE, Answer, Defect, WorldPrompt
from .writing import Writer

__all__ = ["DEFAULT_RATES", "Answer", "Defect", "Section", "World", "WorldPrompt"]

# How often an answer has each defect. With these an average answer has a true quality of about a half.
DEFAULT_RATES = {INVENTED_FACT: 0.5, RUDE_PHRASE: 0.4, MISSING_STEP: 0.4, RAMBLING: 0.35, GARBLED: 0.0}
SPLITS = (("train", 80), ("dev", 10), ("test", 10))


@dataclass(frozen=True)
class Section:
    """A passage of the handbook, as the context of a prompt shows it."""

    id: str
    title: str
    text: str

    def as_dict(self) -> dict:
        return {"id": self.id, "title": self.title, "text": self.text}


def either_article(template: str) -> tuple[str, str]:
    """A sentence says the same with "your Fernwell" as with "the Fernwell"; a model mixes them."""
    return tuple(re.sub(r"\b([Tt]he|[Yy]our) (?=\{p\})", f"{article} ", template) for article in ("the", "your"))


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


class World:
    """A product with a handbook, its customers' questions, answers with known defects, and the judge of any answer."""

    name = "support"
    manners = SUPPORT

    def __init__(self, seed: int = 0, topics: int = len(TOPICS)):
        rng = random.Random(f"support world {seed}")
        self.seed = seed
        self.brand = PRODUCTS[seed % len(PRODUCTS)]
        self.products = tuple(f"{self.brand} {size}" for size in SIZES)
        self.topics: dict[str, Topic] = {topic.key: topic for topic in TOPICS[:topics]}
        self.values: dict[tuple[str, str], str] = {}
        self.step_values: dict[str, tuple[str, ...]] = {}
        for topic in TOPICS:  # all of them, so that a world with fewer topics knows the same facts
            drawn = sorted(rng.sample(range(len(topic.pool)), len(SIZES)))
            for product, place in zip(self.products, drawn, strict=True):
                self.values[topic.key, product] = topic.pool[place]
            self.step_values[topic.key] = tuple(rng.choice(step.pool) if step.pool else "" for step in topic.steps)
        self._truths: dict[tuple[str, str, str], Truth] = {}
        self._writer = Writer(self)

    # The handbook

    @cached_property
    def handbook(self) -> tuple[Section, ...]:
        return tuple(self._section(topic) for topic in self.topics.values())

    def _section(self, topic: Topic) -> Section:
        mini, home, large = (self.values[topic.key, product] for product in self.products)
        fact = topic.facts[0].format(p=self.products[0], v=mini)
        steps = [upper_first(self.step_clause(topic.key, index)) for index in range(len(topic.steps))]
        numbered = " ".join(f"{number}. {step}." for number, step in enumerate(steps, 1))
        return Section(topic.key, topic.title, f"{fact} For the Home it is {home}, for the Max {large}. {numbered}")

    def step_clause(self, topic: str, index: int, wording: int = 0, value: str | None = None) -> str:
        """One step in words, with its right value unless another is given."""
        right = self.step_values[topic][index]
        return self.topics[topic].steps[index].wordings[wording].format(s=right if value is None else value)

    # Questions

    @cached_property
    def _questions(self) -> list[tuple[str, str, int, int]]:
        """Every question there is, as (topic, product, wording, customer); the last customer gives no name."""
        return [
            (topic.key, product, ask, customer)
            for topic in self.topics.values()
            for product in self.products
            for ask in range(len(topic.asks))
            for customer in range(len(phrases.NAMES) + 1)
        ]

    def prompts(self, n: int, seed: int | random.Random = 0, split: str | None = None) -> list[WorldPrompt]:
        """`n` different questions (of one split, if named); fewer only where there are no more."""
        rng = seed if isinstance(seed, random.Random) else random.Random(f"prompts {self.seed} {seed}")
        chosen: list[WorldPrompt] = []
        for question in rng.sample(self._questions, len(self._questions)):
            if len(chosen) == n:
                break
            prompt = self._prompt(*question)
            if split in (None, prompt.split):
                chosen.append(prompt)
        return chosen

    def _prompt(self, topic: str, product: str, ask: int, customer: int) -> WorldPrompt:
        rng = random.Random(f"question {self.seed} {topic} {product} {ask} {customer}")
        question = self.topics[topic].asks[ask].format(p=product)
        name = phrases.NAMES[customer] if customer < len(phrases.NAMES) else phrases.Name("")
        if name.text:
            hello = f"{rng.choice(phrases.HELLOS[name.tongue])} " if rng.random() < 0.5 else ""
            text = f"{hello}{question} {rng.choice(phrases.SIGNATURES).format(n=name.text)}"
        else:
            text = question if rng.random() < 0.5 else f"{rng.choice(phrases.HELLOS['en'])} {question}"
        context = [self._section(self.topics[topic]).as_dict()]
        if rng.random() < 0.3:
            context.append(rng.choice([section for section in self.handbook if section.id != topic]).as_dict())
            rng.shuffle(context)
        return self._made_prompt(text, tuple(context), topic, product, name)

    def _made_prompt(self, text: str, context: tuple, topic: str, product: str, name: phrases.Name) -> WorldPrompt:
        digest = hashlib.sha256(text.encode()).hexdigest()
        at, split = int(digest[:8], 16) % 100, "test"
        for split, share in SPLITS:  # noqa: B007 - the last one stays
            if at < share:
                break
            at -= share
        return WorldPrompt(
            id=f"{topic}-{product.rsplit(' ', 1)[1].lower()}-{digest[:8]}",
            messages=({"role": "user", "content": text},),
            context=context,
            topic=topic,
            product=product,
            name=name.text,
            tongue=name.tongue,
            value=self.values[topic, product],
            split=split,
        )

    @cached_property
    def _asked(self) -> dict[str, tuple[str, str]]:
        return {
            ask.format(p=product): (topic.key, product)
            for topic in self.topics.values()
            for product in self.products
            for ask in topic.asks
        }

    def prompt_from(self, messages: Sequence[dict], context: Sequence[dict] = ()) -> WorldPrompt | None:
        """The prompt again from what the database keeps; None for a question that this world does not know."""
        text = next((str(m.get("content", "")) for m in messages if m.get("role") == "user"), "")
        for question, (topic, product) in self._asked.items():
            at = text.find(question)
            if at >= 0:
                said = set(keys_of(text[:at] + " " + text[at + len(question) :]))
                name = next((n for n in phrases.NAMES if set(keys_of(n.text)) <= said), phrases.Name(""))
                return self._made_prompt(text, tuple(context), topic, product, name)
        return None

    # Answers

    def answer(self, prompt: WorldPrompt, rng: random.Random, rates: dict[str, float] | None = None) -> Answer:
        """An answer with defects at these rates (those not named as in DEFAULT_RATES; `{}` and None: all of them)."""
        return self._writer.answer(prompt, rng, {**DEFAULT_RATES, **(rates or {})})

    def clean_answer(self, prompt: WorldPrompt, rng: random.Random) -> Answer:
        """An answer without any defect."""
        return self._writer.answer(prompt, rng, dict.fromkeys(DEFAULT_RATES, 0.0))

    def corpus(
        self, n: int, seed: int = 0, split: str | None = "train", rates: dict[str, float] | None = None
    ) -> Iterator[tuple[WorldPrompt, Answer]]:
        """`n` pairs of prompt and answer for a base model to read; when the prompts are used up they come again."""
        rng = random.Random(f"corpus {self.seed} {seed}")
        prompts: list[WorldPrompt] = []
        for _ in range(n):
            if not prompts:
                prompts = self.prompts(len(self._questions), rng, split)
            prompt = prompts.pop()
            yield prompt, self.answer(prompt, rng, rates)

    # The truth

    def quality_without(self, reading: Reading, overlooked: Sequence[Defect]) -> float:
        """The quality as it looks to somebody who has not seen these defects."""
        quality = reading.quality
        for defect in overlooked:
            quality /= 0.7 if defect.kind == MISSING_STEP else KEPT[defect.kind][defect.severity]
        return min(1.0, quality)

    def leaning(self, prompt: WorldPrompt, a: str, b: str, taste: int, rng: random.Random) -> float:
        """Nobody prefers an answer for anything but its quality here."""
        return 0.0

    def read(self, prompt: WorldPrompt, text: str) -> Reading:
        """Defects, recognised phrases and quality of any text as an answer to this prompt."""
        return read(text, self.truth(prompt), self._phrases)

    def defects(self, prompt: WorldPrompt, text: str) -> list[Defect]:
        return list(self.read(prompt, text).defects)

    def true_quality(self, prompt: WorldPrompt, text: str) -> float:
        """From 0 (no answer at all) to 1 (everything that is needed, and nothing else)."""
        return self.read(prompt, text).quality

    def truth(self, prompt: WorldPrompt) -> Truth:
        """What a right answer to this prompt says."""
        key = (prompt.topic, prompt.product, prompt.name)
        if key not in self._truths:
            topic = self.topics[prompt.topic]
            self._truths[key] = Truth(
                topic=topic.key,
                product=prompt.product,
                name=prompt.name,
                fact=prompt.value,
                steps=self.step_values[topic.key],
                fact_sentence=topic.facts[0].format(p=prompt.product, v=prompt.value),
                step_clauses=tuple(self.step_clause(topic.key, index) for index in range(len(topic.steps))),
            )
        return self._truths[key]

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases(list(self._patterns()))

    def _patterns(self) -> Iterator[Pattern]:
        product = Slot("product", (*(keys_of(p) for p in self.products), keys_of(self.brand)))
        name = Slot("name", tuple(keys_of(n.text) for n in phrases.NAMES))
        for greetings in phrases.GREETINGS.values():
            for greeting in greetings:
                yield pattern_of(greeting, "greeting", {"n": name})
        for kind, texts in (
            ("greeting", phrases.PLAIN_GREETINGS),
            ("opening", phrases.OPENINGS),
            ("lead", phrases.LEADS),
            ("closing", phrases.CLOSINGS),
            ("ramble", phrases.FIXED_RAMBLES),
            ("link", (*phrases.FIRST_WORDS, *phrases.NEXT_WORDS, *phrases.LAST_WORDS)),
            ("link", (phrases.INSERTED_FIRST, phrases.INSERTED_NEXT, phrases.INSERTED_LAST)),
        ):
            yield from (pattern_of(text, kind) for text in dict.fromkeys(texts) if text)
        for rude in (*phrases.RUDE_OPENINGS, *phrases.RUDE_LEADS, *phrases.RUDE_TAILS, *phrases.RUDE_CLOSINGS):
            tail = rude in phrases.RUDE_TAILS
            yield pattern_of(rude.text, "rude", severity=rude.severity, instead=rude.instead, text_goes_on=tail)
        parts = {"who": phrases.RAMBLE_WHO, "did": phrases.RAMBLE_DID, "where": phrases.RAMBLE_WHERE}
        slots = {key: Slot("any", tuple(keys_of(value) for value in values)) for key, values in parts.items()}
        yield from (pattern_of(text, "ramble", slots) for text in phrases.RAMBLES)
        claims = {
            "p": Slot("any", product.values),
            "claim": Slot("any", tuple(keys_of(end) for end in phrases.CLAIM_ENDS)),
        }
        yield from (
            pattern_of(text, "claim", claims) for template in phrases.CLAIMS for text in either_article(template)
        )
        for topic in self.topics.values():
            value = slot_for_values("value", topic.pool)
            for fact in (text for template in topic.facts for text in either_article(template)):
                yield pattern_of(fact, "fact", {"p": product, "v": value}, topic=topic.key)
            for index, step in enumerate(topic.steps):
                slots = {"s": slot_for_values("step", step.pool)} if step.pool else {}
                yield from (pattern_of(w, "step", slots, topic=topic.key, index=index) for w in step.wordings)
