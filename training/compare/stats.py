"""Means over seeds with Student's intervals, and paired tests. Pure Python; checked against tables in the tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; without one (`low`, `high` None) where there is a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Paired:
    """How much more one is than the other at the same seeds; `p` two-sided, None where it cannot be told."""

    difference: Estimate
    p: float | None


def interval(values: Sequence[float], *, level: float = 0.95) -> Estimate:
    """mean -+ t(n - 1) s / sqrt(n). Raises ValueError where there is no value."""
    n = len(values)
    if not n:
        raise ValueError("There is nothing to take a mean of.")
    mean = sum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = quantile((1 + level) / 2, n - 1) * _spread(values, mean) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Paired | None:
    """a - b over the seeds that both have, by Student's paired test; None where they share no seed."""
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return None
    differences = [a[seed] - b[seed] for seed in shared]
    found = interval(differences)
    if found.n < 2:
        return Paired(found, None)
    error = _spread(differences, found.mean) / math.sqrt(found.n)
    if error == 0:
        return Paired(found, 1.0 if found.mean == 0 else 0.0)
    return Paired(found, 2 * (1 - distribution(abs(found.mean) / error, found.n - 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values of several tests, made larger so that the chance of one false finding among them stays what it says
    (Holm 1979). None stays None.
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(order):
        highest = max(highest, min(1.0, value * (len(order) - rank)))
        found[place] = highest
    return found


def distribution(t: float, freedom: int) -> float:
    """P(T <= t) of Student's distribution, by the incomplete beta function."""
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
    return 1 - tail if t >= 0 else tail


def quantile(share: float, freedom: int) -> float:
    """The t below which this share lies, to ten digits, by bisection."""
    if share < 0.5:
        return -quantile(1 - share, freedom)
    low, high = 0.0, 1.0
    while distribution(high, freedom) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if distribution(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _spread(values: Sequence[float], mean: float) -> float:
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by Lentz's continued fraction on the side where it converges fast."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(1 - x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300

    def safe(value: float) -> float:
        return value if abs(value) > tiny else tiny

    c, d = 1.0, 1 / safe(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, 300):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / safe(1 + step * d)
            c = safe(1 + step / c)
            found *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return found
