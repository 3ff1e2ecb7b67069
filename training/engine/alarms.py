"""Alarms in words: what a step's figures say about the health of a training, where they are healthy, and what to do.

Pure functions of figures and a small memory that a checkpoint can hold; no torch. An alarm is said once when a figure
has left its range for some steps, and once more when it has been back for as many, a little inside: a figure that
wavers about its limit does not fill the log. Ranges as axolotl's docs/training_stability.qmd gives them, where it does;
the entropy's upper end is ours (see there). Figures are named as the objectives and the online recipes name them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Memory = Mapping[str, Any]  # JSON can hold it
SEEN = 32  # values of a figure that are remembered, where one is compared with its own past
ENOUGH = 10  # of them, before anything is said


@dataclass(frozen=True)
class Notice:
    """Something to tell people: that an alarm begins, or that it is over."""

    alarm: str
    kind: Literal["begins", "ends"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a figure is unhealthy. `read` gives it, and what it is judged by, or None where a step does not have it."""

    name: str
    title: str
    read: Callable[[Mapping[str, float], Memory], float | None]
    healthy: str
    low: float = -math.inf
    high: float = math.inf
    steps: int = 2  # in a row, before it is said
    means: str
    do: str

    def outside(self, value: float) -> bool:
        return not self.low <= value <= self.high  # NaN is outside

    def well_inside(self, value: float) -> bool:
        """Inside by a tenth of each limit."""
        low = self.low + 0.1 * abs(self.low) if math.isfinite(self.low) else self.low
        high = self.high - 0.1 * abs(self.high) if math.isfinite(self.high) else self.high
        return low <= value <= high


def figure(*names: str) -> Callable[[Mapping[str, float], Memory], float | None]:
    """The sum of the figures of these names that a step has."""

    def read(values: Mapping[str, float], memory: Memory) -> float | None:
        found = [values[name] for name in names if name in values]
        return sum(found) if found else None

    return read


def rise(name: str, least: float) -> Callable[[Mapping[str, float], Memory], float | None]:
    """A figure in multiples of what it first was; of `least`, where it began below."""

    def read(values: Mapping[str, float], memory: Memory) -> float | None:
        if name not in values:
            return None
        past = memory.get("past", {}).get(name) or [values[name]]
        return values[name] / max(past[0], least)

    return read


def times_usual(name: str) -> Callable[[Mapping[str, float], Memory], float | None]:
    """A figure in multiples of its usual (median) value of late."""

    def read(values: Mapping[str, float], memory: Memory) -> float | None:
        past = memory.get("past", {}).get(name, [])[1:]
        if name not in values or len(past) < ENOUGH or statistics.median(past) <= 0:
            return None
        return values[name] / statistics.median(past)

    return read


def deviations(name: str) -> Callable[[Mapping[str, float], Memory], float | None]:
    """How many standard deviations a figure is above its mean of late."""

    def read(values: Mapping[str, float], memory: Memory) -> float | None:
        past = memory.get("past", {}).get(name, [])[1:]
        if name not in values or len(past) < ENOUGH:
            return None
        mean, spread = statistics.fmean(past), statistics.stdev(past)
        return (values[name] - mean) / max(spread, 1e-3 * abs(mean), 1e-9)

    return read


COMPARED = ("loss", "grad_norm", "entropy")  # figures whose past is remembered: the first, then the last SEEN
RULES = (
    Rule(
        name="silent_groups",
        title="Groups without signal",
        read=figure("silent_groups"),
        healthy="below 0.8",
        high=0.8,
        means="All answers to most prompts are worth the same, so that nothing can be learned from them.",
        do="Sample more answers, use a finer reward, or leave out prompts that are too easy or too hard.",
    ),
    Rule(
        name="kl",
        title="Distance to the reference (KL)",
        read=figure("kl/reference"),
        healthy="below 0.5 nats a token",
        high=0.5,
        means="The policy has gone far from where it began; a reward model is trusted less out there.",
        do="Lower the learning rate or raise beta, and read some samples.",
    ),
    Rule(
        name="clipped",
        title="Share of clipped ratios",
        read=figure("clipped/low", "clipped/high"),
        healthy="below 0.1",
        high=0.1,
        means="One update moves the policy so far that its gradient is cut off in many places.",
        do="Lower the learning rate, or take fewer updates on the same answers.",
    ),
    Rule(
        name="truncated",
        title="Share of answers that were cut off",
        read=figure("truncated"),
        healthy="below 0.3",
        high=0.3,
        means="Many answers never come to their end, so that their reward says little.",
        do="Raise max_new_tokens, or let an answer that is cut off cost something.",
    ),
    Rule(
        name="entropy_low",
        title="Entropy",
        read=figure("entropy"),
        healthy="0.05 to 0.5 nats a token; at first more, in a small model",
        low=0.05,
        means="The policy writes nearly the same every time: it has stopped to explore.",
        do="Raise the temperature or beta, lower the learning rate, or go back to an earlier model.",
    ),
    Rule(
        name="entropy_high",
        title="Entropy, in multiples of the first or of 0.5",
        read=rise("entropy", 0.5),
        healthy="below 2",
        high=2.0,
        means="The policy comes apart: it writes less and less likely words.",
        do="Lower the learning rate or the temperature, and read some samples.",
    ),
    Rule(
        name="length",
        title="Correlation of reward and length",
        read=figure("reward_length_correlation"),
        healthy="-0.5 to 0.5",
        low=-0.5,
        high=0.5,
        steps=3,
        means="Rewards follow the length of an answer more than anything in it.",
        do="See whether longer answers are better to people; if not, change the reward or take length out of it.",
    ),
    Rule(
        name="rewarded_tokens",
        title="Share of tokens with a reward",
        read=figure("rewarded_tokens"),
        healthy="above 0",
        low=1e-6,
        means="The judges find nothing to say of any token: there is nothing to learn from.",
        do="See whether the answers are as good as the judges can tell; if not, mark more and train them again.",
    ),
    Rule(
        name="refinement_gain",
        title="What refining gains, R' - R",
        read=figure("refinement/gain"),
        healthy="above 0.02",
        low=0.02,
        steps=50,
        means="The policy does not follow critiques: the run writes twice as much and learns what GRPO would learn.",
        do="Stop, use GRPO, or let people's rewrites be the refinements.",
    ),
    Rule(
        name="gap",
        title="Gap between sampler and trainer",
        read=figure("gap/mean"),
        healthy="below 0.1 nats a token",
        high=0.1,
        means="What is trained is not quite what has written: the ratios are wrong by that much.",
        do="Use the same precision in both, no top_p and top_k, and importance_cap where there is one.",
    ),
    Rule(
        name="loss",
        title="The loss, in standard deviations above its mean of late",
        read=deviations("loss"),
        healthy="below 6",
        high=6.0,
        steps=1,
        means="A spike: one batch is unlike the others, or a step before was too large.",
        do="If it does not come back by itself, lower the learning rate and look at the records of this step.",
    ),
    Rule(
        name="grad_norm",
        title="The gradient's norm, in multiples of its usual of late",
        read=times_usual("grad_norm"),
        healthy="below 10",
        high=10.0,
        steps=1,
        means="One batch pulls much harder than the others; clipping keeps its direction and takes its force.",
        do="If it happens often, lower the learning rate or look at the records of this step.",
    ),
)


def look(memory: Memory, values: Mapping[str, float], *, rules: Sequence[Rule] = RULES) -> tuple[Memory, list[Notice]]:
    """What is to be said after a step with these figures, and the memory for the next; begin with {}."""
    states: dict[str, list[Any]] = {name: list(state) for name, state in memory.get("states", {}).items()}
    notices = []
    for rule in rules:
        value = rule.read(values, memory)
        if value is None:
            continue
        on, streak = states.get(rule.name, [False, 0])
        changes = rule.well_inside(value) if on else rule.outside(value)
        streak = streak + 1 if changes else 0
        if streak >= rule.steps:
            on, streak = not on, 0
            notices.append(_notice(rule, value, begins=on))
        states[rule.name] = [on, streak]
    past: dict[str, list[float]] = {name: list(seen) for name, seen in memory.get("past", {}).items()}
    for name in COMPARED:
        if name in values and math.isfinite(values[name]):
            seen = [*past.get(name, []), float(values[name])]
            past[name] = [seen[0], *seen[1:][-SEEN:]]
    return {"states": states, "past": past}, notices


def _notice(rule: Rule, value: float, *, begins: bool) -> Notice:
    if begins:
        text = f"{rule.title}: {value:.3g} (healthy: {rule.healthy}). {rule.means} {rule.do}"
        return Notice(rule.name, "begins", text)
    return Notice(rule.name, "ends", f"{rule.title}: {value:.3g}, which is healthy again ({rule.healthy}).")
