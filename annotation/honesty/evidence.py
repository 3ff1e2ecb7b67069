"""What users are judged by, as arrays; and what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Exposures:
    """What users saw and did, one row a user and answer, in the order of user, then time."""

    user: np.ndarray  # place in Evidence.users
    answer: np.ndarray  # any whole number, the same for the same answer
    version: np.ndarray  # place in Evidence.versions
    good: np.ndarray  # tapped something that says good
    bad: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Reactions of the judged users but `shown`, in the order of user, then time."""

    user: np.ndarray
    answer: np.ndarray
    kind: np.ndarray  # place in Evidence.kinds
    at: np.ndarray  # seconds
    text: Sequence[str]  # as `copies.same` makes it: '' where none


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The first `judged` of the users are judged, by all that is known of them. The others have seen the same answers,
    and only that is here.
    """

    users: Sequence[str]
    judged: int
    versions: Sequence[str]
    kinds: Sequence[str]  # names for people
    exposures: Exposures
    taps: Taps
    written_by: Mapping[str, int] = field(default_factory=dict)  # text: how many users wrote it again and again


@dataclass(frozen=True)
class Reason:
    """Why somebody is doubted. `strength` 0..1: how surely this alone shows that they are not honest."""

    code: str
    strength: float
    words: str
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "words": self.words, "strength": round(self.strength, 3), "data": self.data}


@dataclass(frozen=True)
class Verdict:
    user: str
    score: float
    reasons: list[Reason]


Found = list[tuple[int, Reason]]  # place of the user


def runs(user: np.ndarray, judged: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each judged user's rows begin and end, rows being in the order of users."""
    places = np.arange(judged)
    return np.searchsorted(user, places, "left"), np.searchsorted(user, places, "right")


def percent(share: float) -> str:
    """11 %, or 0.4 % where it is little."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 1 or value == 0 else f"{value:.1g} %"


def surely(log10_p: float, needed: float) -> float:
    """How strong a reason is that happens by chance once in 10^-log10_p; 0.9 at 10^-needed."""
    return float(np.clip(0.9 * -log10_p / needed, 0.0, 0.99))
