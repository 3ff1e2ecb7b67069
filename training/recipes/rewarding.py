"""What sampled answers are worth: a weighted sum of whatever judges a run was given, each of them logged apart.

Judges are reward models (one number an answer), span reward models (their tokens as one number,
`engine.scoring.reward`) and, for demonstrations and tests, programs that check an answer against what they know. A
judge may have no verdict: then the answer has none. Shaping (an answer that never ended, one that is too long or empty)
is a part like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from training import engine
from training.recipes.asking import Ask, item_of
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.rewards import Mix
    from training.engine.rollouts import Sample

NEEDS = "reward_model|span_reward_model"  # what a recipe with a Judge must be given
Reduction = Literal["mean", "phrases"]


class Source(Protocol):
    """One judge: a number for each answer, None where it has no verdict."""

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]: ...


@dataclass(frozen=True)
class Judge:
    """All judges of a run and its shaping."""

    sources: Mapping[str, Source]
    weights: Mapping[str, float] = field(default_factory=dict)  # 1 where not named
    missing_stop: float = 0.0  # taken from an answer that was cut off
    empty: float = 0.0  # taken from an answer without a word
    overlong: int = 0  # tokens below `longest` from which an answer loses up to 1 (DAPO); 0: never
    longest: int = 0

    @classmethod
    def of(
        cls, run: RunContext, *, reduction: Reduction = "mean", checker: str = "", weights: str = "", **shaping: float
    ) -> Judge:
        """From the models that the run was given and, by name, a program."""
        sources: dict[str, Source] = {}
        if "reward_model" in run.models:
            sources["reward_model"] = by_answer(run)
        if "span_reward_model" in run.models:
            sources["span_reward_model"] = by_spans(run, reduction)
        if checker:
            sources["checker"] = by_program(checker)
        if not sources:
            raise RecipeError("run.input_missing", "Nothing judges the answers.", "Choose a reward model.")
        weighed = weights_of(weights)
        if strange := sorted(weighed.keys() - sources.keys()):
            raise RecipeError(
                "run.weights",
                f"weights names {', '.join(strange)}, but this run's judges are {', '.join(sources)}.",
                "Name only these.",
            )
        return cls(sources, weighed, **shaping)  # type: ignore[arg-type]

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Mix:
        """The reward of each answer (`chosen[i]` is what `samples[i]` answers), [B] float64, NaN for no verdict."""
        import torch

        part = engine.rewards.Part
        parts = {}
        for name, source in self.sources.items():
            verdicts = [float("nan") if value is None else value for value in source(chosen, samples)]
            parts[name] = part(torch.tensor(verdicts, dtype=torch.float64), weight=self.weights.get(name, 1.0))
        nothing = torch.zeros(len(samples), dtype=torch.float64)
        if self.missing_stop:
            finished = [one.finished for one in samples]
            parts["missing_stop"] = part(
                engine.rewards.missing_stop_penalty(nothing, finished, penalty=self.missing_stop)
            )
        if self.empty:
            wordless = torch.tensor([not one.text.strip() for one in samples])
            parts["empty"] = part(torch.where(wordless, -self.empty, nothing))
        if self.overlong:
            lengths = torch.tensor([float(len(one.ids)) for one in samples])
            parts["overlong"] = part(
                engine.rewards.overlong_penalty(lengths, longest=self.longest, cache=self.overlong).double()
            )
        return engine.rewards.mix(parts)


def weights_of(words: str) -> dict[str, float]:
    """From "reward_model=1, checker=0.5"; raise ValueError where it does not read so."""
    found = {}
    for piece in filter(None, (one.strip() for one in words.split(","))):
        match = re.fullmatch(r"(\w+) *= *(-?[\d.]+)", piece)
        if match is None:
            raise ValueError(f"“{piece}” is not a judge and its weight; write reward_model=1, checker=0.5.")
        found[match[1]] = float(match[2])
    return found


def by_answer(run: RunContext) -> Source:
    """A reward model: one number an answer, read as the tokens that were sampled where it has the same ones."""
    scorer = engine.reward_scoring.RewardScorer.load(run.models["reward_model"])

    def judge(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        items = []
        for ask, sample in zip(chosen, samples, strict=True):
            ids = engine.answers.sampled_as(scorer.policy.tokenizer, sample.text, sample.ids)
            items.append({**item_of(ask, sample), **({} if ids is None else {"ids": ids})})
        return scorer.score_many(items)

    return judge


def by_spans(run: RunContext, reduction: Reduction) -> Source:
    """A span reward model, its tokens reduced to one number an answer."""
    scorer = engine.scoring.SpanScorer.load(run.models["span_reward_model"])

    def judge(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        found = scorer.score_many([item_of(*pair) for pair in zip(chosen, samples, strict=True)])
        return [None if tokens is None else engine.scoring.reward(tokens, reduction=reduction) for tokens in found]

    return judge


Checker = Callable[[Ask, str], float | None]  # an answer's text to what it is worth


def by_program(name: str) -> Source:
    """A program of `CHECKERS`, named as "support" or "support:3" (the words after the colon are its own)."""
    kind, _, argument = name.partition(":")
    if kind not in CHECKERS:
        raise RecipeError("run.checker", f"There is no checker {kind!r}; there are {', '.join(CHECKERS)}.", "Name one.")
    check = CHECKERS[kind](argument)
    return lambda chosen, samples: [check(ask, one.text) for ask, one in zip(chosen, samples, strict=True)]


def support_world(seed: str) -> Checker:
    """How good an answer truly is in the demo's world: it reads the answer and the question, and knows the handbook.
    What a writer may have planted is not asked. No verdict on a question of another world.
    """
    from training.worlds.support import World

    world = World(int(seed or 0))

    def check(ask: Ask, text: str) -> float | None:
        prompt = world.prompt_from(list(ask.messages), list(ask.context))
        return None if prompt is None else world.true_quality(prompt, text)

    return check


CHECKERS: dict[str, Callable[[str], Checker]] = {"support": support_world}
