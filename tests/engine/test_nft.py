"""NFT's loss by hand (../shared/methods/nft.md, acceptance a)."""

import math

import pytest
import torch

from training.engine import credit
from training.engine.objectives import nft
from training.engine.ragged import Ragged

RIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]])
LENGTHS = [3, 1, 4, 2, 2, 5, 1, 3, 2, 2, 6, 1, 1, 4, 3, 2]
ROWS = Ragged.of_lengths(LENGTHS)


def one(ratio, *, right, rate, **options):
    """Loss and its derivative by log p of a single token."""
    now = torch.tensor([math.log(ratio)]).requires_grad_()
    options = {"weighting": "even", **options}
    loss = nft(
        now, torch.zeros(1), torch.tensor([right]), torch.tensor([rate]), Ragged.of_lengths([1]), length=1, **options
    )
    loss.total.backward()
    return loss.total.item(), now.grad.item()


def of_groups(weighting, right=RIGHT, **options):
    """The gradient on the policy's own answers, by token."""
    now = -torch.rand(sum(LENGTHS), generator=torch.Generator().manual_seed(0))
    now = now.requires_grad_()
    rate = right.mean(-1, keepdim=True).expand_as(right).flatten()
    loss = nft(now, now.detach(), right.flatten(), rate, ROWS, length=4, weighting=weighting, **options)
    loss.total.backward()
    return loss, now.grad


@pytest.mark.parametrize(
    ("ratio", "rate", "epsilon", "value", "slope"),
    [
        (1.2, 0.25, 1.0, 0.0, 0.4),
        (0.8, 0.25, 1.0, -0.064539, 0.25),
        (3.0, 0.25, 1.0, 0.0, 1.0),
        (3.0, 0.25, 0.1, 1.098612, 3.0),
        (2.5, 0.5, 1.0, 0.0, 2.5),
        (2.5, 0.5, 0.1, 2.302585, 25.0),
    ],
)
def test_a_wrong_answer(ratio, rate, epsilon, value, slope):
    found = one(ratio, right=0.0, rate=rate, epsilon=epsilon)
    assert found == pytest.approx((value, slope), abs=2e-6, rel=1e-6)


@pytest.mark.parametrize("ratio", [1e-4, 0.8, 1.0, 2.5, math.exp(10), math.exp(12)])
def test_a_right_answer_is_pulled_alike_however_far_it_has_come(ratio):
    value, slope = one(ratio, right=1.0, rate=0.25)
    assert (value, slope) == pytest.approx((-math.log(ratio), -1.0), rel=1e-6)


def test_on_own_answers_hard_is_dr_grpo_to_the_last_bit():
    _, mine = of_groups("hard")
    rate = RIGHT.mean(-1, keepdim=True)
    old = torch.zeros(sum(LENGTHS))
    now = old.clone().requires_grad_()
    advantages = ROWS.spread((RIGHT - rate).flatten())
    (-advantages * (now - old).exp()).sum().backward()
    assert (mine - now.grad).abs().max().item() == 0.0


def test_on_own_answers_root_is_grpo_with_the_populations_deviation():
    _, mine = of_groups("root")
    advantages = credit.group_relative(RIGHT.double(), unbiased=False, epsilon=0.0)
    torch.testing.assert_close(mine, -ROWS.spread(advantages.flatten()).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("verdict", [0.0, 1.0])
def test_prompts_with_nothing_right_or_nothing_wrong_teach_exactly_nothing_and_count(verdict):
    loss, gradient = of_groups("hard", torch.full_like(RIGHT, verdict))
    assert loss.total.item() == 0.0
    assert gradient.abs().max().item() == 0.0
    assert loss.count.item() == len(LENGTHS) * 4


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.98, 0.999])
@pytest.mark.parametrize("epsilon", [1.0, 0.1, 1e-3])
def test_the_farthest_ratio_is_no_nan_and_its_slope_is_exact(rate, epsilon):
    value, slope = one(math.exp(10), right=0.0, rate=rate, epsilon=epsilon)
    q = min(rate, 0.98)
    assert value == pytest.approx(-math.log(epsilon), abs=1e-6)
    assert slope == pytest.approx(q * math.exp(10) / ((1 - q) * epsilon), rel=1e-4)


def test_right_answers_alone_are_rejection_fine_tuning():
    _, gradient = of_groups("even", negative_weight=0.0)
    assert torch.equal(gradient, -ROWS.spread(RIGHT.flatten()))
    _, gradient = of_groups("even", positive_weight=0.0)
    assert (gradient >= 0).all()
    assert gradient[ROWS.spread(RIGHT.flatten()) > 0].abs().max() == 0.0


def test_one_ratio_an_answer_is_a_product_over_its_tokens():
    now = torch.tensor([math.log(1.5), math.log(0.8)]).requires_grad_()
    loss = nft(
        now,
        torch.zeros(2),
        torch.zeros(1),
        torch.tensor([0.25]),
        Ragged.of_lengths([2]),
        length=1,
        weighting="even",
        by_answer=True,
    )
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.0, abs=1e-6)  # R = 1.2
    assert now.grad.tolist() == pytest.approx([0.4, 0.4], rel=1e-5)


def test_graded_answers_weigh_in_both_terms():
    rate = 0.25
    expected = 0.3 * -math.log(1.2) + 0.7 * 0.0
    value, slope = one(1.2, right=0.3, rate=rate)
    assert value == pytest.approx(expected, abs=1e-6)
    assert slope == pytest.approx(0.3 * -1 + 0.7 * 0.4, rel=1e-5)
