"""How good scores of tokens are, and whether one kind of scores is better than another: AUROC, average precision and F1
with intervals from resampling prompts, which is what new data would vary in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 1000
NAMES = ("auroc", "ap", "f1")

Scores = Sequence[Sequence[float]]  # of the tokens of each answer
Truth = Sequence[Sequence[bool]]


def figures(scores: np.ndarray, truth: np.ndarray, share: float) -> tuple[float, float, float]:
    """AUROC (ties count half), average precision, and F1 of the `share` of tokens that score highest; NaN where all
    tokens are alike. `share` is how many are marked where the scores were learned, so that no threshold is tuned.
    """
    marked = int(truth.sum())
    if not 0 < marked < len(truth):
        return (float("nan"),) * 3
    order = np.argsort(-scores, kind="stable")
    ordered = truth[order]
    hits = np.cumsum(ordered)
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # of equal scores the last
    true, seen = hits[ends], ends + 1
    false = seen - true
    auroc = float(np.trapezoid(np.r_[0, true] / marked, np.r_[0, false] / (len(truth) - marked)))
    precision = float(np.sum(np.diff(true, prepend=0) * true / seen) / marked)
    kept = max(1, round(share * len(truth)))
    return auroc, precision, float(2 * hits[kept - 1] / (kept + marked))


def table(
    methods: dict[str, Scores], truth: Truth, *, share: float, over: str = "", seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Each method's figures with 95 % intervals, prompts resampled, and, of the others, the difference of AUROC and
    average precision to the method `over`, on the same resampled prompts.
    """
    pieces = {name: [np.asarray(one, dtype=float) for one in scores] for name, scores in methods.items()}
    marks = [np.asarray(one, dtype=bool) for one in truth]
    chance = np.random.default_rng(seed)
    drawn = [np.arange(len(marks)), *(chance.integers(0, len(marks), len(marks)) for _ in range(resamples))]
    found: dict[str, np.ndarray] = {}
    for name, own in pieces.items():
        found[name] = np.array(
            [
                figures(np.concatenate([own[i] for i in places]), np.concatenate([marks[i] for i in places]), share)
                for places in drawn
            ]
        )
    result: dict[str, dict[str, Any]] = {}
    for name, values in found.items():
        result[name] = {figure: spread(values[:, place]) for place, figure in enumerate(NAMES)}
        if over and name != over:
            result[name]["more"] = {
                figure: spread(values[:, place] - found[over][:, place]) for place, figure in enumerate(NAMES[:2])
            }
    return result


def spread(values: np.ndarray) -> dict[str, float]:
    """The first value, and the middle 95 % of the others."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return {"value": round(float(values[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def agreement(
    rewards: Sequence[Sequence[float]],
    preferences: Sequence[Sequence[tuple[int, int]]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """How often the answer that a person preferred has the higher reward; equal rewards count half.

    `rewards[i]` of the answers to prompt i, `preferences[i]` pairs (better, worse) of their places; prompts resampled.
    """
    won = np.array(
        [
            sum(0.5 * (1 + np.sign(own[better] - own[worse])) for better, worse in pairs)
            for own, pairs in zip(rewards, preferences, strict=True)
        ]
    )
    pairs = np.array([len(one) for one in preferences])
    chance = np.random.default_rng(seed)
    drawn = [np.arange(len(won)), *(chance.integers(0, len(won), len(won)) for _ in range(resamples))]
    return spread(np.array([won[places].sum() / max(1, pairs[places].sum()) for places in drawn]))


def lines(result: dict[str, dict[str, Any]], over: str) -> list[str]:
    """The table as Markdown."""

    def cell(one: dict[str, float] | None, sign: str = "") -> str:
        return f"{one['value']:{sign}.3f} ({one['low']:{sign}.3f} to {one['high']:{sign}.3f})" if one else ""

    told = [f"| | AUROC | average precision | F1 | AUROC over {over} |", "| --- | --- | --- | --- | --- |"]
    for name, row in result.items():
        cells = [cell(row[figure]) for figure in NAMES] + [cell(row.get("more", {}).get("auroc"), "+")]
        told.append(f"| {name} | {' | '.join(cells)} |")
    return told
