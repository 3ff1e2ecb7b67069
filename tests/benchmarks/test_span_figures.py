"""The figures of the benchmark on spans are those of scikit-learn, and an interval of a difference is a paired one."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from benchmarks.span_figures import agreement, figures, table


def test_figures_with_ties_are_scikit_learns():
    chance = np.random.default_rng(0)
    truth = chance.random(300) < 0.4
    scores = np.round(chance.random(300) + 0.3 * truth, 1)
    auroc, precision, _ = figures(scores, truth, 0.4)
    assert auroc == pytest.approx(roc_auc_score(truth, scores))
    assert precision == pytest.approx(average_precision_score(truth, scores))
    apart = scores + 1e-6 * chance.random(300)
    highest = apart > np.quantile(apart, 0.6)
    assert figures(apart, truth, 0.4)[2] == pytest.approx(f1_score(truth, highest))


def test_a_difference_is_measured_on_the_same_prompts():
    chance = np.random.default_rng(1)
    truth = [(chance.random(20) < share).tolist() for share in chance.random(30)]
    mine = [(chance.random(20) + 0.3 * np.array(one)).tolist() for one in truth]
    found = table({"a": mine, "b": [[2 * score for score in one] for one in mine]}, truth, share=0.5, over="a")
    assert found["b"]["more"]["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["a"]["auroc"]["low"] < found["a"]["auroc"]["value"] < found["a"]["auroc"]["high"]
    assert "more" not in found["a"]


def test_agreement_counts_pairs_and_halves_of_equal_rewards():
    preferences = [[(0, 1), (1, 2)], [(0, 1)], []]
    assert agreement([[3, 1, 2], [1, 1], [5, 6]], preferences)["value"] == 0.5
    assert agreement([[3, 2, 1], [2, 1], [5, 6]], preferences)["value"] == 1.0
