"""KTO against TRL 1.16's KTOTrainer, whose zero point pairs each prompt with its neighbour's answer in the batch."""

import pytest
import torch
from trl import KTOConfig, KTOTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rows import MAX_LENGTH, PAIRS, chat, row_of
from training.engine import objectives
from training.engine.packs import Row, micro_batches

ANSWERS = [(pair, text, good) for pair in PAIRS for text, good in ((pair.chosen, True), (pair.rejected, False))][1:7]
RECORDS = [
    {"prompt": pair.prompt, "completion": [{"role": "assistant", "content": text}], "label": good}
    for pair, text, good in ANSWERS
]


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    settings = peer.settings(
        KTOConfig,
        tmp_path_factory.mktemp("kto"),
        max_length=MAX_LENGTH,
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=0.75,
        per_device_train_batch_size=6,
    )
    return peer.make_trainer(KTOTrainer, start, settings, RECORDS)


@pytest.fixture
def rows(tokenizer):
    return [
        row_of(f"row {number}", chat(tokenizer, pair, text), of_row={"good": good})
        for number, (pair, text, good) in enumerate(ANSWERS)
    ]


def mismatched(rows):
    """Each prompt with its neighbour's answer, cut to the same length."""
    found = []
    for row, other in zip(rows, (rows[index] for index in objectives.mismatched(len(rows))), strict=True):
        prompt, answer = row.ids[: row.trained.index(True)], other.ids[other.trained.index(True) :]
        ids = [*prompt, *answer][:MAX_LENGTH]
        found.append(Row(row.name, ids, [place >= len(prompt) for place in range(len(ids))]))
    return found


def zero_point(policy, others):
    """Over all `mismatched` rows, in several micro-batches."""
    now, then = [], []
    with torch.no_grad():
        for pack in micro_batches(others, tokens=128):
            now.append(pack.sum_by_row(ours.logprobs(policy, pack)))
            then.append(pack.sum_by_row(ours.reference_logprobs(policy, pack)))
    return objectives.kto_zero_point(torch.cat(now), torch.cat(then))


def tapped(policy, point):
    def objective(pack):
        now = pack.sum_by_row(ours.logprobs(policy, pack))
        then = pack.sum_by_row(ours.reference_logprobs(policy, pack))
        return objectives.kto(
            now,
            then,
            pack.by_row("good") > 0,
            zero_point=point,
            beta=0.3,
            desirable_weight=1.5,
            undesirable_weight=0.75,
        )

    return objective


def test_the_rows_are_the_same_tokens_with_the_same_ones_trained(trainer, rows):
    given = peer.train_step(trainer, rows=6).inputs[0]
    for prefix, lot in (("", rows), ("KL_", mismatched(rows))):
        for index, row in enumerate(lot):
            seen = given[f"{prefix}attention_mask"][index].bool()
            assert given[f"{prefix}input_ids"][index][seen].tolist() == row.ids
            assert given[f"{prefix}completion_mask"][index][seen].bool().tolist() == row.trained
    assert given["label"].tolist() == [good for *_, good in ANSWERS]


@pytest.mark.parametrize("tokens", ours.BUDGETS)
def test_kto_with_its_zero_point_over_the_batch(trainer, policy, rows, tokens):
    point = zero_point(policy, mismatched(rows))
    assert point > 0.1  # not held at zero
    ours.assert_same(ours.step(policy, rows, tapped(policy, point), tokens=tokens), peer.train_step(trainer, rows=6))


def test_trls_kto_takes_a_zero_point_for_each_micro_batch_and_ours_one_for_the_step(trainer, policy, rows):
    theirs = peer.train_step(trainer, rows=3, accumulated=2)
    others = mismatched(rows)
    halves = []
    for part in (slice(0, 3), slice(3, 6)):
        point = zero_point(policy, others[part])
        halves.append(ours.step(policy, rows[part], tapped(policy, point), tokens=128).loss)
    assert theirs.loss == pytest.approx(sum(halves) / 2, rel=1e-4)
    whole = ours.step(policy, rows, tapped(policy, zero_point(policy, others)), tokens=128)
    assert whole.loss != pytest.approx(theirs.loss, rel=1e-3)
