"""The same fresh prompts before and after: the first policy's answers beside the last one's, with what is marked
in both counted.

Prompts are of the dev split, which nothing is learned from; seeds of sampling are the same. Who marks: the world's own
program, where the run names a world whose truth is known (`truth`), else whatever marks phrases in this run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.asking import Ask, question_of
from training.recipes.marking import READERS, Marker
from training.recipes.rewarding import Judge, Spans

if TYPE_CHECKING:
    from training.engine.rollouts import Sample

SURE = 0.5  # a token whose score is nearer to 0 is part of no phrase
Mark = tuple[int, int, float, str]  # start, end, score, label
Pages = list[dict[str, Any]]  # for each prompt: prompt_id, question, text, marks, cut_off


class BeforeAfter:
    """What stands to be compared. Its state is part of every checkpoint."""

    def __init__(self, judge: Judge | None, truth: str = "") -> None:
        self.sources = judge.sources if judge is not None else {}
        self.world = truth if truth.partition(":")[0] in READERS else ""
        self.before: Pages = []
        self.after: Pages = []

    @property
    def marked_by(self) -> str:
        """Who marks, in words; nothing where nobody does."""
        if self.world:
            return "the world's own program"
        if any(isinstance(source, (Spans, Marker)) for source in self.sources.values()):
            return "what this run is judged by"
        return ""

    def saw(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> dict[str, float]:
        """The answers of an evaluation, judged just now: the first are those before, the newest those after. How many
        phrases are marked as bad in an answer, on average.
        """
        marks = self.marks(chosen, samples)
        self.after = [
            {
                "prompt_id": ask.prompt_id,
                "question": question_of(ask),
                "text": one.text,
                "marks": [list(mark) for mark in of_one],
                "cut_off": not one.finished,
            }
            for ask, one, of_one in zip(chosen, samples, marks, strict=True)
        ]
        self.before = self.before or self.after
        return {"held_out_bad_phrases": bad(self.after) / len(self.after)} if self.marked_by and self.after else {}

    def marks(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[list[Mark]]:
        """What is marked in each answer."""
        if self.world:
            read = reader(self.world)
            return [read(ask, one.text) for ask, one in zip(chosen, samples, strict=True)]
        for source in self.sources.values():
            if isinstance(source, Spans) and len(source.last) == len(samples):
                return [
                    phrases((t["start"], t["end"], t["score"], label_of(t)) for t in one or ()) for one in source.last
                ]
            if isinstance(source, Marker) and len(source.last) == len(samples):
                return [
                    phrases((span.start, span.end, span.score, "") for span in (one.spans if one else ()))
                    for one in source.last
                ]
        return [[] for _ in samples]

    def shown(self) -> dict[str, Any]:
        """For the run's page: the pairs, and what is marked in them counted, by label where there are labels."""
        pairs = [
            {"question": then["question"], "prompt_id": then["prompt_id"], "before": then, "after": now}
            for then, now in zip(self.before, self.after, strict=True)
        ]
        counts: dict[str, list[int]] = {}
        for place, pages in enumerate((self.before, self.after)):
            for _, _, score, label in (mark for page in pages for mark in page["marks"]):
                if score < 0:
                    counts.setdefault(label, [0, 0])[place] += 1
        return {
            "comparison": pairs,
            "marked_by": self.marked_by,
            "bad": [bad(self.before), bad(self.after)],
            "labels": [[label, *found] for label, found in sorted(counts.items(), key=lambda one: -sum(one[1]))],
        }


def bad(pages: Iterable[dict[str, Any]]) -> int:
    """How many phrases are marked as bad in them."""
    return sum(score < 0 for page in pages for _, _, score, _ in page["marks"])


def reader(name: str) -> Callable[[Ask, str], list[Mark]]:
    """What a perfect reader marks in the answers of a world."""
    from training.worlds import registry

    world: Any = registry.world(name)

    def read(ask: Ask, text: str) -> list[Mark]:
        prompt = world.prompt_from(list(ask.messages), list(ask.context))
        found = world.marks(prompt, text) if prompt is not None else []
        return [(one.start, one.end, float(one.sentiment), one.label or "") for one in found]

    return read


def phrases(spans: Iterable[Mark]) -> list[Mark]:
    """Neighbouring spans of one sign as one, with the strongest's score and label; what is hardly marked is left."""
    found: list[Mark] = []
    for start, end, score, label in spans:
        if abs(score) < SURE:
            continue
        if found and start - found[-1][1] <= 1 and (found[-1][2] < 0) == (score < 0):
            first, _, strongest, known = found[-1]
            stronger = abs(score) > abs(strongest)
            found[-1] = (first, end, score if stronger else strongest, label if stronger else known)
        else:
            found.append((start, end, score, label))
    return found


def label_of(token: engine.scoring.TokenScore) -> str:
    """The likeliest label of a token."""
    labels = token["labels"]
    return max(labels, key=lambda name: labels[name]) if labels else ""
