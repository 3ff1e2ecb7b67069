"""DPO and its kin against TRL 1.16's DPOTrainer; SimPO and ORPO against its experimental trainers."""

import math

import datasets
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from tests.engine.parity import ours, peer
from tests.engine.parity.rows import MAX_LENGTH, PAIRS, pair_rows
from training.engine import objectives
from training.engine.packs import Row

FAMILY = {  # TRL's loss: ours, TRL's smoothing, our options
    "sigmoid": ("dpo", 0.0, {}),
    "hinge": ("dpo_hinge", 0.0, {}),
    "ipo": ("ipo", 0.0, {}),
    "robust": ("dpo_robust", 0.2, {"flipped": 0.2}),
    "sigmoid_norm": ("dpo_mean", 0.0, {}),
    "apo_zero": ("apo_zero", 0.0, {}),
}


def answer(text):
    return [{"role": "assistant", "content": text}]


RECORDS = [{"prompt": pair.prompt, "chosen": answer(pair.chosen), "rejected": answer(pair.rejected)} for pair in PAIRS]


@pytest.fixture(scope="module")
def trainer(start, tmp_path_factory):
    settings = peer.settings(DPOConfig, tmp_path_factory.mktemp("dpo"), max_length=MAX_LENGTH)
    return peer.make_trainer(DPOTrainer, start, settings, RECORDS)


@pytest.fixture
def plain(trainer):
    """The trainer as it is by default; a test may alter it."""
    trainer.loss_types, trainer.loss_weights, trainer.beta, trainer.label_smoothing = ["sigmoid"], [1.0], 0.1, 0.0
    prepared = trainer.train_dataset
    yield trainer
    trainer.train_dataset = prepared


def pairwise(policy, name, **options):
    def objective(pack):
        now, then = ours.logprobs(policy, pack), ours.reference_logprobs(policy, pack)
        return getattr(objectives, name)(ours.pairs(pack, now), ours.pairs(pack, then), **options)

    return objective


def test_the_rows_are_the_same_tokens_with_the_same_ones_trained(plain, tokenizer):
    units = pair_rows(tokenizer)
    given = peer.train_step(plain, rows=4).inputs[0]
    rows = [pair[side] for side in (0, 1) for pair in units]
    for index, row in enumerate(rows):
        seen = given["attention_mask"][index].bool()
        assert given["input_ids"][index][seen].tolist() == row.ids
        assert given["completion_mask"][index][seen].bool().tolist() == row.trained
    counts = [sum(row.trained) for row in rows]
    assert 1 in counts  # an answer of the stop token alone
    assert len(pair_rows(tokenizer, length=200)[3][0].ids) > MAX_LENGTH  # and one that is cut


@pytest.mark.parametrize("tokens", ours.BUDGETS)
@pytest.mark.parametrize("loss_type", FAMILY)
def test_the_family_of_dpo(plain, policy, tokenizer, loss_type, tokens):
    name, plain.label_smoothing, options = FAMILY[loss_type]
    plain.loss_types, plain.beta = [loss_type], 0.3
    mine = ours.step(policy, pair_rows(tokenizer), pairwise(policy, name, beta=0.3, **options), tokens=tokens)
    ours.assert_same(mine, peer.train_step(plain, rows=4))


def test_dpo_over_two_micro_batches_of_theirs_and_several_of_ours(plain, policy, tokenizer):
    mine = ours.step(policy, pair_rows(tokenizer), pairwise(policy, "dpo"), tokens=70)
    ours.assert_same(mine, peer.train_step(plain, rows=2, accumulated=2))


def test_dpo_with_the_likelihood_of_the_chosen_beside_it(plain, policy, tokenizer):
    plain.loss_types, plain.loss_weights = ["sigmoid", "sft"], [1.0, 0.5]
    units = pair_rows(tokenizer)
    tokens_a_pair = sum(sum(chosen.trained) for chosen, _ in units) / len(units)

    def objective(pack):
        now, then = ours.logprobs(policy, pack), ours.reference_logprobs(policy, pack)
        is_chosen = torch.isin(pack.row_of, torch.tensor([unit[0] for unit in pack.units]))
        likelihood = objectives.sft(now, weights=is_chosen)
        loss = objectives.dpo(ours.pairs(pack, now), ours.pairs(pack, then))
        return loss.plus(likelihood, weight=0.5, exchange=1 / tokens_a_pair)

    mine = ours.step(policy, units, objective, tokens=128)
    ours.assert_same(mine, peer.train_step(plain, rows=4))


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo"])
def test_an_answer_of_no_token_at_all(plain, policy, tokenizer, loss_type):
    """TRL's own preparation never makes one, but takes it; with IPO its mean is 0, as ours."""
    units = pair_rows(tokenizer)
    prompt = units[0][0].trained.index(True)
    units[0][1] = Row("0 nothing", units[0][0].ids[:prompt], [False] * prompt)
    plain.loss_types = [loss_type]
    plain.train_dataset = datasets.Dataset.from_list(
        [
            {
                "prompt_ids": chosen.ids[: (border := chosen.trained.index(True))],
                "chosen_ids": chosen.ids[border:],
                "rejected_ids": rejected.ids[border:],
            }
            for chosen, rejected in units
        ]
    )
    mine = ours.step(policy, units, pairwise(policy, FAMILY[loss_type][0]), tokens=128)
    ours.assert_same(mine, peer.train_step(plain, rows=4))


def drawn(seed):
    """Pairs of chance: prompts and answers of all lengths from 1, that often begin alike."""
    made = torch.Generator().manual_seed(seed)

    def some(most, words=300):
        length = int(torch.randint(1, most, (1,), generator=made))
        return torch.randint(5, words, (length,), generator=made).tolist()

    return [{"prompt_ids": some(20), "chosen_ids": some(25, 8), "rejected_ids": some(25, 8)} for _ in range(6)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("loss_type", FAMILY)
def test_the_family_of_dpo_on_pairs_of_chance(plain, policy, loss_type, seed):
    name, plain.label_smoothing, options = FAMILY[loss_type]
    plain.loss_types = [loss_type]
    records = drawn(seed)
    plain.train_dataset = datasets.Dataset.from_list(records)
    units = [
        [
            Row(
                f"{number} {side}",
                record["prompt_ids"] + record[side],
                [False] * len(record["prompt_ids"]) + [True] * len(record[side]),
            )
            for side in ("chosen_ids", "rejected_ids")
        ]
        for number, record in enumerate(records)
    ]
    mine = ours.step(policy, units, pairwise(policy, name, **options), tokens=60 + 10 * seed)
    ours.assert_same(mine, peer.train_step(plain, rows=6))


def test_a_run_that_goes_on_from_another_has_that_one_as_its_reference(
    start, follower, policy, tokenizer, tmp_path_factory
):
    base = AutoModelForCausalLM.from_pretrained(start.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(start.other), is_trainable=True)
    settings = peer.settings(DPOConfig, tmp_path_factory.mktemp("follows"), max_length=MAX_LENGTH)
    trainer = peer.make_trainer(DPOTrainer, start, settings, RECORDS, model=model)
    theirs = peer.train_step(trainer, rows=4)
    mine = ours.step(follower, pair_rows(tokenizer), pairwise(follower, "dpo"), tokens=128)
    ours.assert_same(mine, theirs)
    of_the_base = ours.step(policy, pair_rows(tokenizer), pairwise(policy, "dpo"), tokens=128)
    assert of_the_base.loss != pytest.approx(mine.loss, rel=1e-2)


@pytest.fixture(scope="module")
def simpo(start, tmp_path_factory):
    options = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "max_length": MAX_LENGTH}
    return peer.make_trainer(
        CPOTrainer, start, peer.settings(CPOConfig, tmp_path_factory.mktemp("simpo"), **options), RECORDS
    )


def without_reference(policy, name, **options):
    def objective(pack):
        return getattr(objectives, name)(ours.pairs(pack, ours.logprobs(policy, pack)), **options)

    return objective


@pytest.mark.parametrize("tokens", ours.BUDGETS)
def test_simpo_when_cpo_is_told_to_add_no_likelihood(simpo, policy, tokenizer, tokens):
    objective = without_reference(policy, "simpo", beta=2.0, gamma=1.0)
    mine = ours.step(policy, pair_rows(tokenizer), objective, tokens=tokens)
    ours.assert_same(mine, peer.train_step(simpo, rows=4))
    ours.assert_same(mine, peer.train_step(simpo, rows=2, accumulated=2))


def test_cpos_default_adds_the_likelihood_of_the_chosen_to_simpo(simpo, policy, tokenizer):
    units = pair_rows(tokenizer)
    tokens_a_pair = sum(sum(chosen.trained) for chosen, _ in units) / len(units)

    def objective(pack):
        now = ours.logprobs(policy, pack)
        is_chosen = torch.isin(pack.row_of, torch.tensor([unit[0] for unit in pack.units]))
        loss = objectives.simpo(ours.pairs(pack, now), beta=2.0, gamma=1.0)
        return loss.plus(objectives.sft(now, weights=is_chosen), exchange=1 / tokens_a_pair)

    simpo.cpo_alpha = CPOConfig.cpo_alpha
    assert simpo.cpo_alpha == 1.0
    try:
        ours.assert_same(ours.step(policy, units, objective, tokens=128), peer.train_step(simpo, rows=4))
    finally:
        simpo.cpo_alpha = 0.0


@pytest.fixture(scope="module")
def orpo(start, tmp_path_factory):
    settings = peer.settings(ORPOConfig, tmp_path_factory.mktemp("orpo"), beta=0.2, max_length=MAX_LENGTH)
    return peer.make_trainer(ORPOTrainer, start, settings, RECORDS)


def with_whole_chosen(units):
    """Each pair with its chosen row once more, all tokens trained but the first: the shared ones are computed once."""
    return [
        [chosen, rejected, Row(f"{chosen.name}, whole", chosen.ids, [False] + [True] * (len(chosen.ids) - 1))]
        for chosen, rejected in units
    ]


def orpo_as_trl(policy, tokens_a_pair):
    """Its likelihood covers prompt and answer, a mean over the step's tokens."""

    def objective(pack):
        values = ours.logprobs(policy, pack)
        whole = pack.ragged.sum(values)[[unit[2] for unit in pack.units]]
        return objectives.orpo(ours.pairs(pack, values), beta=0.2, nll=-whole / tokens_a_pair)

    return objective


@pytest.mark.parametrize("tokens", ours.BUDGETS)
def test_orpo_with_the_likelihood_of_the_prompt_too_as_trl_takes_it(orpo, policy, tokenizer, tokens):
    units = with_whole_chosen(pair_rows(tokenizer))
    tokens_a_pair = sum(sum(unit[2].trained) for unit in units) / len(units)
    mine = ours.step(policy, units, orpo_as_trl(policy, tokens_a_pair), tokens=tokens)
    ours.assert_same(mine, peer.train_step(orpo, rows=4))


def test_trls_orpo_depends_on_its_micro_batches_and_ours_does_not(orpo, policy, tokenizer):
    """A mean of means over tokens is not the mean: theirs of two halves is ours of each half, not ours of the whole."""
    units = with_whole_chosen(pair_rows(tokenizer))
    tokens_a_pair = sum(sum(unit[2].trained) for unit in units) / len(units)
    theirs = peer.train_step(orpo, rows=2, accumulated=2)
    whole = ours.step(policy, units, orpo_as_trl(policy, tokens_a_pair), tokens=128)
    assert whole.loss != pytest.approx(theirs.loss, rel=1e-3)
    halves = []
    for half in (units[:2], units[2:]):
        of_half = sum(sum(unit[2].trained) for unit in half) / len(half)
        halves.append(ours.step(policy, half, orpo_as_trl(policy, of_half), tokens=128))
    assert theirs.loss == pytest.approx(sum(half.loss for half in halves) / 2, rel=1e-4)


def test_orpo_of_the_paper_has_the_likelihood_of_the_answer_alone(orpo, policy, tokenizer):
    """What the option of the two tests above is for: without it our likelihood is another number than TRL's."""
    mine = ours.step(policy, pair_rows(tokenizer), without_reference(policy, "orpo", beta=0.2), tokens=128)
    assert mine.loss != pytest.approx(peer.train_step(orpo, rows=4).loss, rel=1e-3)


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_an_answer_cut_down_to_nothing_is_nan_in_trl_and_a_number_here(name, request, policy, tokenizer):
    trainer = request.getfixturevalue(name)
    prepared = trainer.train_dataset
    units = pair_rows(tokenizer)
    prompt = units[0][0].trained.index(True)
    try:
        trainer.train_dataset = prepared.map(
            lambda row, number: (
                row
                if number
                else {
                    "rejected_input_ids": row["rejected_input_ids"][:prompt],
                    "rejected_attention_mask": row["rejected_attention_mask"][:prompt],
                    "rejected_labels": row["rejected_labels"][:prompt],
                }
            ),
            with_indices=True,
        )
        theirs = peer.train_step(trainer, rows=4)
    finally:
        trainer.train_dataset = prepared
    units[0][1] = Row("0 nothing", units[0][0].ids[:prompt], [False] * prompt)
    mine = ours.step(policy, units, without_reference(policy, name), tokens=128)
    assert math.isnan(theirs.loss)
    assert math.isfinite(mine.loss)
