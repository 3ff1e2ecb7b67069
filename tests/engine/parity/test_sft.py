"""Likelihood against TRL 1.16's SFTTrainer, on prompts with one answer each."""

import datasets
import pytest
from trl import SFTConfig, SFTTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rows import MAX_LENGTH, PAIRS, chat, row_of
from training.engine import objectives
from training.engine.packs import Row

ANSWERS = [(pair, answer) for pair in PAIRS for answer in (pair.chosen, pair.rejected)]
RECORDS = [
    {"prompt": pair.prompt, "completion": [{"role": "assistant", "content": answer}]} for pair, answer in ANSWERS
]


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    settings = peer.settings(SFTConfig, tmp_path_factory.mktemp("sft"), max_length=MAX_LENGTH)
    return peer.make_trainer(SFTTrainer, start, settings, RECORDS)


@pytest.fixture
def rows(tokenizer):
    return [row_of(f"row {number}", chat(tokenizer, *one)) for number, one in enumerate(ANSWERS)]


def likelihood(policy):
    return lambda pack: objectives.sft(ours.logprobs(policy, pack))


def test_the_rows_are_the_same_tokens_with_the_same_ones_trained(trainer, rows):
    given = peer.train_step(trainer, rows=8).inputs[0]
    for index, row in enumerate(rows):
        seen = given["attention_mask"][index].bool()
        assert given["input_ids"][index][seen].tolist() == row.ids
        assert (given["labels"][index][seen] != -100).tolist() == row.trained
    assert len(rows[6].ids) == MAX_LENGTH  # one is cut


@pytest.mark.parametrize("tokens", ours.BUDGETS)
def test_likelihood_of_one_batch(trainer, policy, rows, tokens):
    mine = ours.step(policy, rows, likelihood(policy), tokens=tokens)
    ours.assert_same(mine, peer.train_step(trainer, rows=8))


@pytest.mark.parametrize("split", [(1, 8), (2, 4), (4, 2)])
def test_likelihood_is_divided_by_the_tokens_of_the_whole_step_on_both_sides(trainer, policy, rows, split):
    theirs = peer.train_step(trainer, rows=split[0], accumulated=split[1])
    ours.assert_same(ours.step(policy, rows, likelihood(policy), tokens=70), theirs)


def test_a_row_that_has_nothing_to_learn_changes_nothing_beside_others(trainer, policy, rows):
    """An empty completion: TRL's preparation drops such rows, its loss takes them."""
    prompt = rows[0].trained.index(True)
    empty = Row("empty", rows[0].ids[:prompt], [False] * prompt)
    prepared = trainer.train_dataset
    try:
        trainer.train_dataset = datasets.Dataset.from_list(
            [
                {
                    "input_ids": row.ids,
                    "labels": [i if t else -100 for i, t in zip(row.ids, row.trained, strict=True)],
                }
                for row in [empty, *rows[1:3]]
            ]
        )
        theirs = peer.train_step(trainer, rows=3)
    finally:
        trainer.train_dataset = prepared
    ours.assert_same(ours.step(policy, [empty, *rows[1:3]], likelihood(policy), tokens=4096), theirs)
    ours.assert_same(ours.step(policy, rows[1:3], likelihood(policy), tokens=4096), theirs)
