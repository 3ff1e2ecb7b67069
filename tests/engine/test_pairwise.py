"""A model of pairs: which answer is read first must not matter."""

import math

import pytest
import torch

from training.engine.objectives import antisymmetric


def test_it_is_the_cross_entropy_of_half_the_difference():
    loss = antisymmetric(torch.tensor([1.0, 0.4]), torch.tensor([-0.6, 0.2]), torch.tensor([1.0, 0.5]))
    certain = math.log(1 + math.exp(-0.8))
    tie = 0.5 * math.log(1 + math.exp(-0.1)) + 0.5 * math.log(1 + math.exp(0.1))
    assert loss.total.item() == pytest.approx(certain + tie, abs=1e-6)
    assert loss.count.item() == 2
    assert loss.metrics["order_swap"].item() == 1  # the second pair's first place wins both times
    assert loss.metrics["accuracy"].item() == 1  # a tie has no winner to be found


def test_the_other_order_with_the_other_verdict_is_the_same_loss():
    forwards, backwards = torch.tensor([0.3, -2.0, 1.1]), torch.tensor([0.9, 0.2, -0.4])
    preferred = torch.tensor([1.0, 0.0, 0.5])
    mine = antisymmetric(forwards, backwards, preferred)
    assert torch.equal(mine.total, antisymmetric(backwards, forwards, 1 - preferred).total)


def test_what_both_orders_share_has_no_gradient():
    bias = torch.zeros(1, requires_grad=True)
    antisymmetric(torch.tensor([0.3]) + bias, torch.tensor([0.9]) + bias).total.backward()
    assert bias.grad.item() == 0.0
