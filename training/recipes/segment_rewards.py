"""Rewards at the ends of segments: what a segment reward model (or, for demonstrations, a world's perfect reader) makes
of each segment of sampled answers, weighed by category, beside whatever judges whole answers.

    r[t_end(j)] += w_k * (+1 if p_k(OK) > p_k(ERR) else -1)        for each segment j of category k
    r[L - 1]    += w_c * (r_c - m) / s + bias                      whole answers (`rewarding.Judge`)

Fine-Grained RLHF (arXiv 2306.01693), equation 1. With `mean` an answer's segments pay their mean, so that cutting it in
more of them pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from training import engine
from training.recipes.asking import Ask, item_of
from training.recipes.context import RecipeError
from training.recipes.rewarding import Judge, Place, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.engine.segment_scoring import Judged

Read = Mapping[str, Sequence["Judged"]]  # an answer's segments, by category


class Reader(Protocol):
    """What judges segments."""

    categories: list[str]

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Sequence[Read | None]: ...


class ByModel:
    """A segment reward model."""

    def __init__(self, folder: Path, *, beside: Policy | None = None) -> None:
        self.scorer = engine.segment_scoring.SegmentScorer.load(folder, beside=beside)
        self.categories = [one.name for one in self.scorer.categories]

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Sequence[Read | None]:
        return self.scorer.score_many([item_of(*pair) for pair in zip(chosen, samples, strict=True)])


class ByWorld:
    """A world's perfect reader: a segment that holds a character of anything bad is ERR. What is missing has no
    characters, and no segment.
    """

    categories = ["errors"]  # noqa: RUF012 - as the protocol has it

    def __init__(self, name: str, *, segments: str) -> None:
        from training.worlds.registry import world

        try:
            self.world = world(name)
        except ValueError as error:
            raise RecipeError("run.reader", str(error), "Name a world as in words:24 or support:0.") from error
        self.cut = engine.segments.segmenter(segments)

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Sequence[Read | None]:
        return [self.read(ask, one.text) for ask, one in zip(chosen, samples, strict=True)]

    def read(self, ask: Ask, text: str) -> Read | None:
        """One answer's segments; None where the question is of another world."""
        prompt = self.world.prompt_from(list(ask.messages), list(ask.context))
        if prompt is None:
            return None
        segments = self.cut(text)
        marks: list[dict[str, Any]] = [
            {"start": mark.start, "end": mark.end}
            for mark in self.world.marks(prompt, text)
            if mark.sentiment < 0 and mark.start < mark.end
        ]
        verdicts = engine.segments.verdicts(text, segments, marks, shortest=1)
        judged = engine.segment_scoring.Judged
        pairs = zip(segments, verdicts, strict=True)
        return {"errors": [judged(start, end, float(verdict == engine.segments.OK)) for (start, end), verdict in pairs]}


@dataclass(frozen=True)
class SegmentJudge(Judge):
    """Judges of whole answers, and a reader that pays at the segments' ends."""

    reader: Reader | None = None
    mean: bool = False
    bias: float = 0.0
    last: list[Read | None] = field(default_factory=list, compare=False)  # what it read when it was asked last

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Verdict:
        """What each answer is worth, and where; every category is a part of its own."""
        import torch

        nothing = torch.zeros(len(samples), dtype=torch.float64)
        plain = bool(self.sources or self.missing_stop or self.empty or self.overlong)
        base = super().__call__(chosen, samples) if plain else Verdict(nothing, {}, [[] for _ in samples])
        parts, raw, places = dict(base.parts), dict(base.raw), [list(one) for one in base.places]
        if self.bias:
            parts["bias"] = nothing + self.bias
        self.last[:] = self.reader(chosen, samples) if self.reader else []
        ends = nothing.clone()
        for name in self.reader.categories if self.reader else ():
            weight = self.weights.get(name, 1.0)
            earned = [None if one is None else self.earned(sample, one[name]) for sample, one in self.seen(samples)]
            raw[name] = torch.tensor(
                [float("nan") if one is None else sum(worth for _, worth in one) for one in earned], dtype=torch.float64
            )
            parts[name] = weight * raw[name]
            ends += torch.tensor([float(len(one or ())) for one in earned])
            for place, one in zip(places, earned, strict=True):
                place += [(at, weight * worth) for at, worth in one or ()]
        total = torch.stack(list(parts.values())).sum(0) if parts else nothing
        rewarded = ends if base.rewarded is None else torch.maximum(base.rewarded, ends)
        return Verdict(total, parts, places, raw, rewarded)

    def seen(self, samples: Sequence[Sample]) -> Sequence[tuple[Sample, Read | None]]:
        """The samples it was asked about last, with what it read."""
        return list(zip(samples, self.last, strict=True))

    def earned(self, sample: Sample, parts: Sequence[Judged]) -> list[Place]:
        """What each segment of one category earns, one beyond its last character that is no space."""
        share = 1 / max(1, len(parts)) if self.mean else 1.0
        return [
            (engine.segments.last_character(sample.text, (one.start, one.end)) + 1, share * one.sign) for one in parts
        ]

    def figures(self) -> dict[str, float]:
        """Of the answers it read last: by category the share of judged segments that are OK and how many an answer has;
        segments that were cut off.
        """
        read = [one for one in self.last if one is not None]
        if not read or self.reader is None:
            return {}
        found: dict[str, float] = {"rm/segments_cut": 0.0}
        for name in self.reader.categories:
            parts = [part for one in read for part in one[name]]
            judged = [part for part in parts if part.ok is not None]
            found[f"segments/{name}"] = len(parts) / len(read)
            found["rm/segments_cut"] += len(parts) - len(judged)
            if judged:
                found[f"ok/{name}"] = sum(part.sign > 0 for part in judged) / len(judged)
        return found
