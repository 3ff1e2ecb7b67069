"""What sampled answers are worth: a weighted sum of whatever judges a run was given, each of them logged apart.

    R = sum_k w_k (r_k - m_k) / s_k + shaping     m_k = 0, s_k = 1; the batch's; or the reward model's own (`Normalise`)

Judges are reward models (one number an answer), span reward models (their tokens as one number,
`engine.scoring.reward`) and, for demonstrations and tests, programs that check an answer against what they know. A
judge may have no verdict: then the answer has none. Shaping (an answer that never ended, one that is too long or empty)
is a part like any other.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from training import engine
from training.recipes.asking import Ask, item_of
from training.recipes.checkers import CHECKERS as CHECKERS
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from training.engine.policy import Policy
    from training.engine.rewards import Part
    from training.engine.rollouts import Sample
    from training.engine.scoring import SpanScorer, TokenScore
    from training.recipes.watching import Watcher

NEEDS = "reward_model|span_reward_model"  # what a recipe with a Judge must be given
Reduction = Literal["mean", "phrases"]
Normalise = Literal["none", "batch", "artifact"]

Place = tuple[int, float]  # the character of an answer's text at which something was earned, and how much


@dataclass(frozen=True)
class Verdict:
    """What B answers are worth."""

    total: Tensor  # float64 [B], NaN for no verdict
    parts: Mapping[str, Tensor]  # weighed, they add up to `total`
    places: list[list[Place]]  # of each answer, weighed: what of the total was earned before its end
    raw: Mapping[str, Tensor] = field(default_factory=dict)  # what each judge said, as it said it; no shaping
    rewarded: Tensor | None = None  # float64 [B]: tokens of each answer that were rewarded or blamed


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
    normalise: Normalise = "none"
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # mean, deviation of an artifact's scores
    watch: Watcher | None = None  # sees what is sampled and judged; judges nothing itself

    @classmethod
    def of(
        cls,
        run: RunContext,
        *,
        beside: Policy | None = None,
        reduction: Reduction = "mean",
        checker: str = "",
        weights: str = "",
        normalise: Normalise = "none",
        **shaping: float,
    ) -> Judge:
        """From the models that the run was given and, by name, a program. With a policy to stand `beside` they share
        its copy of the base. How they are mixed is said in the run's log.
        """
        sources: dict[str, Source] = {}
        for kind in ("reward_model", "span_reward_model"):
            if kind in run.models:
                sources[kind] = by_model(run.models[kind], beside=beside, reduction=reduction)
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
        scales = {name: scale_of(run, name, reduction) for name in sources if normalise == "artifact"}
        known = {name: scale for name, scale in scales.items() if scale is not None}
        judge = cls(sources, weighed, normalise=normalise, scales=known, **shaping)  # type: ignore[arg-type]
        run.log(judge.in_words)
        return judge

    @property
    def in_words(self) -> str:
        """The mix, for the log: what is added up, and in which unit."""
        told = []
        for name in self.sources:
            how = name
            if self.normalise == "batch":
                how = f"{name}, standardised over the answers judged together"
            elif name in self.scales:
                mean, deviation = self.scales[name]
                how = f"({name} - {mean:.4g}) / {deviation:.4g}, the mean and deviation that its artifact holds"
            elif self.normalise == "artifact":
                how = f"{name} as it is, since a program has no artifact"
            told.append(f"{self.weights.get(name, 1.0):g} x {how}")
        plain = "" if self.normalise != "none" else " (each as it is, nothing normalised)"
        return f"The reward is {' + '.join(told)}{plain}."

    @property
    def for_measuring(self) -> Judge:
        """The same, so that two measurements can be compared: never standardised over what is judged together."""
        return replace(self, normalise="none") if self.normalise == "batch" else self

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Verdict:
        """What each answer is worth; `chosen[i]` is what `samples[i]` answers."""
        import torch

        part = engine.rewards.Part
        parts, raw = {}, {}
        places: list[list[Place]] = [[] for _ in samples]
        rewarded = torch.zeros(len(samples), dtype=torch.float64)
        for name, source in self.sources.items():
            found: list[list[Place] | None] = []
            if isinstance(source, Spans):
                found, marked = source.read(chosen, samples)
                rewarded = torch.maximum(rewarded, torch.tensor(marked, dtype=torch.float64))
                values = [None if one is None else sum(worth for _, worth in one) for one in found]
            else:
                values = source(chosen, samples)
                rewarded = rewarded.clamp_min(torch.tensor([float(one is not None) for one in values]).double())
            verdicts = [float("nan") if value is None else value for value in values]
            raw[name] = torch.tensor(verdicts, dtype=torch.float64)
            parts[name] = self._part(name, raw[name])
            scale = parts[name].weight / float(parts[name].std)
            if isinstance(source, Spans):
                places = [[(at, scale * worth) for at, worth in one or []] for one in found]
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
        return Verdict(mix.total, mix.parts, places, raw, rewarded)

    def _part(self, name: str, values: Tensor) -> Part:
        weight = self.weights.get(name, 1.0)
        if self.normalise == "batch":
            return engine.rewards.Part.whitened(values, weight=weight)
        mean, deviation = self.scales.get(name, (0.0, 1.0))
        return engine.rewards.Part(values, weight=weight, mean=mean, std=deviation)


def scale_of(run: RunContext, name: str, reduction: Reduction) -> tuple[float, float] | None:
    """Mean and deviation of a reward model's scores on the answers that it learned from, as its artifact holds them;
    None for a program. Raises RecipeError where the artifact has none.
    """
    if name not in run.models:
        return None
    card = json.loads((run.models[name] / "redpen.json").read_text())
    scale = card.get("scores") or {}
    scale = scale.get(reduction) if name == "span_reward_model" else scale
    if not scale or not scale["std"] > 0:
        raise RecipeError(
            "run.no_scale",
            f"The {name.replace('_', ' ')} does not say what mean and deviation its scores have.",
            "Train it again, or set normalise to batch or none.",
        )
    return float(scale["mean"]), float(scale["std"])


def weights_of(words: str) -> dict[str, float]:
    """From "reward_model=1, checker=0.5"; raise ValueError where it does not read so."""
    found = {}
    for piece in filter(None, (one.strip() for one in words.split(","))):
        match = re.fullmatch(r"(\w+) *= *(-?[\d.]+)", piece)
        if match is None:
            raise ValueError(f"“{piece}” is not a judge and its weight; write reward_model=1, checker=0.5.")
        found[match[1]] = float(match[2])
    return found


def by_answer(folder: Path, *, beside: Policy | None = None) -> Source:
    """A reward model: one number an answer, read as the tokens that were sampled where it has the same ones."""
    scorer = engine.reward_scoring.RewardScorer.load(folder, beside=beside)

    def judge(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        items = []
        for ask, sample in zip(chosen, samples, strict=True):
            ids = engine.answers.sampled_as(scorer.policy.tokenizer, sample.text, sample.ids)
            items.append({**item_of(ask, sample), **({} if ids is None else {"ids": ids})})
        return scorer.score_many(items)

    return judge


def by_model(folder: Path, *, beside: Policy | None = None, reduction: Reduction = "mean") -> Source:
    """A reward model or a span reward model, whichever the folder holds."""
    if json.loads((folder / "redpen.json").read_text())["kind"] == "span_reward_model":
        return Spans(engine.scoring.SpanScorer.load(folder, beside=beside), reduction)
    return by_answer(folder, beside=beside)


class Spans:
    """A span reward model: its tokens reduced to one number an answer, and where that was earned."""

    def __init__(self, scorer: SpanScorer, reduction: Reduction) -> None:
        self.scorer, self.reduction = scorer, reduction
        self.last: Sequence[list[TokenScore] | None] = ()  # of the answers that it was asked about last

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        return [None if one is None else sum(worth for _, worth in one) for one in self.earned(chosen, samples)]

    def earned(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[list[Place] | None]:
        """For each answer what its phrases (or tokens) are worth, None for one that cannot be scored."""
        return self.read(chosen, samples)[0]

    def read(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> tuple[list[list[Place] | None], list[int]]:
        """The same, and how many of each answer's tokens are surely good or bad."""
        found = self.scorer.score_many([item_of(*pair) for pair in zip(chosen, samples, strict=True)])
        marked = [sum(abs(token["score"]) > engine.scoring.SEEN for token in tokens or []) for tokens in found]
        self.last = found
        return [None if tokens is None else places_of(tokens, self.reduction) for tokens in found], marked


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
