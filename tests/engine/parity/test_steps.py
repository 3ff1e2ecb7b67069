"""Several steps of both from the same start: the losses stay together, and so do the gradients' norms.

Each trainer here is its own: these move.
"""

import pytest
import torch
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rollouts import GROUP, freeze, logprobs_of, make_trainer, rewards_of, rows_of
from tests.engine.parity.rows import MAX_LENGTH, PAIRS, chat, pair_rows, row_of
from tests.engine.parity.test_preference import RECORDS as PAIR_RECORDS
from tests.engine.parity.test_preference import pairwise
from tests.engine.parity.test_sft import ANSWERS
from tests.engine.parity.test_sft import RECORDS as ANSWER_RECORDS
from training.engine import credit, objectives
from training.engine.loop import Loop
from training.engine.packs import micro_batches

STEPS, RATE = 8, 2e-3


def settings(config, folder, **options):
    return peer.settings(config, folder, learning_rate=RATE, max_steps=STEPS, max_grad_norm=1.0, **options)


def walk(policy, batch, objective, *, steps=STEPS):
    """Our loop over the same batch for some steps: what each reports."""
    loop = Loop(policy.parameters, lr=RATE, steps=steps, schedule="constant", warmup=0.0, clip=1.0)
    found = []
    for step in range(steps):
        loop.forward_backward(micro_batches(batch(step), tokens=128), objective)
        found.append(loop.optim_step())
    return found


def assert_together(mine, theirs, *, moved=1e-2):
    assert [one["loss"] for one in mine] == pytest.approx([one.loss for one in theirs], rel=1e-4)
    assert [one["grad_norm"] for one in mine] == pytest.approx([one.norm for one in theirs], rel=1e-3)
    assert abs(mine[-1]["loss"] - mine[0]["loss"]) > moved  # somewhere to go


def test_sft_over_two_epochs_of_batches_of_unequal_tokens(start, tokenizer, tmp_path):
    trainer = peer.make_trainer(
        SFTTrainer, start, settings(SFTConfig, tmp_path, max_length=MAX_LENGTH, num_train_epochs=4), ANSWER_RECORDS
    )
    theirs = peer.train_steps(trainer, rows=2, accumulated=2)
    rows = [row_of(f"row {number}", chat(tokenizer, *one)) for number, one in enumerate(ANSWERS)]
    policy = ours.make_policy(start)

    def batch(step):
        return rows[4 * (step % 2) : 4 * (step % 2) + 4]

    assert_together(walk(policy, batch, lambda pack: objectives.sft(ours.logprobs(policy, pack))), theirs)


def test_dpo_from_an_adapter_that_has_moved(start, tokenizer, tmp_path):
    trainer = peer.make_trainer(
        DPOTrainer, start, settings(DPOConfig, tmp_path, max_length=MAX_LENGTH, beta=0.3), PAIR_RECORDS
    )
    theirs = peer.train_steps(trainer, rows=len(PAIRS))
    policy = ours.make_policy(start)
    units = pair_rows(tokenizer)
    assert_together(walk(policy, lambda step: units, pairwise(policy, "dpo", beta=0.3)), theirs)


def test_grpo_with_each_batch_used_four_times(start, tokenizer, tmp_path):
    """TRL's num_iterations: old log-probabilities are those of the policy that sampled, taken before its first update.

    The same completions are "sampled" twice; the second time their old log-probabilities are the moved policy's.
    """
    trainer = make_trainer(
        GRPOTrainer,
        GRPOConfig,
        start,
        tmp_path,
        learning_rate=RATE,
        max_steps=STEPS,
        max_grad_norm=1.0,
        num_iterations=4,
        beta=0.04,
        epsilon=0.1,
        epsilon_high=0.28,
        temperature=0.7,
        num_train_epochs=STEPS,
    )
    groups = freeze(tokenizer)
    theirs = peer.train_steps(trainer, rows=GROUP * len(groups))
    assert "old_per_token_logps" in theirs[0].inputs[0]

    policy = ours.make_policy(start)
    advantages = credit.group_relative(rewards_of(groups)).flatten()
    reference = logprobs_of(policy, groups, temperature=0.7, reference=True)
    batches = {}

    def batch(step):
        if step % 4 == 0:
            old = logprobs_of(policy, groups, temperature=0.7)
            batches["now"] = rows_of(
                groups, of_row={"advantage": advantages}, of_tokens={"old": old, "reference": reference}
            )
        return batches["now"]

    def objective(pack):
        return objectives.dapo(
            ours.logprobs(policy, pack, temperature=0.7),
            pack.flat("old"),
            pack.ragged.spread(pack.by_row("advantage")),
            clip_low=0.1,
            clip_high=0.28,
            beta=0.04,
            reference=pack.flat("reference"),
        )

    mine = walk(policy, batch, objective)
    assert_together(mine, theirs)
    assert mine[3]["ratio"] != pytest.approx(1, abs=1e-3)  # used again
    assert mine[4]["ratio"] == pytest.approx(1, abs=1e-5)  # sampled again
    assert torch.tensor([one["clipped/high"] + one["clipped/low"] for one in mine]).max() > 0
