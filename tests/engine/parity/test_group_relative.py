"""GRPO and its variants against TRL 1.16's GRPOTrainer on one frozen set of completions, and their advantages."""

from dataclasses import replace

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from tests.engine.parity import ours
from tests.engine.parity.rollouts import (
    LONGEST,
    flat,
    freeze,
    generate,
    logprobs_of,
    make_trainer,
    padded,
    rewards_of,
    rows_of,
    update,
)
from training.engine import credit, objectives

TEMPERATURE = 0.7
LOSSES = {  # TRL's: ours, what it needs beside the terms
    "grpo": ("grpo", {}),
    "bnpo": ("ppo", {}),  # a mean over the tokens of the micro-batch: ours over those of the step, equal for one batch
    "dr_grpo": ("dr_grpo", {"length": LONGEST}),
    "dapo": ("dapo", {}),
}


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    return make_trainer(
        GRPOTrainer, GRPOConfig, start, tmp_path_factory.mktemp("grpo"), beta=0.04, temperature=TEMPERATURE
    )


@pytest.fixture
def plain(trainer):
    """As TRL has it by default, but for beta; a test may alter it."""
    trainer.loss_type, trainer.beta, trainer.scale_rewards = "dapo", 0.04, "group"
    trainer.epsilon_low = trainer.epsilon_high = 0.2
    trainer.importance_sampling_level, trainer.mask_truncated_completions = "token", False
    trainer.args.use_bias_correction_kl, trainer.args.delta = True, None
    return trainer


@pytest.fixture(scope="module")
def groups(tokenizer):
    return freeze(tokenizer)


@pytest.fixture(scope="module")
def now(policy, groups):
    return logprobs_of(policy, groups, temperature=TEMPERATURE)


@pytest.fixture(scope="module")
def reference(policy, groups):
    return logprobs_of(policy, groups, temperature=TEMPERATURE, reference=True)


@pytest.fixture(scope="module")
def old(now):
    """From a policy that has moved since: so far that both ends of the clip are reached."""
    made = torch.Generator().manual_seed(4)
    return [[value + 0.6 * float(torch.randn((), generator=made)) for value in row] for row in now]


@pytest.fixture(scope="module")
def advantages(groups):
    return credit.group_relative(rewards_of(groups)).flatten()


def objective(policy, name, *, old=True, beta=0.04, **options):
    def of_pack(pack):
        values = ours.logprobs(policy, pack, temperature=TEMPERATURE)
        advantages = pack.by_row("advantage")
        arguments = [values, pack.flat("old") if old else None]
        if name == "gspo":
            return objectives.gspo(*arguments, advantages, pack.ragged, **options)
        arguments.append(pack.ragged.spread(advantages))
        if name in ("grpo", "dr_grpo"):
            arguments.append(pack.ragged)
        given = {"beta": beta, "reference": pack.flat("reference")} if beta else {}
        return getattr(objectives, name)(*arguments, **given, **options)

    return of_pack


@pytest.fixture
def units(groups, advantages, old, reference):
    return rows_of(groups, of_row={"advantage": advantages}, of_tokens={"old": old, "reference": reference})


def with_old(inputs, old):
    return inputs | {"old_per_token_logps": padded(old, inputs["completion_ids"])}


def test_the_rows_are_the_same_tokens_with_the_same_ones_trained(plain, groups):
    inputs = generate(plain)
    for index, sample in enumerate(flat(groups)):
        seen = inputs["completion_mask"][index].bool()
        assert inputs["completion_ids"][index][seen].tolist() == list(sample.ids)
        assert inputs["prompt_ids"][index][inputs["prompt_mask"][index].bool()].tolist() == list(sample.prompt)
    assert int(inputs["num_items_in_batch"]) == sum(len(sample.ids) for sample in flat(groups))


def test_reference_logprobs_at_the_samplers_temperature(plain, reference):
    theirs = generate(plain)["ref_per_token_logps"]
    for row, values in zip(theirs, reference, strict=True):
        assert row[: len(values)].tolist() == pytest.approx(values, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_with_an_answer_that_nobody_judged(plain, groups, scale):
    plain.scale_rewards = scale
    theirs = generate(plain)["advantages"]
    found = credit.group_relative(rewards_of(groups), scale=scale).flatten()
    assert found.tolist() == pytest.approx(theirs.tolist(), rel=1e-5, abs=1e-6)
    assert found.tolist()[5] == 0


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("is_old", [False, True], ids=["used once", "used again"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_the_variants(plain, policy, units, old, loss_type, is_old, beta):
    """Used once: nobody gave old log-probabilities, the ratio is 1. Used again: those of the iteration before."""
    name, options = LOSSES[loss_type]
    plain.loss_type, plain.beta = loss_type, beta
    inputs = generate(plain)
    theirs = update(plain, with_old(inputs, old) if is_old else inputs)
    clip = {} if name != "dapo" else {"clip_high": 0.2}
    mine = ours.step(policy, units, objective(policy, name, old=is_old, beta=beta, **options, **clip), tokens=64)
    ours.assert_same(mine, theirs)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_clip_higher(plain, policy, units, old, loss_type):
    name, options = LOSSES[loss_type]
    plain.loss_type, plain.epsilon_high, plain.beta = loss_type, 0.28, 0.0
    mine = ours.step(policy, units, objective(policy, name, beta=0, clip_high=0.28, **options), tokens=64)
    ours.assert_same(mine, update(plain, with_old(generate(plain), old)))


def test_k3_without_the_ratio_as_it_was_before_116(plain, policy, units, old):
    plain.args.use_bias_correction_kl = False
    inputs = with_old(generate(plain), old)
    mine = ours.step(policy, units, objective(policy, "ppo", ratio_weighted=False), tokens=64)
    ours.assert_same(mine, update(plain, inputs))
    plain.args.use_bias_correction_kl = True
    assert update(plain, inputs).loss != pytest.approx(mine.loss, rel=1e-3)


def test_trls_delta_is_the_dual_clip(plain, policy, units, old):
    plain.loss_type, plain.args.delta = "grpo", 1.4
    inputs = with_old(generate(plain), old)
    mine = ours.step(policy, units, objective(policy, "grpo", dual_clip=1.4), tokens=64)
    ours.assert_same(mine, update(plain, inputs))
    plain.args.delta = None
    assert update(plain, inputs).loss != pytest.approx(mine.loss, rel=1e-3)


def test_gspo_is_grpo_with_a_ratio_for_each_answer(plain, policy, units, old):
    plain.importance_sampling_level, plain.loss_type, plain.beta = "sequence", "grpo", 0.0
    plain.epsilon_low, plain.epsilon_high = 0.05, 0.1
    mine = ours.step(policy, units, objective(policy, "gspo", beta=0, clip_low=0.05, clip_high=0.1), tokens=64)
    ours.assert_same(mine, update(plain, with_old(generate(plain), old)))


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
def test_their_accumulated_micro_batches_and_ours(plain, policy, units, old, loss_type):
    name, options = LOSSES[loss_type]
    plain.loss_type, plain.epsilon_high = loss_type, 0.28
    mine = ours.step(policy, units, objective(policy, name, clip_high=0.28, **options), tokens=60)
    ours.assert_same(mine, update(plain, with_old(generate(plain), old), parts=2))


def test_bnpo_is_another_loss_for_every_split_into_micro_batches(plain, policy, units, old):
    """Why it is no objective of ours: theirs of two halves is the mean of two token means."""
    plain.loss_type = "bnpo"
    theirs = update(plain, with_old(generate(plain), old), parts=2)
    halves = [ours.step(policy, [unit], objective(policy, "ppo"), tokens=4096).loss for unit in units]
    assert theirs.loss == pytest.approx(sum(halves) / 2, rel=1e-4)
    assert ours.step(policy, units, objective(policy, "ppo"), tokens=64).loss != pytest.approx(theirs.loss, rel=1e-3)


def without_truncated(groups, units):
    """The cut answers stay in their groups and their tokens are not trained."""
    return [
        [
            replace(row, trained=[False] * len(row.ids), of_tokens={name: [] for name in row.of_tokens})
            if sample.truncated
            else row
            for sample, row in zip(group, unit, strict=True)
        ]
        for group, unit in zip(groups, units, strict=True)
    ]


def test_dapo_with_truncated_answers_left_out(plain, policy, groups, units, old):
    plain.mask_truncated_completions, plain.loss_type = True, "dapo"
    mine = ours.step(policy, without_truncated(groups, units), objective(policy, "dapo", clip_high=0.2), tokens=64)
    ours.assert_same(mine, update(plain, with_old(generate(plain), old)))


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo"])
def test_trl_counts_the_truncated_answers_that_it_left_out_and_we_do_not(plain, policy, groups, units, old, loss_type):
    """TRL divides by all answers (issue 6369): the more are cut, the smaller its step. Ours divides by what is left."""
    name, options = LOSSES[loss_type]
    plain.mask_truncated_completions, plain.loss_type = True, loss_type
    theirs = update(plain, with_old(generate(plain), old))
    mine = ours.step(policy, without_truncated(groups, units), objective(policy, name, **options), tokens=64)
    ours.assert_same(mine, theirs, scale=8 / 6)


def test_what_a_tool_said_is_not_trained(plain, policy, units, old):
    """TRL masks it within the completion; ours are tokens of the row that are not trained."""

    def kept(values):
        return [value for number, value in enumerate(values) if number % 3 != 1]

    def answered_by_a_tool(row):
        places = kept([place for place, trained in enumerate(row.trained) if trained])
        of_tokens = {name: kept(values) for name, values in row.of_tokens.items()}
        return replace(row, trained=[place in places for place in range(len(row.ids))], of_tokens=of_tokens)

    units = [[answered_by_a_tool(row) for row in unit] for unit in units]
    plain.loss_type = "grpo"
    inputs = with_old(generate(plain), old)
    inputs["tool_mask"] = (torch.arange(inputs["completion_ids"].shape[1]) % 3 != 1).long().repeat(len(old), 1)
    ours.assert_same(ours.step(policy, units, objective(policy, "grpo"), tokens=64), update(plain, inputs))
