"""SFT, DPO and GRPO of other architectures against TRL: what each has of its own is honoured on both sides."""

import pytest
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rollouts import freeze, generate, logprobs_of, make_trainer, rewards_of, rows_of, update
from tests.engine.parity.rows import MAX_LENGTH, chat, pair_rows, row_of
from tests.engine.parity.start import make_start
from tests.engine.parity.test_preference import RECORDS as PAIR_RECORDS
from tests.engine.parity.test_preference import pairwise
from tests.engine.parity.test_sft import ANSWERS
from tests.engine.parity.test_sft import RECORDS as ANSWER_RECORDS
from training.engine import credit, objectives

pytestmark = pytest.mark.slow

FAMILIES = {
    "qwen2": {},  # biases in its attention
    "qwen3": {"head_dim": 12},  # norms of queries and keys
    "gemma2": {"head_dim": 12, "final_logit_softcapping": 5.0, "sliding_window": 256, "query_pre_attn_scalar": 12},
    "gemma3_text": {"head_dim": 12, "sliding_window": 16, "query_pre_attn_scalar": 12},  # shorter than the rows
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
}


@pytest.fixture(scope="module", params=FAMILIES)
def start(request, tmp_path_factory):
    return make_start(tmp_path_factory.mktemp(request.param), request.param, **FAMILIES[request.param])


@pytest.fixture(scope="module")
def policy(start):
    return ours.make_policy(start)


@pytest.fixture(scope="module")
def tokenizer(start):
    return AutoTokenizer.from_pretrained(start.base)


def test_sft(start, policy, tokenizer, tmp_path):
    settings = peer.settings(SFTConfig, tmp_path, max_length=MAX_LENGTH)
    theirs = peer.train_step(peer.make_trainer(SFTTrainer, start, settings, ANSWER_RECORDS), rows=8)
    rows = [row_of(f"row {number}", chat(tokenizer, *one)) for number, one in enumerate(ANSWERS)]
    mine = ours.step(policy, rows, lambda pack: objectives.sft(ours.logprobs(policy, pack)), tokens=128)
    ours.assert_same(mine, theirs)


def test_dpo(start, policy, tokenizer, tmp_path):
    settings = peer.settings(DPOConfig, tmp_path, max_length=MAX_LENGTH)
    theirs = peer.train_step(peer.make_trainer(DPOTrainer, start, settings, PAIR_RECORDS), rows=4)
    ours.assert_same(ours.step(policy, pair_rows(tokenizer), pairwise(policy, "dpo"), tokens=128), theirs)


def test_grpo(start, policy, tokenizer, tmp_path):
    trainer = make_trainer(GRPOTrainer, GRPOConfig, start, tmp_path, beta=0.04, loss_type="grpo", temperature=0.7)
    groups = freeze(tokenizer)
    units = rows_of(
        groups,
        of_row={"advantage": credit.group_relative(rewards_of(groups)).flatten()},
        of_tokens={"reference": logprobs_of(policy, groups, temperature=0.7, reference=True)},
    )

    def objective(pack):
        return objectives.grpo(
            ours.logprobs(policy, pack, temperature=0.7),
            None,
            pack.ragged.spread(pack.by_row("advantage")),
            pack.ragged,
            beta=0.04,
            reference=pack.flat("reference"),
        )

    ours.assert_same(ours.step(policy, units, objective, tokens=64), update(trainer, generate(trainer)))
