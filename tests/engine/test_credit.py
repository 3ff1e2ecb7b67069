import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine import credit
from training.engine.ragged import Ragged, Spans

nan = math.nan
# Small whole numbers: their means are not exact, their differences are far from rounding.
groups = st.lists(
    st.lists(st.integers(-5, 5).map(float) | st.just(nan), min_size=4, max_size=4), min_size=1, max_size=4
)


def table(rows):
    return torch.tensor(rows, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(groups, st.sampled_from(["leave_one_out", "none", "group"]))
def test_a_group_never_gains_as_a_whole_and_a_constant_changes_nothing(rows, kind):
    def advantages(rewards):
        return credit.leave_one_out(rewards) if kind == "leave_one_out" else credit.group_relative(rewards, scale=kind)

    rewards = table(rows)
    found = advantages(rewards)
    assert found.isfinite().all()
    assert found.sum(-1).abs().max() < 1e-9
    assert torch.allclose(advantages(rewards + 7.0), found, atol=1e-9)


def test_an_answer_without_a_verdict_gets_nothing_and_moves_no_mean():
    rewards = table([[1.0, nan, 0.0, 0.5], [1.0, nan, nan, nan]])
    assert credit.leave_one_out(rewards).tolist() == [[0.75, 0.0, -0.75, 0.0], [0.0] * 4]
    plain = credit.group_relative(rewards, scale="none")
    assert plain[0].tolist() == pytest.approx([0.5, 0.0, -0.5, 0.0])
    scaled = credit.group_relative(rewards, epsilon=0.0)
    assert scaled[0].tolist() == pytest.approx([1.0, 0.0, -1.0, 0.0])  # std of (1, 0, .5) by n - 1 is .5
    assert scaled[1].tolist() == [0.0] * 4


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, -1 / 3])
def test_equal_rewards_teach_nothing_whatever_the_rounding(value):
    rewards = torch.full((1, 7), value)
    for found in (
        credit.leave_one_out(rewards),
        credit.group_relative(rewards, epsilon=0.0),
        credit.group_relative(rewards, scale="batch", epsilon=1e-12),
    ):
        assert found.tolist() == [[0.0] * 7]


def test_the_deviation_of_a_sample_and_of_a_population():
    rewards = table([[1, 0, 0, 0, 0, 0, 0, 0]])
    sample = credit.group_relative(rewards, epsilon=0.0)
    assert sample[0, :2].tolist() == pytest.approx([2.4749, -0.3536], abs=1e-4)
    population = credit.group_relative(table([[1, 0, 0, 1]]), epsilon=0.0, unbiased=False)
    assert population.tolist() == [[1, -1, -1, 1]]


def test_the_batchs_deviation_is_one_for_all_groups():
    rewards = table([[1.0, 0.0], [10.0, 0.0], [3.0, nan]])
    found = credit.group_relative(rewards, scale="batch", epsilon=0.0)
    spread = torch.tensor([1.0, 0.0, 10.0, 0.0, 3.0], dtype=torch.float64).std()
    assert torch.allclose(found * spread, table([[0.5, -0.5], [5.0, -5.0], [0.0, 0.0]]))


def test_groups_that_teach_something():
    rewards = table([[1, 0, 0], [1, 1, 1], [0, nan, nan], [nan, nan, nan], [1, nan, 0.5]])
    assert credit.has_spread(rewards).tolist() == [True, False, False, False, True]


def test_win_rates_within_a_group():
    beats = table([[[nan, 1.0, 0.5], [0.0, nan, nan], [0.5, nan, nan]]])
    assert credit.group_win_rate(beats)[0].tolist() == [0.75, 0.0, 0.5]


@pytest.mark.parametrize(("lam", "expected"), [(0.95, [0.0475, 0.05, -1.0]), (0.0, [0.0, 1.0, -1.0])])
def test_advantages_of_marked_words_without_a_critic(lam, expected):
    rewards = torch.tensor([0.0, 1.0, -1.0])
    found, returns = credit.gae(rewards, torch.zeros(3), Ragged.of_lengths([3]), lam=lam)
    assert found.tolist() == pytest.approx(expected)
    assert returns.tolist() == found.tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 1000))
def test_a_row_alone_has_the_credit_it_has_among_others(lengths, seed):
    made = torch.Generator().manual_seed(seed)
    rewards, values, gamma = (torch.rand(sum(lengths), generator=made) for _ in range(3))
    together = credit.gae(rewards, values, Ragged.of_lengths(lengths), gamma=gamma, lam=0.9)[0]
    parts = zip(*(tensor.split(lengths) for tensor in (rewards, values, gamma, together)), strict=True)
    for reward, value, discount, found in parts:
        alone = credit.gae(reward, value, Ragged.of_lengths([len(reward)]), gamma=discount, lam=0.9)[0]
        assert alone.tolist() == found.tolist()


def test_without_discount_and_critic_credit_is_what_is_still_to_come():
    rewards = torch.tensor([1.0, 2.0, 4.0, 8.0])
    ragged = Ragged.of_lengths([3, 1])
    assert credit.returns_to_go(rewards, ragged).tolist() == [7, 6, 4, 8]
    assert credit.gae(rewards, torch.zeros(4), ragged, gamma=1.0, lam=1.0)[0].tolist() == [7, 6, 4, 8]


def test_a_discount_may_be_paid_at_the_end_of_a_turn_only():
    rewards = torch.tensor([0.0, 0.0, 0.0, 1.0])
    gamma = torch.tensor([1.0, 0.5, 1.0, 1.0])  # the turn ends after the second token
    assert credit.returns_to_go(rewards, Ragged.of_lengths([4]), gamma=gamma).tolist() == [0.5, 0.5, 1, 1]


def test_credit_with_a_critic_and_a_discount_by_hand():
    rewards, values = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.25])
    found, returns = credit.gae(rewards, values, Ragged.of_lengths([2]), gamma=0.5, lam=0.8)
    # delta = (0 + .5 * .25 - .5, 1 - .25) = (-.375, .75); A_1 = -.375 + .5 * .8 * .75
    assert found.tolist() == pytest.approx([-0.075, 0.75])
    assert returns.tolist() == pytest.approx([0.425, 1.0])


def test_a_perfect_critic_leaves_no_advantage():
    rewards = torch.tensor([0.0, 0.0, 1.0])
    found, returns = credit.gae(rewards, torch.ones(3), Ragged.of_lengths([3]))
    assert found.tolist() == [0, 0, 0]
    assert returns.tolist() == [1, 1, 1]


def test_credit_of_turns_lies_on_their_tokens():
    """GAE over the turns of an episode, then every token of a turn has its turn's advantage."""
    turns = Ragged.of_lengths([2, 1])
    found, _ = credit.gae(torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3), turns, lam=0.5)
    tokens = Ragged.of_lengths([5, 2])
    spans = Spans.of([(0, 0, 2), (0, 3, 5), (1, 0, 2)])
    assert spans.spread(found, tokens).tolist() == [0.5, 0.5, 0, 1, 1, 2, 2]
    assert spans.spread(found, tokens, share=True).tolist() == [0.25, 0.25, 0, 0.5, 0.5, 1, 1]


def test_whitening_knows_only_the_tokens_that_count():
    values = torch.tensor([1.0, 2.0, 3.0, 1000.0])
    mask = torch.tensor([True, True, True, False])
    found = credit.whiten(values, mask=mask, epsilon=0.0)
    assert found.tolist() == pytest.approx([-1, 0, 1, 0])
    assert credit.whiten(values, mask=mask, unbiased=False, epsilon=0.0)[2] == pytest.approx(math.sqrt(1.5))


def test_whitening_may_keep_the_mean():
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    found = credit.whiten(values, how="keep_mean", epsilon=0.0)
    assert float(found.mean()) == pytest.approx(3.0)
    assert float(found.std()) == pytest.approx(1.0)


def test_scaling_alone_gives_unmarked_tokens_of_a_poor_batch_no_praise():
    values = torch.tensor([0.0, 0.0, -1.0, -1.0])
    assert (credit.whiten(values)[:2] > 0).all()
    scaled = credit.whiten(values, how="scale")
    assert scaled[:2].tolist() == [0, 0]
    assert float(scaled.square().mean()) == pytest.approx(1.0)


@pytest.mark.parametrize("how", ["full", "scale", "keep_mean"])
def test_whitening_of_nothing_and_of_equals_is_finite(how):
    nothing = torch.zeros(3, dtype=torch.bool)
    assert credit.whiten(torch.ones(3), mask=nothing, how=how).tolist() == [0, 0, 0]
    assert credit.whiten(torch.zeros(3), how=how).tolist() == [0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=9), st.data())
def test_moments_of_two_processes_add_up_to_the_whole_batchs(values, data):
    cut = data.draw(st.integers(0, len(values)))
    values = torch.tensor(values)
    moments = credit.Moments.of(values[:cut]) + credit.Moments.of(values[cut:])
    found = torch.cat([credit.whiten(part, moments=moments) for part in (values[:cut], values[cut:])])
    assert torch.allclose(found, credit.whiten(values))
