"""Who marks sampled answers, phrase by phrase, for recipes that reward tokens: a span reward model, a critique model, a
program that reads them, or people, whose marks stand in the snapshot. All come to one form, spans on the text.

A source may have no verdict on an answer (too long for it, or nothing could be read of what it wrote): then the answer
has none. Several sources are several annotators: the mean of their scores, character by character, comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.asking import Ask, item_of
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.engine.tokens import Span

KINDS = ("span_reward_model", "critique_model")  # models that can mark answers
Score = Literal["argmax", "soft"]


@dataclass(frozen=True)
class Marking:
    """What was marked in one answer."""

    spans: tuple[Span, ...] = ()
    words: str = ""  # a critic's, on the whole
    lost: int = 0  # quotes that stand nowhere in the answer
    annotators: int | None = None  # those who marked nothing counted too

    def and_by(self, other: Marking) -> Marking:
        """With another source's marks, each source being one annotator."""
        return Marking(
            (*self.spans, *other.spans),
            " ".join(filter(None, (self.words, other.words))),
            self.lost + other.lost,
            (self.annotators or 1) + (other.annotators or 1),
        )


Source = Callable[[Sequence[Ask], Sequence["Sample"]], list[Marking | None]]


def sources_of(run: RunContext, policy: Policy, *, reader: str, score: Score) -> dict[str, Source]:
    """All that marks this run's answers; models stand beside the policy, on its base where it is theirs."""
    found: dict[str, Source] = {}
    if "span_reward_model" in run.models:
        scorer = engine.scoring.SpanScorer.load(run.models["span_reward_model"], beside=policy)

        def by_scorer(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[Marking | None]:
            scores = scorer.score_many([item_of(*pair) for pair in zip(chosen, samples, strict=True)])
            return [None if one is None else Marking(tuple(engine.marks.of_scores(one, how=score))) for one in scores]

        found["span_reward_model"] = by_scorer
    if "critique_model" in run.models:
        writer = engine.critique_writing.CritiqueWriter.load(run.models["critique_model"], beside=policy)

        def by_critic(chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[Marking | None]:
            items = [item_of(*pair) for pair in zip(chosen, samples, strict=True)]
            written = writer.write_many(items, heed=run.check_stop)
            return [
                None if one is None else Marking(one.located.spans, one.critique.words, one.located.lost)
                for one in written
            ]

        found["critique_model"] = by_critic
    if reader:
        found["reader"] = by_reader(reader)
    return found


def marked(sources: Mapping[str, Source], chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[Marking | None]:
    """What all sources together marked in each answer; None where one of them had no verdict."""
    together: list[Marking | None] = []
    for number, (name, source) in enumerate(sources.items()):
        found = [None if one is None else _signed(one, name) for one in source(chosen, samples)]
        if not number:
            together = found
        else:
            together = [
                None if mine is None or theirs is None else mine.and_by(theirs)
                for mine, theirs in zip(together, found, strict=True)
            ]
    return together


def _signed(marking: Marking, name: str) -> Marking:
    return replace(marking, spans=tuple(replace(span, author=span.author or name) for span in marking.spans))


@dataclass
class Marker:
    """A judge's source: an answer is worth the sum of what was marked on its tokens. What it made of the answers that
    it was asked about last, is kept.
    """

    tokenizer: Any
    sources: Mapping[str, Source]
    rules: engine.marks.Rules
    last: list[Marking | None] = field(default_factory=list)
    delta: list[list[float] | None] = field(default_factory=list)  # of each answer's tokens, stop token with them

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> list[float | None]:
        self.last = marked(self.sources, chosen, samples) if self.sources else [None] * len(samples)
        self.delta = [
            None if marking is None else self.on_tokens(sample, marking)
            for sample, marking in zip(samples, self.last, strict=True)
        ]
        return [None if one is None else math.fsum(one) for one in self.delta]

    def on_tokens(self, sample: Sample, marking: Marking) -> list[float]:
        """What was marked, on the answer's own tokens."""
        return engine.marks.rewards_of(
            self.tokenizer, sample.ids, sample.text, marking.spans, annotators=marking.annotators, **self.rules
        )


# --- programs that read


Reader = Callable[[Ask, str], "Marking | None"]


def by_reader(name: str) -> Source:
    """A program of `READERS`, named as "words" or "words:24" (what stands after the colon is its own)."""
    kind, _, argument = name.partition(":")
    if kind not in READERS:
        raise RecipeError("run.reader", f"There is no reader {kind!r}; there are {', '.join(READERS)}.", "Name one.")
    read = READERS[kind](argument)
    return lambda chosen, samples: [read(ask, one.text) for ask, one in zip(chosen, samples, strict=True)]


def world_reader(kind: str) -> Callable[[str], Reader]:
    """Readers of a world: what a perfect reader of the text marks. No verdict on a prompt of another world."""

    def of(argument: str) -> Reader:
        from training.worlds import registry

        world: Any = registry.world(f"{kind}:{argument}" if argument else kind)

        def read(ask: Ask, text: str) -> Marking | None:
            prompt = world.prompt_from(list(ask.messages), list(ask.context))
            if prompt is None:
                return None
            return Marking(
                tuple(engine.tokens.Span(one.start, one.end, float(one.sentiment)) for one in world.marks(prompt, text))
            )

        return read

    return of


READERS: dict[str, Callable[[str], Reader]] = {kind: world_reader(kind) for kind in ("words", "support")}
