"""How often users react, and how much they differ in that: what one user is compared with.

Users' own rates are taken as Beta distributed: a user with n answers shown and k reactions is a draw of the
beta-binomial. Bought hands must not shift what they are compared with, so the fit is of a mixture: some share of the
users (0 to 30 %) is anything at all (k uniform on 0..n), and the Beta is fitted to the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

LONGEST = 2000  # answers of one user that are looked at: the latest
ENOUGH_USERS, ENOUGH_SHOWN = 30, 5
WEIGHT = 10
UNKNOWN = 2.0  # concentration where there are too few users to know: anything is well possible
MEANS = np.geomspace(0.0005, 0.8, 32)
# People differ: a population that looks all alike is still taken as a varied one, or the slightly odd would be doubted.
# And not without bounds: below 2, many who love nothing and some bought hands who love all would pass for one people.
CONCENTRATIONS = np.array([2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0])
OTHERS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3])


@dataclass(frozen=True)
class Habit:
    """Beta distribution of users' rates of one thing."""

    mean: float
    concentration: float

    def at(self, mean: float) -> tuple[float, float]:
        """Its two parameters where the rate is `mean` and users differ as they do."""
        mean = float(np.clip(mean, 1e-4, 1 - 1e-4))
        return mean * self.concentration, (1 - mean) * self.concentration


@dataclass(frozen=True)
class Population:
    """`rates` of good and bad by version are the project's own, of users who are believed."""

    good: Habit
    bad: Habit
    any: Habit
    users: int
    rates: dict[str, tuple[float, float]]
    kinds: dict[str, float] = field(default_factory=dict)  # share of each kind among the reactions

    def expected(self, version: str, sign: str) -> float:
        """The rate of all users together on answers of this version."""
        habit = self.good if sign == "good" else self.bad
        found = self.rates.get(version)
        return habit.mean if found is None else found[0 if sign == "good" else 1]


@dataclass(frozen=True)
class Summary:
    """All that one user did, in numbers. `versions`: answers shown, of these found good, and bad."""

    versions: Mapping[str, tuple[int, int, int]]
    reacted: int  # answers, with any kind
    kinds: Mapping[str, int]
    left_out: bool = False


def build(summaries: Iterable[Summary]) -> Population:
    """The population that these users are. In the rates of versions nobody weighs more than WEIGHT answers, and who is
    left out nothing.
    """
    rows: list[tuple[int, int, int, int]] = []
    sums: dict[str, np.ndarray] = {}
    kinds: Counter[str] = Counter()
    for one in summaries:
        counts = np.array(list(one.versions.values()) or [(0, 0, 0)])
        rows.append((*(int(total) for total in counts.sum(axis=0)), one.reacted))
        if one.left_out:
            continue
        kinds.update({kind: min(count, WEIGHT) for kind, count in one.kinds.items()})
        for version, (shown, good, bad) in one.versions.items():
            weight = min(1.0, WEIGHT / max(shown, 1))
            sums.setdefault(version, np.zeros(3))
            sums[version] += weight * np.array([shown, good, bad])
    shown, good, bad, reacted = np.array(rows or [(0, 0, 0, 0)]).T
    habits = {"good": fit(shown, good), "bad": fit(shown, bad), "any": fit(shown, reacted)}
    rates = {
        version: tuple((total[1:] + 20 * np.array([habits["good"].mean, habits["bad"].mean])) / (total[0] + 20))
        for version, total in sums.items()
    }
    whole = sum(kinds.values()) or 1
    shares = {kind: count / whole for kind, count in kinds.items()}
    return Population(**habits, users=len(rows), rates=rates, kinds=shares)


def fit(shown: Sequence[int] | np.ndarray, tapped: Sequence[int] | np.ndarray) -> Habit:
    """The habit of these users: answers shown to each, and to how many each reacted so."""
    n = np.minimum(np.asarray(shown, dtype=np.int64), LONGEST)
    k = np.minimum(np.asarray(tapped, dtype=np.int64), n)
    pooled = float((k.sum() + 0.5) / (n.sum() + 5)) if len(n) else 0.1
    enough = n >= ENOUGH_SHOWN
    n, k = n[enough], k[enough]
    if len(n) < ENOUGH_USERS:
        return Habit(pooled, UNKNOWN)
    pairs, times = np.unique(np.stack([n, k]), axis=1, return_counts=True)
    n, k = pairs
    longest = int(n.max())
    anything = -np.log(n + 1.0)
    best = (-np.inf, pooled, UNKNOWN)
    whole = np.log(np.arange(1, longest + 1)).cumsum()
    factorial = np.concatenate([[0.0], whole])
    choose = factorial[n] - factorial[k] - factorial[n - k]
    for concentration in CONCENTRATIONS:
        both = rising(concentration, longest)[n]
        for mean in MEANS:
            a, b = mean * concentration, (1 - mean) * concentration
            own = choose + rising(a, longest)[k] + rising(b, longest)[n - k] - both
            for others in OTHERS:
                mixed = own if others == 0 else np.logaddexp(np.log1p(-others) + own, np.log(others) + anything)
                likelihood = float((times * mixed).sum())
                if likelihood > best[0]:
                    best = (likelihood, float(mean), float(concentration))
    return Habit(best[1], best[2])


def rising(a: float, longest: int) -> np.ndarray:
    """log of a (a+1) ... (a+k-1), for k = 0..longest."""
    return np.concatenate([[0.0], np.log(a + np.arange(longest)).cumsum()])


def log_chances(n: int, a: float, b: float) -> np.ndarray:
    """log of the beta-binomial's chances of 0..n."""
    k = np.arange(n + 1)
    factorial = np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])
    choose = factorial[n] - factorial[k] - factorial[n - k]
    return choose + rising(a, n)[k] + rising(b, n)[n - k] - rising(a + b, n)[n]


def log10_at_least(k: int, n: int, a: float, b: float) -> float:
    """log10 of the chance of k or more of n."""
    return float(np.logaddexp.reduce(log_chances(n, a, b)[k:]) / np.log(10))


def log10_at_most(k: int, n: int, a: float, b: float) -> float:
    return float(np.logaddexp.reduce(log_chances(n, a, b)[: k + 1]) / np.log(10))
