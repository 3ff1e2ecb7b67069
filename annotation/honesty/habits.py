"""Users who react always, or never, always the same, or suddenly otherwise than before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from annotation.honesty.evidence import Evidence, Found, Reason, percent, runs, surely
from annotation.honesty.population import Habit, Population, log10_at_least, log10_at_most

FEWEST = 12  # answers shown, before anything is said of a rate
WINDOWS = (30, 100)  # besides all: the latest answers, because a good past excuses nothing
# who reacts to nearly all is another matter than an enthusiast, of whom there are some wherever reactions are rare
ALL, OFTEN_NEEDS = 0.9, 7.0
ALWAYS_NEEDS, CHANGE_NEEDS, NEVER_NEEDS = 4.0, 4.5, 4.0  # powers of ten at which a reason is 0.9 strong
RECENT = (15, 30, 60, 100)  # latest answers that are compared with a user's own past
PAST = 30  # answers that make a past
OWN = 15.0  # answers that a past weighs at most: people do change a little
ONE_KIND = 30  # reactions
SAID = {"good": "reacted positively", "bad": "reacted negatively"}


def always(evidence: Evidence, population: Population) -> Found:
    """Reacts to far more of what is shown than others do."""
    found: Found = []
    for user, begin, end in _users(evidence, FEWEST):
        reasons = []
        for sign, habit in (("good", population.good), ("bad", population.bad)):
            tapped = getattr(evidence.exposures, sign)[begin:end]
            best: tuple[float, int, int, float] | None = None  # strength, reactions, answers, others' rate
            windows = [end - begin, *(w for w in WINDOWS if w < end - begin)]
            for window in windows:
                n, k = window, int(tapped[-window:].sum())
                mean = _expected(evidence, population, end - window, end, sign)
                if k < 6 or k / n < 1.5 * mean:
                    continue
                chance = log10_at_least(k, n, *habit.at(mean)) + np.log10(2 * len(windows))
                strength = surely(chance, ALWAYS_NEEDS if k >= ALL * n else OFTEN_NEEDS)
                if best is None or strength > best[0]:
                    best = (strength, k, n, mean)
            if best and best[0] >= 0.3:
                strength, k, n, mean = best
                what = _what(evidence, user, sign)
                latest = "the latest " if n < end - begin else ""
                words = f"{what} to {k} of {latest}{n} answers shown; others do so to {percent(mean)}"
                reasons.append(Reason("always", strength, words, {"tapped": k, "shown": n, "others": round(mean, 4)}))
        if reasons:
            found.append((user, max(reasons, key=lambda reason: reason.strength)))
    return found


def never(evidence: Evidence, population: Population) -> Found:
    """Reacts to nothing, where others do. Most such users are just quiet, so this alone leaves nobody out."""
    found: Found = []
    for user, begin, end in _users(evidence, 50):
        n = end - begin
        if evidence.exposures.good[begin:end].any() or evidence.exposures.bad[begin:end].any():
            continue
        chance = log10_at_most(0, n, *population.any.at(population.any.mean))
        if (strength := min(0.6, surely(chance, NEVER_NEEDS))) >= 0.4:
            others = percent(population.any.mean)
            words = f"reacted to none of {n} answers shown; others react to {others}"
            found.append((user, Reason("never", strength, words, {"shown": n})))
    return found


def one_kind(evidence: Evidence, population: Population) -> Found:
    """Has only ever one reaction, where others have several. A habit, too: it does not even make a doubt alone."""
    found: Found = []
    begins, ends = runs(evidence.taps.user, evidence.judged)
    for user in range(evidence.judged):
        kinds = evidence.taps.kind[begins[user] : ends[user]]
        if len(kinds) < ONE_KIND or (kinds != kinds[0]).any():
            continue
        name = evidence.kinds[kinds[0]]
        share = population.kinds.get(name, 0.5)
        chance = log10_at_least(len(kinds), len(kinds), *Habit(share, 3.0).at(share))
        if (strength := min(0.4, surely(chance, 4.0))) >= 0.3:
            words = f"all {len(kinds)} reactions are '{name}'; among others' it is {percent(share)}"
            found.append((user, Reason("one_kind", strength, words, {"taps": len(kinds), "kind": name})))
    return found


def change(evidence: Evidence, population: Population) -> Found:
    """Behaves suddenly otherwise than in its own past: a sleeper wakes."""
    found: Found = []
    for user, begin, end in _users(evidence, PAST + RECENT[0]):
        reasons = []
        for sign, habit in (("good", population.good), ("bad", population.bad)):
            tapped = getattr(evidence.exposures, sign)[begin:end]
            for recent in RECENT:
                past = len(tapped) - recent
                if past < PAST:
                    break
                k, before = int(tapped[-recent:].sum()), int(tapped[:past].sum())
                if k / recent < before / past + 0.25:
                    continue
                usual = _expected(evidence, population, begin, end - recent, sign)
                now = _expected(evidence, population, end - recent, end, sign)
                a, b = habit.at(usual)
                mean = (a + before) / (a + b + past) * float(np.clip(now / max(usual, 1e-4), 0.2, 5.0))
                chance = log10_at_least(k, recent, *Habit(mean, OWN).at(mean)) + np.log10(2 * len(RECENT))
                if (strength := min(0.97, surely(chance, CHANGE_NEEDS))) >= 0.4:
                    what = _what(evidence, user, sign)
                    words = f"{what} to {before} of {past} answers at first, then to {k} of the latest {recent}"
                    data = {"before": before, "past": past, "tapped": k, "recent": recent}
                    reasons.append(Reason("change", strength, words, data))
        if reasons:
            found.append((user, max(reasons, key=lambda reason: reason.strength)))
    return found


def _users(evidence: Evidence, fewest: int) -> Iterator[tuple[int, int, int]]:
    begins, ends = runs(evidence.exposures.user, evidence.judged)
    for user in np.flatnonzero(ends - begins >= fewest):
        yield int(user), int(begins[user]), int(ends[user])


def _expected(evidence: Evidence, population: Population, begin: int, end: int, sign: str) -> float:
    """The rate of others on these answers, by the versions that wrote them."""
    versions, counts = np.unique(evidence.exposures.version[begin:end], return_counts=True)
    rates = [population.expected(evidence.versions[version], sign) for version in versions]
    return max(float(np.average(rates, weights=counts)), 1e-3)


def _what(evidence: Evidence, user: int, sign: str) -> str:
    """`reacted 'love'`, where that is nearly all that the user does; else in general."""
    begin = np.searchsorted(evidence.taps.user, user, "left")
    end = np.searchsorted(evidence.taps.user, user, "right")
    kinds = evidence.taps.kind[begin:end]
    if len(kinds):
        most = np.bincount(kinds).argmax()
        if (kinds == most).mean() >= 0.8:
            return f"reacted '{evidence.kinds[most]}'"
    return SAID[sign]
