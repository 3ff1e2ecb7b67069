"""Figures that say how good a score is."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def auroc(scores: Sequence[float], truth: Sequence[bool]) -> float | None:
    """The chance that a true case scores above a false one, ties counting half; None where one kind is missing."""
    positives = sum(map(bool, truth))
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    values, order = torch.tensor(scores, dtype=torch.float64).sort()
    _, group, sizes = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
    ends = sizes.cumsum(0).double()
    ranks = (ends - (sizes.double() - 1) / 2)[group]
    of_positives = ranks[torch.tensor(truth, dtype=torch.bool)[order]].sum().item()
    return float((of_positives - positives * (positives + 1) / 2) / (positives * negatives))
