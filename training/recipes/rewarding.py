"""What sampled answers are worth: a weighted sum of whatever judges a run was given, each of them logged apart.

Judges are reward models (one number an answer), span reward models (their tokens as one number,
`engine.scoring.reward`) and, for demonstrations and tests, programs that check an answer against what they know. A
judge may have no verdict: then the answer has none. Shaping (an answer that never ended, one that is too long or empty)
is a part like any other.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from training import engine
from training.recipes.asking import Ask, item_of
from training.recipes.checkers import CHECKERS as CHECKERS
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.engine.scoring import SpanScorer, TokenScore

NEEDS = "reward_model|span_reward_model"  # what a recipe with a Judge must be given
Reduction = Literal["mean", "phrases"]


Place = tuple[int, float]  # the character of an answer's text at which something was earned, and how much


@dataclass(frozen=True)
class Verdict:
    """What B answers are worth."""

    total: Tensor  # float64 [B], NaN for no verdict
    parts: Mapping[str, Tensor]  # weighed, they add up to `total`
    places: list[list[Place]]  # of each answer, weighed: what of the total was earned before its end


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
        cls,
        run: RunContext,
        *,
        beside: Policy | None = None,
        reduction: Reduction = "mean",
        checker: str = "",
        weights: str = "",
        **shaping: float,
    ) -> Judge:
        """From the models that the run was given and, by name, a program. With a policy to stand `beside` they share
        its copy of the base.
        """
        sources: dict[str, Source] = {}
        if "reward_model" in run.models:
            sources["reward_model"] = by_answer(run, beside=beside)
        if "span_reward_model" in run.models:
            scorer = engine.scoring.SpanScorer.load(run.models["span_reward_model"], beside=beside)
            sources["span_reward_model"] = Spans(scorer, reduction)
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

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Verdict:
        """What each answer is worth; `chosen[i]` is what `samples[i]` answers."""
        import torch

        part = engine.rewards.Part
        parts = {}
        places: list[list[Place]] = [[] for _ in samples]
        for name, source in self.sources.items():
            weight = self.weights.get(name, 1.0)
            if isinstance(source, Spans):
                found = source.earned(chosen, samples)
                places = [[(at, weight * worth) for at, worth in one or []] for one in found]
                values = [None if one is None else sum(worth for _, worth in one) for one in found]
            else:
                values = source(chosen, samples)
            verdicts = [float("nan") if value is None else value for value in values]
            parts[name] = part(torch.tensor(verdicts, dtype=torch.float64), weight=weight)
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
        mix = engine.rewards.mix(parts)
        return Verdict(mix.total, mix.parts, places)


def weights_of(words: str) -> dict[str, float]:
    """From "reward_model=1, checker=0.5"; raise ValueError where it does not read so."""
    found = {}
    for piece in filter(None, (one.strip() for one in words.split(","))):
        match = re.fullmatch(r"(\w+) *= *(-?[\d.]+)", piece)
        if match is None:
            raise ValueError(f"“{piece}” is not a judge and its weight; write reward_model=1, checker=0.5.")
        found[match[1]] = float(match[2])
    return found


def by_answer(run: RunContext, *, beside: Policy | None = None) -> Source:
    """A reward model: one number an answer, read as the tokens that were sampled where it has the same ones."""
    scorer = engine.reward_scoring.RewardScorer.load(run.models["reward_model"], beside=beside)

    def judge(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        items = []
        for ask, sample in zip(chosen, samples, strict=True):
            ids = engine.answers.sampled_as(scorer.policy.tokenizer, sample.text, sample.ids)
            items.append({**item_of(ask, sample), **({} if ids is None else {"ids": ids})})
        return scorer.score_many(items)

    return judge


class Spans:
    """A span reward model: its tokens reduced to one number an answer, and where that was earned."""

    def __init__(self, scorer: SpanScorer, reduction: Reduction) -> None:
        self.scorer, self.reduction = scorer, reduction

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        return [None if one is None else sum(worth for _, worth in one) for one in self.earned(chosen, samples)]

    def earned(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[list[Place] | None]:
        """For each answer what its phrases (or tokens) are worth, None for one that cannot be scored."""
        found = self.scorer.score_many([item_of(*pair) for pair in zip(chosen, samples, strict=True)])
        return [None if tokens is None else places_of(tokens, self.reduction) for tokens in found]


def places_of(scores: Sequence[TokenScore], reduction: Reduction) -> list[Place]:
    """Where the one number of `engine.scoring.reward` was earned, in parts that add up to it: an equal share of every
    token's score at its end, or each phrase's strongest score at the phrase's end.
    """
    if reduction == "mean":
        return [(token["end"], token["score"] / len(scores)) for token in scores]
    found: list[Place] = []
    strongest, end = 0.0, 0
    for token in scores:
        kept = token["score"] if abs(token["score"]) > engine.scoring.SEEN else 0.0
        if strongest and kept * strongest <= 0:
            found.append((end, strongest))
            strongest = 0.0
        if kept:
            end = token["end"]
        if abs(kept) > abs(strongest):
            strongest = kept
    return [*found, (end, strongest)] if strongest else found


def on_tokens(tokenizer: Any, sample: Sample, places: Sequence[Place]) -> list[float]:
    """What was earned in an answer's text, on the sampled tokens themselves: on the one that wrote the last character
    of it. What stands beyond the text is on the last token.
    """
    ends = [
        len(tokenizer.decode(sample.ids[: k + 1], skip_special_tokens=False, clean_up_tokenization_spaces=False))
        for k in range(len(sample.ids))
    ]
    found = [0.0] * len(ends)
    for at, worth in places:
        found[min(bisect_left(ends, at), len(ends) - 1)] += worth
    return found


def by_program(name: str) -> Source:
    """A program of `CHECKERS`, named as "support" or "words:24" (the words after the colon are its own)."""
    kind, _, argument = name.partition(":")
    if kind not in CHECKERS:
        raise RecipeError("run.checker", f"There is no checker {kind!r}; there are {', '.join(CHECKERS)}.", "Name one.")
    check = CHECKERS[kind](argument)
    return lambda chosen, samples: [check(ask, one.text) for ask, one in zip(chosen, samples, strict=True)]
