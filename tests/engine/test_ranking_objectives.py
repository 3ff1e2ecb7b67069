import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine import objectives
from training.engine.ragged import Ragged

scores = st.floats(-3, 3).map(lambda value: round(value, 2))


def ranking_loss(values, ranks, **options):
    values = torch.tensor(values, dtype=torch.float64)
    return objectives.plackett_luce(values, torch.tensor(ranks), Ragged.of_lengths([len(ranks)]), **options)


def test_three_equal_items_in_any_order_cost_ln_6():
    for ranks in itertools.permutations([1, 2, 3]):
        assert float(ranking_loss([0.5, 0.5, 0.5], ranks).total) == pytest.approx(math.log(6))


@settings(max_examples=25, deadline=None)
@given(st.lists(scores, min_size=2, max_size=4))
def test_the_probabilities_of_all_orders_add_up_to_one(values):
    orders = itertools.permutations(range(1, len(values) + 1))
    assert sum(math.exp(-float(ranking_loss(values, order).total)) for order in orders) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(scores, scores)
def test_a_ranking_of_two_is_a_pair(first, second):
    pair = objectives.bradley_terry(
        torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64)
    )
    assert float(ranking_loss([first, second], [1, 2]).total) == pytest.approx(float(pair.total), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(scores, min_size=3, max_size=5), st.data())
def test_items_that_tie_can_change_places(values, data):
    ranks = data.draw(st.lists(st.integers(1, 3), min_size=len(values), max_size=len(values)))
    one, other = data.draw(st.sampled_from(list(itertools.combinations(range(len(values)), 2))), label="places")
    turned = list(range(len(values)))
    turned[one], turned[other] = other, one
    moved = ranking_loss([values[place] for place in turned], [ranks[place] for place in turned])
    assert float(moved.total) == pytest.approx(float(ranking_loss(values, ranks).total), abs=1e-9)


def test_a_tie_draws_scores_together_and_leaves_equal_ones_alone():
    apart = torch.tensor([1.0, -1.0], requires_grad=True)
    objectives.plackett_luce(apart, torch.tensor([1, 1]), Ragged.of_lengths([2])).total.backward()
    assert apart.grad[0] > 0 > apart.grad[1]
    level = torch.tensor([0.3, 0.3], requires_grad=True)
    objectives.plackett_luce(level, torch.tensor([1, 1]), Ragged.of_lengths([2])).total.backward()
    assert level.grad.abs().max() < 1e-6


def test_tied_items_at_the_top_of_three_by_hand():
    # First choice among all three: ln(2 + e^0) with e^s = (1, 1, 1) is ln 3; at the second the tied pair counts half
    # each beside the third: ln(1/2 + 1/2 + 1) = ln 2.
    assert float(ranking_loss([0.0, 0.0, 0.0], [1, 1, 2]).total) == pytest.approx(math.log(6))
    # e^s = (4, 2, 1): ln 7 - ln 4 + ln(2 + 1 + 1) - ln 2
    values = [math.log(4), math.log(2), 0.0]
    assert float(ranking_loss(values, [1, 1, 2]).total) == pytest.approx(math.log(7 / 4 * 4 / 2))


def test_items_that_were_not_placed_lose_to_all_placed_ones_and_not_to_one_another():
    values = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64, requires_grad=True)
    loss = objectives.plackett_luce(values, torch.tensor([1, 0, 0]), Ragged.of_lengths([3]))
    loss.total.backward()
    shares = torch.tensor([1.0, math.e, 1 / math.e], dtype=torch.float64)
    assert loss.total.item() == pytest.approx(float(shares.sum().log()))
    assert (values.grad - (shares / shares.sum() - torch.tensor([1.0, 0, 0]))).abs().max() < 1e-12


def test_lists_without_a_choice_are_not_counted():
    values = torch.tensor([0.1, 0.2, 0.3, 5.0, 1.0, 2.0], requires_grad=True)
    ragged = Ragged.of_lengths([2, 1, 1, 2])
    loss = objectives.plackett_luce(values, torch.tensor([1, 2, 1, 0, 0, 0]), ragged)
    loss.total.backward()
    assert float(loss.count) == 1
    assert values.grad[2:].tolist() == [0, 0, 0, 0]
    assert float(loss.metrics["best_found"]) == 0


def test_a_soft_pair_of_one_half_is_a_tie():
    apart = torch.tensor([0.7], requires_grad=True), torch.tensor([-0.2], requires_grad=True)
    loss = objectives.bradley_terry(*apart, preferred=torch.tensor([0.5]))
    loss.total.backward()
    assert apart[0].grad > 0 > apart[1].grad
    assert float(objectives.bradley_terry(torch.zeros(1), torch.zeros(1), preferred=torch.tensor([0.5])).total) == (
        pytest.approx(math.log(2))
    )


def test_a_verdict_of_no_opinion_costs_ln_2():
    assert float(objectives.pointwise(torch.zeros(1), torch.ones(1)).total) == pytest.approx(math.log(2))
    surely = objectives.pointwise(torch.tensor([4.0, -4.0]), torch.tensor([1, 0]))
    assert float(surely.total / surely.count) == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)
    assert float(surely.metrics["accuracy"]) == 2


@settings(max_examples=25, deadline=None)
@given(scores, st.lists(scores, min_size=1, max_size=4))
def test_the_probabilities_of_all_ratings_add_up_to_one(score, raw):
    thresholds = objectives.ordered(torch.tensor(raw, dtype=torch.float64))
    steps = len(raw) + 1
    losses = [
        objectives.ordinal(torch.tensor([score], dtype=torch.float64), torch.tensor([step]), thresholds).total
        for step in range(steps)
    ]
    assert sum(math.exp(-float(loss)) for loss in losses) == pytest.approx(1)


def test_ratings_by_hand():
    # Thresholds at -1 and 1, score 0: sigmoid(-1) = 0.268941 below, the same above, 0.462117 between.
    thresholds = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    losses = objectives.ordinal(torch.zeros(3, dtype=torch.float64), torch.tensor([0, 1, 2]), thresholds)
    assert float(losses.total) == pytest.approx(-2 * math.log(0.268941) - math.log(0.462117), abs=1e-5)
    assert float(losses.metrics["accuracy"]) == 1


def test_thresholds_of_ratings_are_learned_in_order():
    raw = torch.tensor([0.5, -9.0, 0.0], requires_grad=True)
    thresholds = objectives.ordered(raw)
    assert (thresholds.diff() > 0).all()
    objectives.ordinal(torch.tensor([50.0, -50.0]), torch.tensor([1, 1]), thresholds).total.backward()
    assert raw.grad.isfinite().all()


def test_classes_nobody_judged_are_not_counted():
    scores = torch.zeros(3, 2, requires_grad=True)
    loss = objectives.one_of(scores, torch.tensor([0, -100, 1]), class_weights=[1.0, 3.0])
    loss.total.backward()
    assert float(loss.count) == 4
    assert loss.total.item() == pytest.approx(4 * math.log(2))
    assert scores.grad[1].tolist() == [0, 0]


def test_labels_nobody_was_asked_about_are_not_counted():
    scores = torch.zeros(2, 2, requires_grad=True)
    judged = torch.tensor([[True, False], [True, True]])
    loss = objectives.any_of(scores, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), judged=judged)
    loss.total.backward()
    assert float(loss.count) == 3
    assert loss.total.item() == pytest.approx(3 * math.log(2))
    assert scores.grad[0, 1] == 0
