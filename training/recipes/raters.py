"""Who says which of two answers is better: what a recipe that learns from comparisons plays by.

A rater is a preference model (both answers in one input), a program of `checkers` that compares, or, where nothing else
is there, a reward model whose two scores are compared. What it says of a pair is the chance p(a, b) that a is the
better, always with p(b, a) = 1 - p(a, b); None where it cannot read one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from training import engine
from training.recipes.asking import Ask
from training.recipes.checkers import CHECKERS
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample

REMEMBERED = 200_000  # pairs whose chances are kept
KINDS = ("preference_model", "reward_model", "span_reward_model")
SCALAR = (
    "A model that scores single answers says which of two is better: it cannot hold tastes that go in circles, and "
    "playing by it comes to maximising its score. Train a preference model instead."
)


@dataclass(frozen=True)
class Match:
    """Two answers to one prompt that are to be compared."""

    ask: Ask
    first: Sample
    second: Sample


@dataclass(frozen=True)
class Chance:
    """The chance that the first is the better one. `swapped`: the rater's two orders of reading disagreed."""

    first: float
    swapped: bool = False


class Source(Protocol):
    """One way to compare: a chance for each match, None where it cannot tell."""

    def __call__(self, matches: Sequence[Match]) -> list[Chance | None]: ...


@dataclass
class Rater:
    """A source with its memory, and what it watches: `shaping` are log-odds taken from an answer."""

    source: Source
    name: str
    shaping: Callable[[Sample], float] = lambda sample: 0.0
    asked: int = 0
    unread: int = 0
    swapped: int = 0
    certainty: float = 0.0
    _known: dict[tuple[str, str, str], Chance | None] = field(default_factory=dict)

    def __call__(self, matches: Sequence[Match], *, counted: bool = True) -> list[float | None]:
        """p(first, second) of each match. The same two texts are asked about once. What is not `counted` is not in the
        figures.
        """
        new: dict[tuple[str, str, str], Match] = {}
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for one in matches:
            key, turned = key_of(one)
            if key not in self._known and one.first.text != one.second.text:
                new.setdefault(key, Match(one.ask, one.second, one.first) if turned else one)
        for key, found in zip(new, self.source(list(new.values())), strict=True):
            self._known[key] = found
        return [self._of(one, counted) for one in matches]

    def _of(self, one: Match, counted: bool) -> float | None:
        key, turned = key_of(one)
        found = Chance(0.5) if one.first.text == one.second.text else self._known[key]
        push = self.shaping(one.second) - self.shaping(one.first)
        self.asked += counted
        if found is None:
            self.unread += counted
            return sigmoid(push) if push else None
        chance = 1 - found.first if turned else found.first
        if counted:
            self.swapped += found.swapped
            self.certainty += abs(2 * chance - 1)
        return sigmoid(log_odds(chance) + push) if push else chance

    def figures(self) -> dict[str, float]:
        """How the rater did since it was last asked: pairs it could not read, how sure it was, how often the order of
        reading decided.
        """
        told = {
            "rater/unread": self.unread / max(1, self.asked),
            "rater/certainty": self.certainty / max(1, self.asked - self.unread),
            "rater/order_swap": self.swapped / max(1, self.asked - self.unread),
        }
        asked, self.asked, self.unread, self.swapped, self.certainty = self.asked, 0, 0, 0, 0.0
        return {"comparisons": float(asked), **told}


def key_of(one: Match) -> tuple[tuple[str, str, str], bool]:
    """A pair's name whichever stands first, and whether it stands the other way round under it."""
    turned = one.second.text < one.first.text
    first, second = sorted((one.first.text, one.second.text))
    return (one.ask.prompt_id, first, second), turned


def sigmoid(value: float) -> float:
    """1 / (1 + e^-value), of any value."""
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def log_odds(chance: float) -> float:
    """Of a chance, held to a millionth from 0 and 1."""
    held = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(held / (1 - held))


def by_pairs(run: RunContext, *, beside: Policy | None) -> Source:
    """A preference model."""
    scorer = engine.pair_scoring.PairScorer.load(run.models["preference_model"], beside=beside)

    def compare(matches: Sequence[Match]) -> list[Chance | None]:
        pairs: list[Any] = [
            {
                "messages": one.ask.messages,
                "context": one.ask.context,
                "first": one.first.text,
                "second": one.second.text,
            }
            for one in matches
        ]
        return [None if said is None else Chance(said.chance, said.swapped) for said in scorer.compare_many(pairs)]

    return compare


def by_scores(judge: Callable[[Sequence[Ask], Sequence[Sample]], Any]) -> Source:
    """Models that score single answers (a `rewarding.Judge`): p = sigmoid(r_a - r_b), Bradley and Terry's."""

    def compare(matches: Sequence[Match]) -> list[Chance | None]:
        samples = [one for match in matches for one in (match.first, match.second)]
        if not samples:
            return []
        scores = judge([match.ask for match in matches for _ in range(2)], samples).total.tolist()
        pairs = zip(scores[::2], scores[1::2], strict=True)
        return [None if math.isnan(a) or math.isnan(b) else Chance(sigmoid(a - b)) for a, b in pairs]

    return compare


def by_program(name: str) -> Source:
    """A world's crowd ("cycles", "cycles:ladder"), or any other checker, for which the answer that is worth more is the
    better.
    """
    from training.worlds.registry import WORLDS, world

    kind, _, argument = name.partition(":")
    if kind not in WORLDS:
        return by_worth(name)
    try:
        known = world(name)
    except ValueError as error:
        raise RecipeError("run.checker", str(error), "Name a world as in cycles or words:24.") from error

    def compare(matches: Sequence[Match]) -> list[Chance | None]:
        found: list[Chance | None] = []
        for one in matches:
            prompt = known.prompt_from(list(one.ask.messages), list(one.ask.context))
            if prompt is None:
                found.append(None)
            else:
                found.append(Chance((1 + known.preference(prompt, one.first.text, one.second.text)) / 2))
        return found

    return compare


def by_worth(name: str) -> Source:
    """A program that says what single answers are worth: more is better, equals tie."""
    kind, _, argument = name.partition(":")
    check = CHECKERS[kind](argument)

    def compare(matches: Sequence[Match]) -> list[Chance | None]:
        found: list[Chance | None] = []
        for one in matches:
            a, b = (check(one.ask, sample.text) for sample in (one.first, one.second))
            found.append(None if a is None or b is None else Chance(1.0 if a > b else 0.0 if a < b else 0.5))
        return found

    return compare


def rater_of(
    run: RunContext,
    *,
    checker: str,
    judge: Callable[[], Any],
    beside: Policy | None,
    shaping: Mapping[str, float],
) -> Rater:
    """The one rater that this run was given; RecipeError where there is none or more than one. `judge` makes the
    `rewarding.Judge` of its reward models; `shaping` are the log-odds taken from answers that were cut off
    (`missing_stop`) and from wordless ones (`empty`).
    """
    given = [kind for kind in KINDS if kind in run.models]
    if checker and given:
        raise RecipeError(
            "run.raters",
            f"Both the program {checker} and a {given[0].replace('_', ' ')} would say which answer is better.",
            "Leave checker empty, or start without the model; a program that measures only is named in truth.",
        )
    if "preference_model" in given and len(given) > 1:
        raise RecipeError("run.raters", "Two models would say which answer is better.", "Give one of them.")
    if not given and not checker:
        raise RecipeError("run.input_missing", "Nothing compares the answers.", "Choose a preference model.")

    def taken(sample: Sample) -> float:
        cut, wordless = not sample.finished, not sample.text.strip()
        return shaping["missing_stop"] * cut + shaping["empty"] * wordless

    if checker:
        return Rater(by_program(checker), checker, taken)
    if "preference_model" in given:
        return Rater(by_pairs(run, beside=beside), "preference_model", taken)
    run.log(SCALAR, level="warning")
    return Rater(by_scores(judge()), given[0], taken)
