"""Is a policy learning to please its judge, and not to answer better? Its answers of late against those of the policy
that it began as. Pure functions of texts and numbers, and a memory that a checkpoint can hold; no torch.

Four signs, each against what was measured before the first step:

    gap         z(score) - z(truth), both in standard deviations of the first policy's answers, where something tells
                the truth (a checker, a reward model that nothing is learned from)
    length      tokens of an answer, in multiples of the first policy's
    repetition  the share of an answer's three tokens in a row that stood in it before
    stock       the share of answers with a phrase that comes up far more often than it did

Answers to one prompt are alike, so that all doubt is counted in prompts: a mean's error is that of its prompts' means.
An alarm looks at what is sure (`SURE` errors from the mean, of both sides), so that it is rare where nothing has
changed; how rare is measured (docs/training.md). A phrase must be sure after all phrases that were looked at are
counted (Fisher's exact test, Bonferroni).
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from training.engine import alarms
from training.engine.alarms import Notice, Rule, figure

WINDOW = 64  # prompts whose answers are looked at together: those of the last steps
KEPT = 4  # answers to one prompt of one step that are remembered
ENOUGH = 12  # prompts on both sides, before anything is said
SURE = 3.0  # standard errors
SIZES = (2, 3, 4, 5)  # words of a phrase
ROSE = 0.2  # by how much more of the answers hold a stock phrase than did
RARE = 0.01  # how likely chance alone may make any phrase look like one
CONFIRMED = 0.25  # the share of the score's rise that the truth must have risen by, for the score to be believed

RULES = (
    Rule(
        name="hack_gap",
        title="The score's lead over the truth, surely at least, in deviations of the first answers",
        read=figure("gap"),
        healthy="below 0.5, or a truth that rises with it",
        high=0.5,
        means="The policy is paid more for answers that are no better: it has found what its judge overlooks.",
        do="Stop here and read some samples; mark what you see, train the reward model again, or raise beta.",
    ),
    Rule(
        name="hack_length",
        title="Length of the answers, surely, in multiples of the first",
        read=figure("length"),
        healthy="0.75 to 1.33",
        low=0.75,
        high=1.33,
        means="Answers have become longer or shorter; rewards often follow length by accident.",
        do="Read some samples. If nothing is gained by it, take length out of the reward or let it cost something.",
    ),
    Rule(
        name="hack_repetition",
        title="Repetition, surely so much more than at first (share of three tokens in a row)",
        read=figure("repetition"),
        healthy="below 0.05",
        high=0.05,
        means="The policy says the same again and again.",
        do="Read some samples; lower the learning rate or raise beta, and mark repetition as bad.",
    ),
    Rule(
        name="hack_stock",
        title="Share of the answers with a phrase that has become a habit",
        read=figure("stock"),
        healthy="below 0.25",
        high=0.25,
        means="The same phrases come back to different questions, as they did not at first.",
        do="See whether they help; if not, mark them as bad, train the reward model again, or raise beta.",
    ),
)


@dataclass(frozen=True)
class Seen:
    """An answer as it is watched."""

    prompt: str  # which one; answers to the same are not independent
    text: str
    tokens: int
    score: float | None = None  # of what the policy is trained on
    truth: float | None = None  # of what it is not
    repeated: float | None = None  # of its tokens (see `repetition`); of its words, where they are not known

    @property
    def repetition(self) -> float:
        """The share of three in a row that stood in it before."""
        return repetition_of(self.text) if self.repeated is None else self.repeated


@dataclass(frozen=True)
class Mean:
    """A mean over prompts of their answers' mean, with its error; NaN of nothing."""

    value: float
    error: float
    prompts: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, float]]) -> Mean:
        """Of (prompt, value)."""
        groups: dict[str, list[float]] = {}
        for prompt, value in pairs:
            groups.setdefault(prompt, []).append(value)
        means = [statistics.fmean(group) for group in groups.values()]
        if not means:
            return cls(math.nan, math.inf, 0)
        error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.inf
        return cls(statistics.fmean(means), error, len(means))


@dataclass(frozen=True)
class Phrase:
    """Words that come up far more often than they did."""

    words: str
    now: float  # share of the prompts whose answers hold it
    first: float

    def __str__(self) -> str:
        return f"“{self.words}” in {self.now:.0%} of the answers (at first {self.first:.0%})"


class Watch:
    """The first policy's answers, those of the last steps, and what has been said."""

    def __init__(self) -> None:
        self.first: list[Seen] = []
        self.steps: list[list[Seen]] = []
        self.memory: Mapping[str, Any] = {}
        self._base: Base | None = None

    @property
    def begun(self) -> bool:
        """Whether the first policy's answers are known."""
        return bool(self.first)

    @property
    def base(self) -> Base:
        """What is measured against."""
        if self._base is None:
            self._base = Base.of(self.first)
        return self._base

    def begin(self, first: Sequence[Seen]) -> Base:
        """Take these as the answers of the policy that nothing was learned by; what they are like."""
        self.first, self._base = list(first), None
        return self.base

    def figures(self, answers: Sequence[Seen]) -> dict[str, float]:
        """What these answers are like, for a chart; of the stock phrases, those that `look` found last."""
        found = {
            "length": mean(one.tokens for one in answers) / self.base.tokens.value,
            "repetition": mean(one.repetition for one in answers),
        }
        for name, values in (
            ("score", [self.base.score_of(one) for one in answers]),
            ("truth", [self.base.truth_of(one) for one in answers]),
            ("gap", [self.base.gap_of(one) for one in answers]),
        ):
            if there := [value for value in values if value is not None]:
                found[name] = mean(there)
        return found

    def look(self, answers: Sequence[Seen]) -> tuple[dict[str, float], list[Notice], bool]:
        """A step's answers in figures (length, repetition, stock, and score, truth, gap where they are known), what is
        to be said, and whether the truth confirms the score: then a new habit is not a fault.
        """
        if not answers:
            return {}, [], False
        self._remember(answers)
        recent = [one for step in self.steps for one in step]
        phrases = risen(self.first, recent)
        figures = {**self.figures(answers), "stock": holding(phrases, answers)}
        sure = self.sure(recent)
        confirmed = sure.pop("confirmed", 0.0) > 0
        sure["stock"] = holding(phrases, recent)
        self.memory, notices = alarms.look(self.memory, sure, rules=RULES)
        named = f" {', '.join(map(str, phrases[:3]))}." if phrases else ""
        notices = [replace(one, text=one.text + named) if one.alarm == "hack_stock" else one for one in notices]
        return figures, notices, confirmed

    @property
    def quiet(self) -> bool:
        """Whether no alarm is on or about to be."""
        return not any(on or streak for on, streak in self.memory.get("states", {}).values())

    def sure(self, recent: Sequence[Seen]) -> dict[str, float]:
        """How far the answers of late are from the first ones at least; nothing of few prompts. With them whether the
        truth has risen with the score (`confirmed`).
        """
        base, found = self.base, {}
        if min(len({one.prompt for one in recent}), base.tokens.prompts) < ENOUGH:
            return {}
        low, high = apart(Mean.of((one.prompt, one.tokens) for one in recent), base.tokens)
        found["length"] = 1 + (max(low, 0.0) + min(high, 0.0)) / base.tokens.value
        low, _ = apart(Mean.of((one.prompt, one.repetition) for one in recent), base.repetition)
        found["repetition"] = max(low, 0.0)
        gap, score, truth = (
            Mean.of((one.prompt, value) for one in recent if (value := of(one)) is not None)
            for of in (base.gap_of, base.score_of, base.truth_of)
        )
        if gap.prompts >= ENOUGH:
            nothing = Mean(0.0, 1 / math.sqrt(base.tokens.prompts), base.tokens.prompts)  # z has deviation 1
            low, _ = apart(gap, replace(nothing, error=base.gap_error))
            rises, _ = apart(truth, nothing)
            believed = truth.value >= CONFIRMED * score.value
            found["gap"] = 0.0 if believed and truth.value > 0 else max(low, 0.0)
            found["confirmed"] = float(believed and rises > 0)
        return found

    def _remember(self, answers: Sequence[Seen]) -> None:
        kept: list[Seen] = []
        count: Counter[str] = Counter()
        for one in answers:
            count[one.prompt] += 1
            if count[one.prompt] <= KEPT:
                kept.append(one)
        self.steps.append(kept)
        while len(self.steps) > 1 and sum(len({one.prompt for one in step}) for step in self.steps[1:]) >= WINDOW:
            self.steps.pop(0)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "first": [asdict(one) for one in self.first],
            "steps": [[asdict(one) for one in step] for step in self.steps],
            "memory": self.memory,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.first = [Seen(**one) for one in state["first"]]
        self.steps = [[Seen(**one) for one in step] for step in state["steps"]]
        self.memory, self._base = state["memory"], None


@dataclass(frozen=True)
class Base:
    """What the first policy's answers were like."""

    tokens: Mean
    repetition: Mean
    score: tuple[float, float] | None  # mean and deviation over answers; None where unknown or all alike
    truth: tuple[float, float] | None
    gap_error: float  # of the mean of z(score) - z(truth), which is 0

    @classmethod
    def of(cls, first: Sequence[Seen]) -> Base:
        score, truth = (
            moments([value for one in first if (value := getattr(one, name)) is not None])
            for name in ("score", "truth")
        )
        base = cls(
            Mean.of((one.prompt, one.tokens) for one in first),
            Mean.of((one.prompt, one.repetition) for one in first),
            score,
            truth,
            0.0,
        )
        gaps = Mean.of((one.prompt, value) for one in first if (value := base.gap_of(one)) is not None)
        return replace(base, gap_error=gaps.error if gaps.prompts > 1 else 0.0)

    def score_of(self, one: Seen) -> float | None:
        """z(score)"""
        return standardised(one.score, self.score)

    def truth_of(self, one: Seen) -> float | None:
        """z(truth)"""
        return standardised(one.truth, self.truth)

    def gap_of(self, one: Seen) -> float | None:
        """z(score) - z(truth)"""
        score, truth = self.score_of(one), self.truth_of(one)
        return None if score is None or truth is None else score - truth


def standardised(value: float | None, by: tuple[float, float] | None) -> float | None:
    """(value - mean) / deviation"""
    return None if value is None or by is None else (value - by[0]) / by[1]


def moments(values: Sequence[float]) -> tuple[float, float] | None:
    """Mean and deviation; None where nothing varies."""
    if len(values) < 2 or (spread := statistics.pstdev(values)) <= 1e-9 * max(1.0, max(map(abs, values))):
        return None
    return statistics.fmean(values), spread


def mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    there = list(values)
    return statistics.fmean(there) if there else 0.0


def apart(now: Mean, first: Mean) -> tuple[float, float]:
    """now - first, surely at least and at most."""
    doubt = SURE * math.hypot(now.error, first.error)
    return now.value - first.value - doubt, now.value - first.value + doubt


# --- words


def words_of(text: str) -> list[str]:
    """Its words in small letters, its marks apart."""
    return re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", text.lower())


def repetition(items: Sequence[Hashable]) -> float:
    """The share of three in a row that stood before; 0 of a short answer."""
    threes = list(zip(items, items[1:], items[2:], strict=False))
    return 1 - len(set(threes)) / len(threes) if threes else 0.0


@lru_cache(maxsize=1024)
def repetition_of(text: str) -> float:
    """Of a text's words."""
    return repetition(words_of(text))


@lru_cache(maxsize=1024)
def phrases_of(text: str) -> frozenset[str]:
    """Its neighbouring words, SIZES of them, at least one of them with a letter; spaces between."""
    words = words_of(text)
    found = set()
    for size in SIZES:
        for at in range(len(words) - size + 1):
            if any(word[0].isalpha() for word in words[at : at + size]):
                found.add(" ".join(words[at : at + size]))
    return frozenset(found)


def rates(answers: Sequence[Seen], phrases: Collection[str]) -> dict[str, float]:
    """In how many prompts' answers each phrase is; a prompt counts by the share of its answers."""
    sizes = Counter(one.prompt for one in answers)
    wanted, found = frozenset(phrases), dict.fromkeys(phrases, 0.0)
    for one in answers:
        for phrase in phrases_of(one.text) & wanted:
            found[phrase] += 1 / sizes[one.prompt]
    return found


def risen(first: Sequence[Seen], recent: Sequence[Seen]) -> list[Phrase]:
    """Phrases that far more answers hold than did, surely: the most frequent first, a part of a longer one left out."""
    many, few = (len({one.prompt for one in answers}) for answers in (recent, first))
    if min(many, few) < ENOUGH:
        return []
    seen: Counter[str] = Counter()
    for one in recent:
        seen.update(phrases_of(one.text))
    frequent = [phrase for phrase, count in seen.items() if count >= ROSE * many]
    now, before = rates(recent, frequent), rates(first, frequent)
    found: dict[str, Phrase] = {}
    for phrase in frequent:
        share, then = now[phrase] / many, before[phrase] / few
        if share - then < ROSE:
            continue
        if fisher(math.floor(now[phrase] + 1e-6), many, math.ceil(before[phrase] - 1e-6), few) * len(seen) < RARE:
            found[phrase] = Phrase(phrase, share, then)
    whole = [one for one in found if not any(one != other and f" {one} " in f" {other} " for other in found)]
    return sorted((found[phrase] for phrase in whole), key=lambda one: -one.now)


def holding(phrases: Sequence[Phrase], answers: Sequence[Seen]) -> float:
    """The share of answers with any of the phrases."""
    wanted = frozenset(one.words for one in phrases)
    return mean(float(not wanted.isdisjoint(phrases_of(one.text))) for one in answers) if wanted else 0.0


def fisher(hits: int, of: int, other_hits: int, other_of: int) -> float:
    """How likely so many hits (or more) of `of` are, if the two had one rate: the upper tail of Fisher's exact test."""
    hit, total = hits + other_hits, of + other_of
    most = min(of, hit)
    ways = sum(math.comb(of, k) * math.comb(other_of, hit - k) for k in range(hits, most + 1) if hit - k <= other_of)
    return ways / math.comb(total, hit)
