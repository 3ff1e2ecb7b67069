"""Who says what is wrong with an answer, and who then writes it again: critics and refiners, each a small function.

    simple      one sentence: the answer is right, or wrong
    simple_gt   the same, and a right answer, where one is known
    text        words on what fails, by a program of a world, the policy itself or a critique model; an answer that is
                right gets simple_gt without anybody being asked

Who was asked and has said nothing usable falls back to simple_gt, or to simple where no right answer is known; it is
counted. People's critiques are of answers that are stored: `people_said` reads them out of a snapshot.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from training import engine
from training.recipes.asking import Ask, question_of
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample, Sampling

Kind = Literal["simple", "simple_gt", "text"]
END = "[END]"
CONCLUSION = re.compile(r"conclusion:\s*(right|wrong)", re.IGNORECASE)
TRIES = 3
FOLLOWS, SLIPS = 0.8, 0.01  # of the stand-in that refines in a world


@dataclass(frozen=True)
class Attempt:
    """An answer that is to be criticised."""

    ask: Ask
    text: str
    right: bool


@dataclass(frozen=True)
class Critique:
    """What was said of an attempt."""

    text: str
    by: str
    fell_back: bool = False  # who was asked for words gave none


class Words(Protocol):
    """Says in words what is wrong with each attempt; None where it cannot."""

    def __call__(self, attempts: Sequence[Attempt], *, seed: int) -> list[str | None]: ...


@dataclass(frozen=True)
class Critic:
    """Critiques of one kind. `truths` are right answers by prompt; `words` is who is asked for `text`."""

    kind: Kind
    by: str = "verdict"
    words: Words | None = None
    truths: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, attempts: Sequence[Attempt], *, seed: int) -> list[Critique]:
        asked = [place for place, one in enumerate(attempts) if self.kind == "text" and not one.right]
        words = self.words([attempts[place] for place in asked], seed=seed) if self.words and asked else []
        said = dict(zip(asked, words, strict=False))
        found = []
        for place, one in enumerate(attempts):
            if text := said.get(place):
                found.append(Critique(text, self.by))
            else:
                found.append(Critique(self._verdict(one), "verdict", fell_back=place in asked))
        return found

    def _verdict(self, attempt: Attempt) -> str:
        told = f"The answer is {'right' if attempt.right else 'wrong'}."
        truth = self.truths.get(attempt.ask.prompt_id) if self.kind != "simple" else None
        return f"{told} A right answer is: {truth}" if truth else told


def rendered(quote: str, words: str) -> str:
    """One marked phrase as a line of a critique, as in ILF."""
    return f'"{" ".join(quote.split())}": {words}' if quote else words


# --- who writes the words


def line_of(mark: Any) -> str:
    """A mark of a world's reader as a line of a critique; what is missing has no quote."""
    return rendered(mark.quote, mark.critique or mark.label.replace("_", " "))


def world_named(words: str) -> Any:
    """A world by name, with its options; RecipeError where there is none."""
    from training.worlds.registry import world

    try:
        return world(words)
    except ValueError as error:
        raise RecipeError("run.world", str(error), "Name one, as in words or support.") from error


def by_program(words: str) -> Words:
    """A perfect reader of a world: a line for each phrase that is wrong. None for a prompt of another world."""
    world = world_named(words)

    def write(attempts: Sequence[Attempt], *, seed: int) -> list[str | None]:
        return [criticised(one) for one in attempts]

    def criticised(one: Attempt) -> str | None:
        prompt = world.prompt_from(list(one.ask.messages), list(one.ask.context))
        if prompt is None:
            return None
        marks = [mark for mark in world.marks(prompt, one.text) if mark.sentiment < 0]
        return "\n".join(dict.fromkeys(map(line_of, marks))) or None

    return write


def by_policy(run: RunContext, policy: Policy, *, sampling: Sampling, rows: int, truths: Mapping[str, str]) -> Words:
    """The policy itself explains where an answer fails, up to three times until it comes to a conclusion."""

    def write(attempts: Sequence[Attempt], *, seed: int) -> list[str | None]:
        found: list[str | None] = [None] * len(attempts)
        backend = engine.rollouts.Own(policy, rows=rows, heed=run.check_stop)
        for number in range(TRIES):
            open_ones = [place for place, said in enumerate(found) if said is None]
            prompts = [
                engine.rollouts.Prompt(_ids(policy, critic_messages(one, truths.get(one.ask.prompt_id))))
                for one in (attempts[place] for place in open_ones)
            ]
            drawn = engine.rollouts.sample_with(backend, prompts, 1, sampling=sampling, seed=seed + 104_729 * number)
            run.tokens_written += sum(len(one.ids) for one in drawn)
            for place, sample in zip(open_ones, drawn, strict=True):
                found[place] = concluded(sample.text)
        return found

    return write


def by_model(run: RunContext, policy: Policy, *, temperature: float, rows: int) -> Words:
    """A critique model: its words, and a line for each phrase that it finds poor. It is asked up to three times, at
    first for the likeliest critique.
    """
    if "critique_model" not in run.models:
        raise RecipeError("run.input_missing", "The critic is a model, and none was given.", "Choose a critique model.")
    writer = engine.critique_writing.CritiqueWriter.load(run.models["critique_model"], beside=policy)

    def write(attempts: Sequence[Attempt], *, seed: int) -> list[str | None]:
        found: list[str | None] = [None] * len(attempts)
        for number in range(TRIES):
            open_ones = [place for place, said in enumerate(found) if said is None]
            items = [
                {"messages": one.ask.messages, "context": one.ask.context, "text": one.text}
                for one in (attempts[place] for place in open_ones)
            ]
            written = writer.write_many(
                items,
                temperature=temperature if number else 0.0,
                seed=seed + 104_729 * number,
                rows=rows,
                heed=run.check_stop,
            )
            for place, one in zip(open_ones, written, strict=True):
                if one is not None:
                    lines = [rendered(quote, "poor") for quote in one.critique.poor]
                    found[place] = "\n".join(filter(None, [one.critique.words.strip(), *lines])) or None
        return found

    return write


def critic_messages(attempt: Attempt, truth: str | None) -> list[dict[str, Any]]:
    """What a model is asked when it is to criticise."""
    reference = f"\n\nReference answer:\n{truth}" if truth else ""
    asked = (
        f"Question:\n{question_of(attempt.ask)}{reference}\n\nAnswer to be judged:\n{attempt.text}\n\n"
        "Go through this answer step by step. Quote each phrase that is wrong, say why, and how it would be right. "
        f"Close with the line “Conclusion: right {END}” or “Conclusion: wrong {END}”."
    )
    return [{"role": "user", "content": asked}]


def concluded(text: str) -> str | None:
    """A critique up to its end, or None where it comes to no conclusion."""
    said = text.partition(END)[0].strip()
    return said if CONCLUSION.search(said) else None


# --- what people said


@dataclass(frozen=True)
class Said:
    """An answer that is stored, and what people made of it: their words, or the better version they wrote."""

    text: str
    words: str = ""
    better: str = ""
    better_ids: tuple[int, ...] = ()


def people_said(run: RunContext, *, critiques: bool, rewrites: bool) -> dict[str, list[Said]]:
    """By prompt of the train split: answers with critiques (spans, one line each in the text's order, then the words on
    the whole), or with a better version; each answer once.
    """
    found: dict[str, list[Said]] = {}
    lines: dict[str, tuple[str, str, list[str], list[str]]] = {}  # by answer: prompt, text, lines of spans, words
    for row in run.rows("train"):
        if rewrites and row["kind"] == "rewrite":
            better = row["better"]
            said = Said(row["text"], better=better["text"], better_ids=tuple(better.get("token_ids") or ()))
            found.setdefault(str(row["prompt_id"]), []).append(said)
        elif critiques and row["kind"] in ("response", "verdict"):
            entry = lines.setdefault(row["response_id"], (str(row["prompt_id"]), row["text"], [], []))
            entry[2].extend(
                rendered(row["text"][span["start"] : span["end"]], span.get("critique") or span.get("label") or "wrong")
                for span in sorted(row.get("spans") or [], key=lambda span: span["start"])
                if span["sentiment"] < 0
            )
            if row.get("words"):
                entry[3].append(row["words"])
    for prompt, text, spans, words in lines.values():
        if spans or words:
            found.setdefault(prompt, []).append(Said(text, "\n".join([*spans, *words])))
    return found


def truths_of(run: RunContext) -> dict[str, str]:
    """A right answer to each prompt of the train split that has one: what people wrote by hand or mended."""
    found: dict[str, str] = {}
    for row in run.rows("train", kind="demonstration"):
        found.setdefault(str(row["prompt_id"]), row["text"])
    for row in run.rows("train", kind="rewrite"):
        found.setdefault(str(row["prompt_id"]), row["better"]["text"])
    return found


# --- who writes the answer again


class Refiner(Protocol):
    """A better version of each answer, from what was said of it; None where there is none."""

    def __call__(
        self, asks: Sequence[Ask], texts: Sequence[str], critiques: Sequence[str], *, seed: int
    ) -> list[Sample | None]: ...


@dataclass(frozen=True)
class Refining:
    """How a policy is asked to answer again."""

    system: str = ""
    form: str = ""  # how an answer must end
    passage_tokens: int = 0

    def messages(self, ask: Ask, text: str, critique: str) -> list[dict[str, Any]]:
        """The conversation with its last question asked again, the answer and what was said of it beside."""
        *before, last = (dict(message) for message in ask.messages)
        asked = (
            f"{last['content']}\n\nAn earlier answer:\n{text}\n\nWhat was said of it:\n{critique}\n\n"
            "Answer the question once more. Keep what was right, mend what the critique names, and think step by step."
            f"{f' {self.form}' if self.form else ''}"
        )
        if self.system and all(message["role"] != "system" for message in before):
            before.insert(0, {"role": "system", "content": self.system})
        return [*before, {**last, "content": asked}]


def refined_by_policy(run: RunContext, policy: Policy, how: Refining, *, sampling: Sampling, rows: int) -> Refiner:
    """The policy as it is; an answer whose prompt would not fit into its context is not refined."""
    context = int(getattr(policy.model.config, "max_position_embeddings", 0) or 1_000_000)

    def refine(
        asks: Sequence[Ask], texts: Sequence[str], critiques: Sequence[str], *, seed: int
    ) -> list[Sample | None]:
        ids = [
            engine.scoring.prompt_ids(
                policy.tokenizer, how.messages(*one), one[0].context, passage_tokens=how.passage_tokens
            )
            for one in zip(asks, texts, critiques, strict=True)
        ]
        fits = [place for place, one in enumerate(ids) if len(one) + sampling.max_tokens <= context]
        backend = engine.rollouts.Own(policy, rows=rows, heed=run.check_stop)
        prompts = [engine.rollouts.Prompt(ids[place]) for place in fits]
        drawn = engine.rollouts.sample_with(backend, prompts, 1, sampling=sampling, seed=seed, for_training=True)
        run.tokens_written += sum(len(one.ids) for one in drawn)
        found: list[Sample | None] = [None] * len(ids)
        for place, sample in zip(fits, drawn, strict=True):
            found[place] = sample
        return found

    return refine


def refined_by_program(policy: Policy, words: str, *, longest: int) -> Refiner:
    """A stand-in for a model that follows critiques, in a world (`followed`); for demonstrations and tests."""
    world = world_named(words)

    def refine(
        asks: Sequence[Ask], texts: Sequence[str], critiques: Sequence[str], *, seed: int
    ) -> list[Sample | None]:
        chance = random.Random(f"refiner {seed}")
        found: list[Sample | None] = []
        for ask, text, critique in zip(asks, texts, critiques, strict=True):
            prompt = world.prompt_from(list(ask.messages), list(ask.context))
            better = None if prompt is None else followed(world, prompt, text, critique, chance)
            found.append(None if better is None else as_sampled(policy, ask, better, longest=longest))
        return found

    return refine


def followed(world: Any, prompt: Any, text: str, critique: str, chance: random.Random) -> str:
    """The text with what the critique names mended, each phrase (or what is missing) with chance FOLLOWS, and each word
    a slip of the pen with chance SLIPS. What is not named is not known to be wrong: of “The answer is wrong.” nothing
    follows.
    """
    said = critique.split("\n")
    for mark in sorted(world.marks(prompt, text), reverse=True):
        begins = rendered(mark.quote, "") if mark.quote else line_of(mark)
        if mark.sentiment < 0 and any(line.startswith(begins) for line in said) and chance.random() < FOLLOWS:
            text = text[: mark.start] + mark.replacement + text[mark.end :]
    vocabulary = getattr(world, "vocabulary", ())
    pieces = [
        chance.choice(vocabulary) if vocabulary and piece.strip() and chance.random() < SLIPS else piece
        for piece in re.split(r"(\s+)", text)
    ]
    return "".join(pieces)


def as_sampled(policy: Policy, ask: Ask, text: str, *, longest: int, ids: Sequence[int] = ()) -> Sample | None:
    """A text as an answer in the policy's own tokens, its stop token with them; None where it is too long. `ids` are
    used where they spell it.
    """
    written = engine.answers.sampled_as(policy.tokenizer, text, list(ids))
    if written is None:
        row = engine.answers.answer_row(policy.tokenizer, "a refinement", ask.messages, [], text=text)
        written = engine.answers.completion_of(row)
    if not written or len(written) > longest:
        return None
    return engine.rollouts.Sample(
        prompt=0, seed=0, ids=written, logprobs=[0.0] * len(written), text=text, finished=True
    )


def _ids(policy: Policy, messages: Sequence[dict[str, Any]]) -> list[int]:
    return engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
