"""Bradley-Terry against TRL 1.16's RewardTrainer: the adapter's gradients and the head's."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rows import PAIRS, pair_rows
from training.engine.heads import ScoreHead, row_scores
from training.engine.objectives import bradley_terry


def answered(pair, answer):
    return [*pair.prompt, {"role": "assistant", "content": answer}]


RECORDS = [
    {"chosen": answered(pair, pair.chosen), "rejected": answered(pair, pair.rejected), "margin": pair.margin}
    for pair in PAIRS
]


@pytest.fixture(scope="module")
def head(start):
    return ScoreHead.load(start.head)


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    model = AutoModelForSequenceClassification.from_pretrained(start.base, num_labels=1, dtype=torch.float32)
    settings = peer.settings(RewardConfig, tmp_path_factory.mktemp("rm"))
    return peer.make_trainer(RewardTrainer, start, settings, RECORDS, model=model, task="SEQ_CLS")


@pytest.fixture
def plain(trainer):
    """Without margin and centring; a test may alter it."""
    prepared, pad = trainer.train_dataset, trainer.processing_class.pad_token
    trainer.train_dataset = prepared.remove_columns("margin")
    trainer.args.center_rewards_coefficient = None
    yield trainer
    trainer.train_dataset = prepared
    pad_with(trainer, pad)


def pad_with(trainer, token):
    """As if the tokenizer had always named this one: TRL takes the stop token where none is named."""
    trainer.processing_class.pad_token = token
    number = trainer.processing_class.pad_token_id
    trainer.data_collator.pad_token_id = trainer.model.config.pad_token_id = number


@pytest.fixture
def units(tokenizer):
    """With the margin on both rows of a pair."""
    return [
        [replace(row, of_row={"margin": pair.margin}) for row in unit]
        for pair, unit in zip(PAIRS, pair_rows(tokenizer, length=200), strict=True)
    ]


def pairwise(policy, head, *, margin=False, centring=0.0):
    def objective(pack):
        scores = row_scores(policy.model, head, pack)[:, 0]
        chosen, rejected = torch.tensor(pack.units).T
        apart = pack.by_row("margin")[chosen] if margin else 0.0
        return bradley_terry(scores[chosen], scores[rejected], margin=apart, centring=centring)

    return objective


def test_the_rows_are_the_same_tokens(plain, units):
    given = peer.train_step(plain, rows=4).inputs[0]
    for index, row in enumerate([unit[side] for side in (0, 1) for unit in units]):
        assert given["input_ids"][index][given["attention_mask"][index].bool()].tolist() == row.ids


@pytest.mark.parametrize("tokens", ours.BUDGETS)
@pytest.mark.parametrize(("margin", "centring"), [(False, 0.0), (True, 0.0), (False, 0.05), (True, 0.05)])
def test_bradley_terry(plain, policy, head, units, margin, centring, tokens):
    if margin:
        plain.train_dataset = plain.train_dataset.add_column("margin", [pair.margin for pair in PAIRS])
    plain.args.center_rewards_coefficient = centring or None
    objective = pairwise(policy, head, margin=margin, centring=centring)
    mine = ours.step(policy, units, objective, tokens=tokens, head=head)
    ours.assert_same(mine, peer.train_step(plain, rows=4))
    assert "score.weight" in mine.gradients


def test_bradley_terry_over_two_micro_batches_of_theirs_and_several_of_ours(plain, policy, head, units):
    mine = ours.step(policy, units, pairwise(policy, head), tokens=70, head=head)
    ours.assert_same(mine, peer.train_step(plain, rows=2, accumulated=2))


def test_trl_reads_the_score_before_the_stop_token_where_that_is_the_padding_too_and_we_read_it_there(
    plain, policy, head, units, tokenizer
):
    """The place is searched for by the padding's id (transformers), so a base without a padding token of its own is
    read one token early. Ours is the row's last token whatever its id is; cut by one token it is what TRL reads.
    """
    pad_with(plain, tokenizer.eos_token)
    theirs = peer.train_step(plain, rows=4)
    whole = ours.step(policy, units, pairwise(policy, head), tokens=128, head=head)
    assert whole.loss != pytest.approx(theirs.loss, rel=1e-3)
    early = [[replace(row, ids=row.ids[:-1], trained=row.trained[:-1]) for row in unit] for unit in units]
    ours.assert_same(ours.step(policy, early, pairwise(policy, head), tokens=128, head=head), theirs)
