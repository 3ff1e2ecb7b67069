"""Critique-GRPO's golden numbers (../shared/methods/critique-grpo.md, acceptance a)."""

import pytest
import torch

from training.engine import credit, objectives
from training.engine.ragged import Ragged

double = torch.float64
ONE_RIGHT = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0]], dtype=double)


def loss_of(logprobs, advantages, refined, ragged, **options):
    options = {"old": None, "length": 4, **options}
    return objectives.critique_grpo(logprobs, options.pop("old"), advantages, torch.tensor(refined), ragged, **options)


def slope(p, **shaping):
    """The weight of grad log p."""
    logprob = torch.tensor(p, dtype=double).log().requires_grad_()
    objectives.shaped(logprob, **shaping).backward()
    return logprob.grad.item()


def test_the_only_right_answer_of_eight_earns_seven_eighths():
    advantages = credit.group_relative(ONE_RIGHT, scale="none")
    assert advantages[0].tolist() == [7 / 8, *[-1 / 8] * 7]
    assert advantages.sum() == 0
    with_std = credit.group_relative(ONE_RIGHT, scale="group", epsilon=1e-6)[0].tolist()
    assert with_std == pytest.approx([2.4749, *[-0.3536] * 7], abs=1e-4)


def test_a_refinements_token_weighs_p_over_p_plus_gamma():
    weight = objectives.shaped(torch.tensor([0.1, 1.0], dtype=double).log())
    assert weight.tolist() == pytest.approx([0.5, 0.9091], abs=1e-4)


@pytest.mark.parametrize(("p", "expected"), [(0.01, 0.0826), (0.1, 0.25), (0.5, 0.1389), (1.0, 0.0826)])
def test_unfamiliar_tokens_are_pushed_most_and_the_weight_has_its_peak_at_gamma(p, expected):
    assert slope(p) == pytest.approx(expected, abs=1e-4)
    assert slope(p, shaping="prob") == pytest.approx(p)
    assert slope(p, shaping="none") == pytest.approx(1.0)


def test_a_groups_gradient_is_the_papers_on_every_token():
    """Two answers of two tokens and a refinement of one; L_max 4."""
    ragged = Ragged.of_lengths([1, 2, 2])
    p = torch.tensor([0.1, 0.5, 0.3, 0.9, 0.2], dtype=double)
    logprobs = p.log().requires_grad_()
    advantages = ragged.spread(torch.tensor([2 / 3, -1 / 3, -1 / 3], dtype=double))
    loss = loss_of(logprobs, advantages, [True, False, False], ragged)
    (loss.total / loss.count).backward()
    assert loss.count.item() == 12
    expected = [-2 / 3 * 0.25 / 12, *[1 / 3 / 12] * 4]
    assert logprobs.grad.tolist() == pytest.approx(expected)
    assert loss.total.item() == pytest.approx(-2 / 3 * 0.5 + 4 / 3)


def test_a_group_whose_answers_all_earn_the_same_has_no_gradient():
    ragged = Ragged.of_lengths([2, 2])
    logprobs = torch.full((4,), -1.0, dtype=double, requires_grad=True)
    advantages = ragged.spread(credit.group_relative(torch.tensor([[1.0, 1.0]], dtype=double), scale="none")[0])
    loss_of(logprobs, advantages, [True, False], ragged).total.backward()
    assert logprobs.grad.tolist() == [0.0] * 4


def test_on_the_first_update_the_others_ratio_is_exactly_one_and_later_it_is_not_clipped():
    ragged = Ragged.of_lengths([1, 2])
    now = torch.tensor([-0.5, -1.0, -0.1])
    advantages = ragged.spread(torch.tensor([1.0, 1.0]))
    first = loss_of(now, advantages, [True, False], ragged, old=now)
    assert first.metrics["ratio"].item() / first.count.item() == 1.0
    old = torch.tensor([-9.0, -2.0, -2.1])  # the refinement's own is not read
    later = loss_of(now, advantages, [True, False], ragged, old=old)
    weights = [now[0].exp() / (now[0].exp() + 0.1), torch.tensor(1.0).exp(), torch.tensor(2.0).exp()]
    assert -later.total.item() == pytest.approx(sum(one.item() for one in weights), rel=1e-6)
    clipped = loss_of(now, advantages, [True, False], ragged, old=old, clip=0.2)
    assert -clipped.total.item() == pytest.approx(weights[0].item() + 1.2 + 1.2, rel=1e-6)


def test_padding_changes_nothing_and_a_longer_answer_weighs_more():
    def of(lengths, masks=None):
        ragged = Ragged.of_lengths(lengths)
        logprobs = torch.full((sum(lengths),), -0.7, dtype=double)
        mask = None if masks is None else torch.tensor(masks)
        loss = loss_of(logprobs, ragged.spread(torch.ones(2, dtype=double)), [True, False], ragged, mask=mask)
        return (loss.total / loss.count).item()

    assert of([4, 4], [True, True, False, False, True, False, False, False]) == pytest.approx(of([2, 1]))
    shares = objectives.shaped(torch.tensor(-0.7, dtype=double)).item(), 1.0
    assert of([2, 1]) == pytest.approx(-(2 * shares[0] + shares[1]) / 8)
    assert of([4, 1]) == pytest.approx(-(4 * shares[0] + shares[1]) / 8)


def test_the_entropys_bonus_is_a_mean_over_tokens():
    ragged = Ragged.of_lengths([2, 1])
    logprobs, spread = torch.full((3,), -1.0), torch.tensor([0.3, 0.6, 0.9])
    none = torch.zeros(3)
    loss = loss_of(logprobs, none, [True, False], ragged, entropy=spread, entropy_weight=0.5, exchange=8 / 3)
    assert (loss.total / loss.count).item() == pytest.approx(-0.5 * 0.6)


def test_a_wrong_refinement_is_pushed_down_with_the_same_weights():
    ragged = Ragged.of_lengths([1])
    logprob = torch.tensor([0.1], dtype=double).log().requires_grad_()
    loss_of(logprob, torch.tensor([-0.5], dtype=double), [True], ragged, length=1).total.backward()
    assert logprob.grad.item() == pytest.approx(0.5 * 0.25)


def test_a_kl_without_its_reference_is_refused():
    with pytest.raises(ValueError, match="reference"):
        loss_of(torch.zeros(1), torch.zeros(1), [False], Ragged.of_lengths([1]), beta=0.1)
