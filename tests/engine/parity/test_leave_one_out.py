"""RLOO against TRL 1.16's RLOOTrainer on one frozen set of completions: rewards less the KL, advantages, the update."""

import pytest
import torch
from trl import RLOOConfig, RLOOTrainer

from tests.engine.parity import ours
from tests.engine.parity.rollouts import (
    flat,
    freeze,
    generate,
    logprobs_of,
    make_trainer,
    rewards_of,
    rows_of,
    update,
)
from training.engine import credit, kl, objectives
from training.engine.ragged import Ragged

TEMPERATURE, BETA = 1.3, 0.05


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    return make_trainer(
        RLOOTrainer, RLOOConfig, start, tmp_path_factory.mktemp("rloo"), beta=BETA, temperature=TEMPERATURE
    )


@pytest.fixture
def plain(trainer):
    """As TRL has it by default; a test may alter it."""
    trainer.beta, trainer.mask_truncated_completions = BETA, False
    trainer.epsilon_low = trainer.epsilon_high = 0.2
    return trainer


@pytest.fixture(scope="module")
def groups(tokenizer):
    return freeze(tokenizer)


@pytest.fixture(scope="module")
def ragged(groups):
    return Ragged.of_lengths([len(sample.ids) for sample in flat(groups)])


@pytest.fixture(scope="module")
def now(policy, groups):
    return logprobs_of(policy, groups, temperature=TEMPERATURE)


@pytest.fixture(scope="module")
def returns(policy, groups, now, ragged):
    """[Q, G]: rewards less the whole answer's k1."""
    then = logprobs_of(policy, groups, temperature=TEMPERATURE, reference=True)
    flattened = [torch.tensor([value for row in rows for value in row]) for rows in (now, then)]
    rewards = rewards_of(groups)
    return kl.in_returns(rewards.flatten(), *flattened, ragged, beta=BETA).view_as(rewards)


def objective(policy, **options):
    def of_pack(pack):
        values = ours.logprobs(policy, pack, temperature=TEMPERATURE)
        return objectives.rloo(values, pack.flat("old"), pack.by_row("advantage"), pack.ragged, **options)

    return of_pack


def test_advantages_of_rewards_less_the_kl_with_an_answer_that_nobody_judged(plain, returns):
    theirs = generate(plain)["advantages"]
    found = credit.leave_one_out(returns).flatten()
    assert found.tolist() == pytest.approx(theirs.tolist(), rel=1e-4, abs=1e-5)
    assert found.tolist()[5] == 0


def test_advantages_without_a_reference(plain, groups):
    plain.beta = 0.0
    theirs = generate(plain)["advantages"]
    assert credit.leave_one_out(rewards_of(groups)).flatten().tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


@pytest.mark.parametrize("tokens", [4096, 64])
@pytest.mark.parametrize("clip_high", [0.2, 0.5])
@pytest.mark.parametrize("moved", [0.0, 0.1], ids=["used once", "used again"])
def test_the_update(plain, policy, groups, now, returns, ragged, moved, clip_high, tokens):
    """The ratio is one for each answer, of sums: used again, at both ends beyond the clip and within it."""
    plain.epsilon_high = clip_high
    made = torch.Generator().manual_seed(5)
    old = [[value + moved * float(torch.randn((), generator=made)) for value in row] for row in now]
    inputs = generate(plain)
    gaps = torch.tensor([sum(before) - sum(after) for before, after in zip(old, now, strict=True)])
    if moved:
        assert (gaps.abs() > 0.2).any()
        assert (gaps.abs() < 0.15).any()
        inputs["old_logps"] = inputs["old_logps"] + gaps
    advantages = credit.leave_one_out(returns).flatten()
    units = rows_of(groups, of_row={"advantage": advantages}, of_tokens={"old": old})
    mine = ours.step(policy, units, objective(policy, clip_high=clip_high), tokens=tokens)
    ours.assert_same(mine, update(plain, inputs))


def test_trl_counts_the_truncated_answers_that_it_left_out_and_we_do_not(plain, policy, groups, now, returns):
    """A left-out answer still adds -A to TRL's loss (its ratio is e^0), without a gradient, and divides the others'."""
    plain.mask_truncated_completions, plain.beta = True, 0.0
    inputs = generate(plain)
    theirs = update(plain, inputs)
    advantages = credit.leave_one_out(rewards_of(groups)).flatten()
    kept = [not sample.truncated for sample in flat(groups)]
    units = rows_of(groups, of_row={"advantage": advantages}, of_tokens={"old": now})
    left = [[row for row in unit if kept[int(row.name.split()[1])]] for unit in units]
    mine = ours.step(policy, left, objective(policy), tokens=64)
    theirs.loss += sum(float(a) for a, keep in zip(advantages, kept, strict=True) if not keep) / len(kept)
    ours.assert_same(mine, theirs, scale=len(kept) / sum(kept))
