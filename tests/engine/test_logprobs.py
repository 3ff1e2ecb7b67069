"""Log-probabilities, packs and the loop: what is computed does not depend on how rows are laid out or split."""

import math

import pytest
import torch
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from training.engine.logprobs import completion_logprobs
from training.engine.loop import Loop, NotFinite, batches, rate_at, steps_of
from training.engine.objectives import Loss, sft, token_classification
from training.engine.packs import Row, TooLong, lay_out, micro_batches

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SIZES)),
}


def make_model(family="llama"):
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


def make_rows(count=8, seed=0):
    chance = torch.Generator().manual_seed(seed)
    rows = []
    for index in range(count):
        prompt, answer = (int(torch.randint(1, 12, (), generator=chance)) for _ in range(2))
        ids = torch.randint(3, 97, (prompt + answer,), generator=chance).tolist()
        rows.append(Row(f"row {index}", ids, [False] * prompt + [True] * answer))
    return rows


def by_hand(model, row):
    """log p of a row's trained tokens from the model's whole logits, one row alone."""
    logs = model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
    return [float(logs[place - 1, row.ids[place]]) for place, trained in enumerate(row.trained) if trained]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_in_any_pack_has_the_log_probabilities_of_the_row_alone(family):
    model, rows = make_model(family), make_rows()
    for chunk in (1, 7, 512):
        found = completion_logprobs(model, lay_out(rows), chunk=chunk).values.tolist()
        assert found == pytest.approx([value for row in rows for value in by_hand(model, row)], abs=2e-5)


def test_entropy_is_that_of_the_whole_next_token_distribution():
    model, (row, *_) = make_model(), make_rows()
    logs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    expected = [-(logs[i - 1].exp() * logs[i - 1]).sum().item() for i, trained in enumerate(row.trained) if trained]
    assert completion_logprobs(model, lay_out([row]), entropy=True).entropy.tolist() == pytest.approx(
        expected, abs=1e-5
    )


def test_the_sampling_temperature_divides_the_logits():
    model, (row, *_) = make_model(), make_rows()
    hot = completion_logprobs(model, lay_out([row]), temperature=1e6).values
    assert hot.tolist() == pytest.approx([-math.log(97)] * sum(row.trained), abs=1e-4)


def test_a_soft_cap_and_a_bias_after_the_head_are_honoured():
    model, (row, *_) = make_model(), make_rows()
    plain = completion_logprobs(model, lay_out([row])).values
    model.config.final_logit_softcapping = 0.01
    capped = completion_logprobs(model, lay_out([row])).values
    assert capped.tolist() == pytest.approx([-math.log(97)] * len(plain), abs=0.02)
    del model.config.final_logit_softcapping
    model.lm_head = torch.nn.Linear(32, 97)
    torch.nn.init.zeros_(model.lm_head.weight)
    torch.nn.init.zeros_(model.lm_head.bias)
    model.lm_head.bias.data[row.ids[-1]] = 50.0
    assert completion_logprobs(model, lay_out([row])).values[-1].item() == pytest.approx(0.0, abs=1e-6)


def gradients(rows, *, tokens, split=None):
    """The gradient of one optimiser step, with rows split into calls and calls into micro-batches."""
    model = make_model()
    loop = Loop(list(model.parameters()), lr=0.1, steps=1, clip=0.0)
    for part in split or [rows]:
        loop.forward_backward(
            micro_batches(part, tokens=tokens), lambda pack: sft(completion_logprobs(model, pack).values)
        )
    count = loop._count
    flat = torch.cat([(p.grad / count).flatten() for p in model.parameters() if p.grad is not None])
    return loop.optim_step()["loss"], flat


def test_loss_and_gradient_are_the_same_for_every_split_into_micro_batches():
    rows = make_rows(8)
    loss, gradient = gradients(rows, tokens=10_000)
    splits = [None, [rows[:4], rows[4:]], [rows[i : i + 2] for i in range(0, 8, 2)], [[row] for row in rows]]
    for split in splits:
        for tokens in (24, 60, 10_000):
            other_loss, other = gradients(rows, tokens=tokens, split=split)
            assert other_loss == pytest.approx(loss, rel=1e-6)
            assert torch.allclose(other, gradient, rtol=1e-4, atol=1e-7)


def test_the_prompt_gets_no_gradient():
    model = make_model()
    row = Row("r", [5, 6, 7, 8], [False, False, False, True])
    embedded = model.get_input_embeddings()(torch.tensor([[5, 6, 7, 8]])).detach().requires_grad_()
    output = model.model(inputs_embeds=embedded).last_hidden_state
    (-model.lm_head(output)[0, 2].log_softmax(-1)[8]).backward()
    assert embedded.grad[0, 3].abs().sum() == 0  # the last token's own input predicts nothing that is trained
    found = sft(completion_logprobs(model, lay_out([row])).values)
    assert found.count.item() == 1


def test_a_step_with_nothing_to_train_on_changes_nothing():
    model = make_model()
    before = [p.clone() for p in model.parameters()]
    loop = Loop(list(model.parameters()), lr=0.1, steps=1)
    empty = [Row("r", [5, 6, 7], [False, False, False])]
    loop.forward_backward(micro_batches(empty, tokens=64), lambda pack: sft(completion_logprobs(model, pack).values))
    assert loop.optim_step()["loss"] == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_rows():
    model = make_model()
    loop = Loop(list(model.parameters()), lr=0.1, steps=1)
    with pytest.raises(NotFinite, match="nan at step 1 for row 0, row 1"):
        loop.forward_backward([lay_out(make_rows(2))], lambda pack: Loss(torch.tensor(float("nan")), torch.tensor(1.0)))


def test_a_row_longer_than_the_budget_is_refused_by_name():
    with pytest.raises(TooLong, match="answer 7 has 30 tokens and a micro-batch holds 20"):
        list(micro_batches([Row("answer 7", [1] * 30, [False] + [True] * 29)], tokens=20))


def test_every_row_is_in_exactly_one_micro_batch_within_the_budget():
    rows = make_rows(40)
    packs = list(micro_batches(rows, tokens=50))
    assert sorted(row.name for pack in packs for row in pack.rows) == sorted(row.name for row in rows)
    assert all(pack.ids.numel() <= 50 for pack in packs)


def test_an_epoch_reads_every_row_once_in_an_order_of_its_own():
    rows = make_rows(10)
    given = list(batches(rows, size=4, epochs=2, seed=1))
    assert [len(batch) for batch in given] == [4, 4, 2, 4, 4, 2]
    assert len(given) == steps_of(10, size=4, epochs=2)
    first, second = ([row.name for batch in part for row in batch] for part in (given[:3], given[3:]))
    assert sorted(first) == sorted(second) == sorted(row.name for row in rows)
    assert first != second


def test_schedules_warm_up_and_end():
    linear = [rate_at(step, steps=10, warmup=2, schedule="linear") for step in range(11)]
    assert linear[:3] == [0.5, 1.0, 1.0]
    assert linear[-1] == 0.0
    assert rate_at(6, steps=10, warmup=2, schedule="cosine") == pytest.approx(0.5)
    assert rate_at(9, steps=10, warmup=0, schedule="constant") == 1.0


# --- objectives, by hand


def test_sft_is_the_golden_number_of_the_baselines_card():
    loss = sft(torch.tensor([-0.5, -1.0, -0.25, -2.0, -0.1]))
    assert (loss.total / loss.count).item() == pytest.approx(0.77)


def test_token_classification_by_hand():
    scores = torch.zeros(2, 4)
    targets = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    loss = token_classification(scores, targets, label_weight=0.5)
    assert (loss.total / loss.count).item() == pytest.approx(math.log(3) + 0.5 * math.log(2))


def test_class_weights_move_the_share_of_a_class_but_not_the_size_of_the_loss():
    scores = torch.zeros(4, 3)
    targets = torch.tensor([[1.0, 0, 0]] + [[0, 1.0, 0]] * 3)
    weighted = token_classification(scores, targets, class_weights=[3.0, 1.0, 1.0])
    assert weighted.count.item() == 6.0
    assert (weighted.total / weighted.count).item() == pytest.approx(math.log(3))
    scores.requires_grad_()
    token_classification(scores, targets, class_weights=[3.0, 1.0, 1.0]).total.backward()
    assert scores.grad[0, 0].item() == pytest.approx(-2.0)  # 3 * (1/3 - 1)
    assert scores.grad[1, 1].item() == pytest.approx(-2 / 3)


def test_soft_targets_of_several_annotators_have_their_mean_as_optimum():
    targets = torch.tensor([[0.75, 0.25, 0.0]])
    scores = torch.tensor([[0.75, 0.25, 1e-9]]).log().requires_grad_()
    token_classification(scores, targets).total.backward()
    assert scores.grad.abs().max() < 1e-6
