"""All reasons together."""

from __future__ import annotations

import math

from annotation.honesty import LEAVE_OUT, habits, hands, most_answers, rings
from annotation.honesty.evidence import Evidence, Exposures, Reason, Taps, Verdict
from annotation.honesty.hands import same
from annotation.honesty.population import LONGEST, Population, Summary, build

__all__ = [
    "LEAVE_OUT",
    "LONGEST",
    "Evidence",
    "Exposures",
    "Population",
    "Reason",
    "Summary",
    "Taps",
    "Verdict",
    "build",
    "judge",
    "most_answers",
    "same",
]


def judge(evidence: Evidence, population: Population) -> list[Verdict]:
    """One verdict for each judged user, in their order; the strongest reason first."""
    reasons: list[list[Reason]] = [[] for _ in range(evidence.judged)]
    for found in (
        habits.always(evidence, population),
        habits.never(evidence, population),
        habits.one_kind(evidence, population),
        habits.change(evidence, population),
        hands.bursts(evidence),
        hands.copies(evidence),
        hands.disagreement(evidence, population),
        rings.rings(evidence, population),
    ):
        for user, reason in found:
            reasons[user].append(reason)
    verdicts = []
    for user, mine in enumerate(reasons):
        mine.sort(key=lambda reason: (-reason.strength, reason.code))
        doubt = math.prod(1 - reason.strength for reason in mine)
        verdicts.append(Verdict(evidence.users[user], round(1 - doubt, 4), mine))
    return verdicts
