"""Every objective against numbers worked out by hand (../shared/methods/baselines.md, text2grad.md)."""

import math

import pytest
import torch

from training.engine import credit, kl, objectives
from training.engine.objectives import PairLogprobs
from training.engine.objectives.policy_gradient import clipped
from training.engine.ragged import Ragged

CHOSEN = [-0.5, -1, -0.25], [-2, -0.1]
CHOSEN_REFERENCE = [-0.6, -1.1, -0.45], [-1.8, -0.4]
REJECTED = [-1.5, -0.7], [-0.3, -0.9, -1.2]
REJECTED_REFERENCE = [-1.2, -0.6], [-0.35, -1, -1]
OLD = [-0.9, -1, -0.2], [-1.6, -0.15]
ANSWERS = Ragged.of_lengths([3, 2])
BY_ROW = torch.tensor([0.8, -0.6], dtype=torch.float64)


def flat(rows):
    return torch.tensor([value for row in rows for value in row], dtype=torch.float64)


def pairs(chosen, rejected):
    rows = [*chosen, *rejected]
    return PairLogprobs.of(
        flat(rows),
        Ragged.of_lengths([len(row) for row in rows]),
        chosen=torch.tensor([0, 1]),
        rejected=torch.tensor([2, 3]),
    )


POLICY, REFERENCE = pairs(CHOSEN, REJECTED), pairs(CHOSEN_REFERENCE, REJECTED_REFERENCE)
LOGPROBS, OF_REFERENCE, OF_OLD = flat(CHOSEN), flat(CHOSEN_REFERENCE), flat(OLD)
ADVANTAGES = ANSWERS.spread(BY_ROW)


def mean(loss):
    return float((loss.total / loss.count).detach())


def near(value):
    return pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("dpo", {}, 0.669811),
        ("dpo_robust", {"flipped": 0.1}, 0.663874),
        ("dpo_hinge", {}, 0.9525),
        ("ipo", {}, 23.057777),
        ("dpo_mean", {}, 0.683219),
        ("apo_zero", {}, 0.988126),
    ],
)
def test_the_golden_pairs_give_the_golden_losses(name, options, expected):
    loss = getattr(objectives, name)(POLICY, REFERENCE, beta=0.1, **options)
    assert mean(loss) == near(expected)
    assert float(loss.count) == 2


def test_the_golden_pairs_own_margins():
    gap = [float(d) for d in (POLICY.chosen - REFERENCE.chosen) - (POLICY.rejected - REFERENCE.rejected)]
    assert gap == near([0.8, 0.15])


def test_likelihood_is_a_mean_over_tokens():
    assert mean(objectives.sft(LOGPROBS)) == near(0.77)


def test_a_token_of_probability_one_half_costs_ln_2_to_learn_and_to_unlearn():
    half = torch.tensor([math.log(0.5)], dtype=torch.float64)
    assert mean(objectives.sft(half)) == near(math.log(2))
    assert mean(objectives.unlikelihood(half)) == near(math.log(2))
    assert mean(objectives.unlikelihood(torch.tensor([math.log(0.9)]))) == near(math.log(10))


@pytest.mark.parametrize(
    ("zero_point", "options", "expected"),
    [(0.0, {}, 0.494063), (0.3, {}, 0.494064), (0.3, {"undesirable_weight": 1.5}, 0.615784)],
)
def test_kto_of_the_four_answers(zero_point, options, expected):
    loss = objectives.kto(
        torch.cat([POLICY.chosen, POLICY.rejected]),
        torch.cat([REFERENCE.chosen, REFERENCE.rejected]),
        torch.tensor([True, True, False, False]),
        zero_point=zero_point,
        beta=0.1,
        **options,
    )
    assert mean(loss) == near(expected)


def test_kto_measures_its_zero_point_on_other_peoples_answers_and_never_below_zero():
    assert objectives.mismatched(4) == [3, 0, 1, 2]
    with pytest.raises(ValueError, match="two answers"):
        objectives.mismatched(1)
    ahead = torch.tensor([-1.0, -2.0], requires_grad=True)
    point = objectives.kto_zero_point(ahead, torch.tensor([-1.4, -2.2]))
    assert float(point) == near(0.3)
    assert not point.requires_grad
    assert float(objectives.kto_zero_point(torch.tensor([-2.0]), torch.tensor([-1.0]))) == 0


def test_orpo_adds_the_odds_ratio_to_the_likelihood():
    odds = objectives.odds_ratio(POLICY)
    assert 0.1 * mean(odds) == near(0.062780)
    for pair, log_odds in enumerate((0.928420, -0.415930)):
        one = pairs([CHOSEN[pair]] * 2, [REJECTED[pair]] * 2)
        assert float(objectives.odds_ratio(one).metrics["log_odds"]) == near(2 * log_odds)
    assert float(odds.metrics["log_odds"]) == near(0.928420 - 0.415930)
    own = (1.75 / 3 + 2.1 / 2) / 2  # each chosen answer's own mean, then the mean of both
    assert mean(objectives.orpo(POLICY, beta=0.1)) == near(own + 0.062780)
    given = torch.tensor([2.0, 3.0], dtype=torch.float64)
    assert mean(objectives.orpo(POLICY, beta=0.1, nll=given)) == near(2.5 + 0.062780)


def test_simpo_of_the_golden_pairs():
    assert mean(objectives.simpo(POLICY, beta=2, gamma=1)) == near(1.189016)


def test_bradley_terry_with_margins_and_centring():
    won, lost = torch.tensor([1.2, -0.3]), torch.tensor([0.4, 0.1])
    assert mean(objectives.bradley_terry(won, lost)) == near(0.642058)
    assert mean(objectives.bradley_terry(won, lost, margin=torch.tensor([0.5, 0.0]))) == near(0.733685)
    assert mean(objectives.bradley_terry(won, lost, centring=0.01)) == near(0.655058)
    assert mean(objectives.bradley_terry(won, won)) == near(0.693147)


@pytest.mark.parametrize(
    ("rewards", "options", "expected"),
    [
        ([1, 0, 0, 1], {}, [0.865875, -0.865875, -0.865875, 0.865875]),
        ([1, 0, 0.5, 0], {}, [1.305310, -0.783186, 0.261062, -0.783186]),
        ([1, 0, 0.5, 0], {"scale": "none"}, [0.625, -0.375, 0.125, -0.375]),
    ],
)
def test_group_relative_advantages(rewards, options, expected):
    found = credit.group_relative(torch.tensor([rewards], dtype=torch.float64), **options)
    assert found[0].tolist() == near(expected)


def test_leave_one_out_advantages():
    found = credit.leave_one_out(torch.tensor([[1, 0, 0.5, 0], [1, 0, 0, 1]], dtype=torch.float64))
    assert found[0].tolist() == near([0.833333, -0.5, 0.166667, -0.5])
    assert found[1].tolist() == near([2 / 3, -2 / 3, -2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("clip_high", "expected"), [(0.2, (-0.142473, -0.282044, -0.176278)), (0.28, (-0.153140, -0.294844, -0.184278))]
)
def test_the_clipped_loss_under_its_three_denominators(clip_high, expected):
    of_answers = objectives.grpo(LOGPROBS, OF_OLD, ADVANTAGES, ANSWERS, clip_high=clip_high)
    of_tokens = objectives.ppo(LOGPROBS, OF_OLD, ADVANTAGES, clip_high=clip_high)
    of_length = objectives.dr_grpo(LOGPROBS, OF_OLD, ADVANTAGES, ANSWERS, clip_high=clip_high, length=4)
    assert (mean(of_answers), mean(of_tokens), mean(of_length)) == near(expected)
    assert [float(loss.count) for loss in (of_answers, of_tokens, of_length)] == [2, 5, 8]


def test_dapo_clips_higher_by_itself():
    assert mean(objectives.dapo(LOGPROBS, OF_OLD, ADVANTAGES)) == near(-0.294844)
    assert mean(objectives.dapo(LOGPROBS, OF_OLD, ADVANTAGES, clip_high=0.2)) == near(-0.282044)


def test_one_ratio_for_each_answer():
    assert mean(objectives.gspo(LOGPROBS, OF_OLD, BY_ROW, ANSWERS, clip_low=0.2, clip_high=0.2)) == near(-0.197661)
    assert mean(objectives.rloo(LOGPROBS, OF_OLD, BY_ROW, ANSWERS)) == near(-0.24)


@pytest.mark.parametrize(("ratio_weighted", "expected"), [(False, -0.141662), (True, -0.141702)])
def test_k3_in_the_loss_with_and_without_the_ratio(ratio_weighted, expected):
    loss = objectives.grpo(
        LOGPROBS, OF_OLD, ADVANTAGES, ANSWERS, beta=0.04, reference=OF_REFERENCE, ratio_weighted=ratio_weighted
    )
    assert mean(loss) == near(expected)


@pytest.mark.parametrize(
    ("estimator", "expected"), [("k1", [0.717975, 0.5505, 0.69]), ("k3", [0.735433, 0.563868, 0.699063])]
)
def test_ppo_credit_of_one_answer(estimator, expected):
    one = Ragged.of_lengths([3])
    values = torch.tensor([0.2, 0.4, 0.3], dtype=torch.float64)
    score = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    rewards = kl.in_rewards(score, LOGPROBS[:3], OF_REFERENCE[:3], beta=0.05, estimator=estimator)
    advantages, returns = credit.gae(rewards, values, one, lam=0.95)
    assert advantages.tolist() == near(expected)
    if estimator == "k1":
        assert credit.whiten(advantages).tolist() == near([0.726202, -1.140579, 0.414375])
    else:
        assert returns.tolist() == near([0.935433, 0.963868, 0.999063])
        now = torch.tensor([0.5, 0.35, 0.9], dtype=torch.float64)
        assert mean(objectives.value_loss(now, values, returns, clip=0.2)) == near(0.152098)


def test_ppos_update_of_one_answer_is_its_clipped_gain_and_a_share_of_the_values_error():
    """pg + 0.1 vf on the k1 credit: -A rho, clipped, is (-.871442, 1.140579, -.394166); vf's worse errors squared are
    (.268298, .360600, .240100).
    """
    one = Ragged.of_lengths([3])
    values = torch.tensor([0.2, 0.4, 0.3], dtype=torch.float64)
    score = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    rewards = kl.in_rewards(score, LOGPROBS[:3], OF_REFERENCE[:3], beta=0.05)
    advantages, returns = credit.gae(rewards, values, one, lam=0.95)
    now = torch.tensor([0.5, 0.35, 0.9], dtype=torch.float64)
    gain = objectives.ppo(LOGPROBS[:3], OF_OLD[:3], credit.whiten(advantages))
    error = objectives.value_loss(now, values, returns)
    assert mean(gain) == near((-0.871442 + 1.140579 - 0.394166) / 3)
    assert mean(error) == near((0.268298 + 0.360600 + 0.240100) / 6)
    assert mean(gain.plus(error, weight=0.1)) == near(-0.027193)


def ratio_of(value):
    return torch.tensor([math.log(value)], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("advantage", "ratio", "dual_clip", "loss", "has_gradient"),
    [
        (1, 1.5, None, -1.2, False),  # already paid in full
        (-1, 1.5, None, 1.5, True),  # still to be pushed down
        (-1, 5.0, None, 5.0, True),
        (-1, 5.0, 3.0, 3.0, False),  # the dual clip's end
        (1, 5.0, 3.0, -1.2, False),
        (-1, 0.5, None, 0.8, False),
        (1, 0.5, None, -0.5, True),
    ],
)
def test_where_the_clip_stops_paying(advantage, ratio, dual_clip, loss, has_gradient):
    now = ratio_of(ratio)
    old = torch.zeros(1, dtype=torch.float64)
    found = objectives.ppo(now, old, torch.tensor([float(advantage)]), dual_clip=dual_clip)
    found.total.backward()
    assert mean(found) == near(loss)
    assert bool(now.grad != 0) is has_gradient


def test_the_share_of_clipped_tokens_is_reported_on_the_side_it_is_clipped():
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0]).log()
    terms = clipped(log_ratio, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]), clip_low=0.2, clip_high=0.2)
    assert terms.metrics["clipped/high"].tolist() == [1, 0, 0, 0, 0]
    assert terms.metrics["clipped/low"].tolist() == [0, 0, 0, 1, 0]


def test_metrics_are_means_over_what_is_counted():
    loss = objectives.dpo(POLICY, REFERENCE, beta=0.1)
    read = {name: float(value / loss.count) for name, value in loss.metrics.items()}
    assert read["rewards/chosen"] == near(0.1 * (0.4 + 0.1) / 2)
    assert read["rewards/margin"] == near(0.1 * (0.8 + 0.15) / 2)
    assert read["rewards/accuracy"] == 1
    assert read["logps/chosen"] == near(-(1.75 + 2.1) / 2)
    of_length = objectives.dr_grpo(LOGPROBS, LOGPROBS, ADVANTAGES, ANSWERS, length=4)
    assert float(of_length.metrics["ratio"] / of_length.count) == near(1)


def test_a_critic_is_explained_as_far_as_it_knows_more_than_the_mean():
    returns = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert float(objectives.explained_variance(returns, returns)) == 1
    assert float(objectives.explained_variance(torch.full((4,), 1.5), returns)) == 0
    assert float(objectives.explained_variance(returns, torch.ones(4))) == 0  # nothing to explain


def test_the_samplers_own_numbers_are_corrected_up_to_a_cap():
    trained, sampled = torch.tensor([0.5, 0.9, 0.3]).log(), torch.tensor([0.5, 0.3, 0.6]).log()
    found = objectives.truncated_importance(trained, sampled, cap=2.0)
    assert found.tolist() == near([1.0, 2.0, 0.5])
    plain = objectives.ppo(trained, trained, torch.ones(3))
    worth = objectives.ppo(trained, trained, torch.ones(3), weights=found)
    assert mean(worth) == near(mean(plain) * 3.5 / 3)
