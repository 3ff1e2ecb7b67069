"""What people said of several answers to one prompt, as pairs of which one is better; and what they said of single
answers, as good or bad. For the recipes that learn from these (`dpo`, `reward_model`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.recipes.learning import Record


@dataclass(frozen=True)
class Compared:
    """Two answers to one prompt, the better one first."""

    record: Record
    chosen: Record
    rejected: Record
    weight: float = 1.0
    strength: int = 3  # 1 slightly, 2 clearly, 3 far better
    tied: bool = False


def answers_of(record: Record) -> list[tuple[Record, float]]:
    """The answers of a ranking, a choice or a preference with their places: 1 is best, equals share one, infinity is
    after all that are placed. Nothing where it does not say which is better.
    """
    if record["kind"] == "preference":
        places = {"a": (1.0, 2.0), "b": (2.0, 1.0), "tie": (1.0, 1.0)}.get(record["choice"])
        return list(zip((record["a"], record["b"]), places, strict=True)) if places else []
    if record["kind"] == "ranking":
        return [(one, float(one["place"])) for one in record["answers"]]
    if not record["chosen"]:
        return []
    return [(one, 1.0 if one["response_id"] == record["chosen"] else math.inf) for one in record["answers"]]


def better(places: Sequence[float]) -> list[tuple[int, int]]:
    """Every two of which the first has the better place."""
    everyone = range(len(places))
    return [(first, second) for first in everyone for second in everyone if places[first] < places[second]]


def of_dimension(record: Record, dimension: str) -> bool:
    """Whether the record speaks of this side of the answers. Empty: of them as a whole; ratings: of any side."""
    if record["kind"] == "rating":
        return dimension in ("", record["dimension"])
    return record["kind"] not in ("preference", "ranking") or record.get("dimension", "") == dimension


def pairs_in(record: Record, *, ties: bool = False) -> Iterator[Compared]:
    """The pairs that a preference, a ranking, a choice or a rewrite makes; with `ties` those of equals, too.

    A ranking of k answers weighs as much as k - 1 pairs, however many pairs are in it.
    """
    kind = record["kind"]
    if kind == "preference":
        if record["choice"] in ("a", "b") or (ties and record["choice"] == "tie"):
            first, second = ("b", "a") if record["choice"] == "b" else ("a", "b")
            tied = record["choice"] == "tie"
            yield Compared(record, record[first], record[second], strength=record["strength"], tied=tied)
    elif kind == "rewrite":
        yield Compared(record, record["better"], record)
    elif kind in ("ranking", "choice"):
        answers = answers_of(record)
        pairs = better([place for _, place in answers])
        for first, second in pairs:
            yield Compared(record, answers[first][0], answers[second][0], weight=(len(answers) - 1) / len(pairs))
