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


def calibration_error(probabilities: Sequence[float], truth: Sequence[bool], *, bins: int = 10) -> float | None:
    """Expected calibration error (Naeini et al. 2015): cases are sorted into `bins` equal parts of [0, 1] by the
    probability that was claimed; the distance of claim and share of true ones, over all cases. None of nothing.
    """
    if not probabilities:
        return None
    place = [min(int(probability * bins), bins - 1) for probability in probabilities]
    gaps = [0.0] * bins
    for bin_, probability, true in zip(place, probabilities, truth, strict=True):
        gaps[bin_] += probability - float(true)
    return sum(abs(gap) for gap in gaps) / len(probabilities)
