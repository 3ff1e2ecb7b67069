"""Several adapters on one base, and all weights trained: who learns, who does not, and what the reference is."""

import math

import pytest
import torch

from training.engine.heads import ScoreHead, row_scores, values
from training.engine.logprobs import completion_logprobs
from training.engine.objectives import PairLogprobs, dpo
from training.engine.packs import Row, lay_out, micro_batches
from training.engine.policy import Lora, Policy, ReferenceGone, log_ratios, reference_logprobs
from training.engine.tokens import render_chat

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]


def row(policy, name="r", answer="Open the flap."):
    chat = render_chat(policy.tokenizer, ASK, response=answer)
    return Row(name, chat.ids, chat.completion_mask)


def storages(*models):
    """Bytes held, each memory counted once."""
    found = {}
    for model in models:
        for parameter in model.parameters():
            found[parameter.untyped_storage().data_ptr()] = parameter.untyped_storage().nbytes()
    return sum(found.values())


def learned(parameters):
    return [parameter.grad is not None and bool(parameter.grad.abs().sum()) for parameter in parameters]


def stir(parameters):
    """Values of their own, so that no adapter is the zero that a fresh one is."""
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.05)


def test_policy_reference_critic_and_reward_hold_one_copy_of_the_base(base, tmp_path):
    Policy.load(base, lora=Lora(rank=2), seed=1).save(tmp_path)
    plain = Policy.open(base, None)
    policy = Policy.load(base, parent=tmp_path, adapters=("critic", "reward"), frozen=("reward",), lora=Lora(rank=2))
    adapters = sum(p.untyped_storage().nbytes() for name, p in policy.model.named_parameters() if "lora_" in name)
    assert adapters > 0
    assert storages(policy.model) == storages(plain.model) + adapters
    with policy.as_reference() as reference:
        assert storages(policy.model, reference) == storages(policy.model)


def test_gradients_land_only_in_the_adapter_that_was_active(base):
    policy = Policy.load(base, lora=Lora(rank=2), adapters=("critic", "reward"), frozen=("reward",), seed=0)
    head = ScoreHead(policy.model.config.hidden_size)
    for parameter in (*policy.parameters, *policy.parameters_of("critic"), *head.parameters()):
        torch.nn.init.normal_(parameter, std=0.05)
    pack = lay_out([row(policy)])
    with policy.adapter("critic") as critic:
        guess = values(critic, head, pack)
    guess.square().sum().backward()
    assert all(learned(policy.parameters_of("critic")))
    assert not any(learned(policy.parameters))
    policy.model.zero_grad()
    completion_logprobs(policy.model, pack).values.sum().backward()
    assert all(learned(policy.parameters))
    assert not any(learned(policy.parameters_of("critic")))
    policy.model.zero_grad()
    with policy.adapter("reward") as reward:
        (row_scores(reward, head, pack).sum() + 0 * head.linear.weight.sum()).backward()
    assert policy.parameters_of("reward") == []
    assert not any(learned(policy.model.parameters()))


def test_policy_and_critic_learn_in_one_backward(base):
    """The critic's forward pass leaves the context before the gradients flow."""
    policy = Policy.load(base, lora=Lora(rank=2), adapters=("critic",))
    head = ScoreHead(policy.model.config.hidden_size)
    stir([*policy.parameters, *policy.parameters_of("critic"), *head.parameters()])
    pack = lay_out([row(policy)])
    with policy.adapter("critic") as critic:
        guess = values(critic, head, pack)
    with policy.as_reference() as reference:
        then = completion_logprobs(reference, pack).values
    ((completion_logprobs(policy.model, pack).values - then).sum() + guess.sum()).backward()
    assert all(learned(policy.parameters))
    assert all(learned(policy.parameters_of("critic")))


def test_each_adapter_computes_its_own_and_comes_back_from_its_folder(base, tmp_path):
    policy = Policy.load(base, lora=Lora(rank=2), adapters=("critic",), seed=4)
    fresh = [p.clone() for p in policy.parameters], [p.clone() for p in policy.parameters_of("critic")]
    assert not torch.equal(fresh[0][0], fresh[1][0])  # drawn from seeds of their own
    stir([*policy.parameters, *policy.parameters_of("critic")])
    pack = lay_out([row(policy)])

    def three(one):
        one.model.eval()
        with torch.no_grad():
            own = completion_logprobs(one.model, pack).values
            with one.adapter("critic") as critic:
                critics = completion_logprobs(critic, pack).values
            with one.as_reference() as reference:
                return own, critics, completion_logprobs(reference, pack).values

    here = three(policy)
    assert not torch.equal(here[0], here[1])
    assert not torch.equal(here[1], here[2])
    policy.save(tmp_path)
    policy.save(tmp_path, adapter="critic")
    again = Policy.load(base, parent=tmp_path, adapters={"critic": tmp_path / "critic"})
    there = three(again)
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])
    assert torch.equal(here[0], there[2])  # the parent is the reference now, not the base


def test_a_checkpoint_holds_the_critic_and_neither_parent_nor_frozen_ones(base, tmp_path):
    Policy.load(base, lora=Lora(rank=2)).save(tmp_path)
    policy = Policy.load(base, parent=tmp_path, adapters=("critic", "reward"), frozen=("reward",), lora=Lora(rank=2))
    with policy.as_reference(), policy.adapter("critic"):
        pass  # switching to and fro changes nothing of it
    kinds = {part for name in policy.state_dict() for part in name.split(".") if part in policy.model.peft_config}
    assert kinds == {"default", "critic"}
    assert policy.model.active_adapters == ["default"]


def test_a_name_that_is_taken_or_missing_is_refused(base):
    with pytest.raises(ValueError, match="parent: that name is taken"):
        Policy.load(base, adapters=("parent",))
    with pytest.raises(ValueError, match="no adapter judge"):
        with Policy.load(base, lora=Lora(rank=2)).adapter("judge"):
            pass


def test_without_dropout_the_ratio_is_one_and_gradients_still_flow(base):
    policy = Policy.load(base, lora=Lora(rank=2, dropout=0.5))
    stir(policy.parameters)
    policy.model.train()
    pack = lay_out([row(policy)])
    with policy.without_dropout() as still, torch.no_grad():
        old = completion_logprobs(still, pack).values
    assert not torch.equal(completion_logprobs(policy.model, pack).values, old)
    with policy.without_dropout() as still:
        new = completion_logprobs(still, pack).values
        new.sum().backward()
    assert torch.equal((new.detach() - old).exp(), torch.ones_like(old))
    assert all(learned(policy.parameters))
    assert policy.model.training


@pytest.mark.parametrize("continues", [False, True])
def test_at_step_0_the_kl_is_exactly_0_and_dpo_exactly_ln_2(base, tmp_path, continues):
    """With gradients on, by the packs that training uses: what a recipe's first step computes."""
    policy = Policy.load(base, lora=Lora(rank=2), seed=5)
    if continues:
        stir(policy.parameters)
        policy.save(tmp_path)
        policy = Policy.load(base, parent=tmp_path)
    policy.model.train()
    pair = [row(policy, "chosen"), row(policy, "rejected", answer="No idea, and who cares? Ask them 💧.")]
    known = reference_logprobs(policy, [pair], tokens=400)
    (pack,) = micro_batches([pair], tokens=400)
    now = completion_logprobs(policy.model, pack).values
    assert now.requires_grad
    then = torch.tensor([value for of_row in known for value in of_row])
    assert torch.equal(now.detach(), then)
    first, second = torch.tensor([0]), torch.tensor([1])
    ours, theirs = (PairLogprobs.of(one, pack.ragged, chosen=first, rejected=second) for one in (now, then))
    loss = dpo(ours, theirs, beta=0.1)
    assert loss.total.item() / loss.count.item() == torch.tensor(math.log(2)).item()
    assert log_ratios(policy, pair, tokens=400) == [0.0, 0.0]


# --- all weights


def test_when_all_weights_are_trained_the_reference_is_taken_before_they_move(base):
    policy = Policy.load(base, full=True)
    assert len(policy.parameters) == len(list(policy.model.parameters()))
    one = row(policy)
    known = reference_logprobs(policy, [one], tokens=400)
    assert completion_logprobs(policy.model, lay_out([one])).values.tolist() == known[0]
    optimizer = torch.optim.AdamW(policy.parameters, lr=1e-4)
    (-completion_logprobs(policy.model, lay_out([one])).values.sum()).backward()
    optimizer.step()
    with pytest.raises(ReferenceGone, match="before the first step"):
        reference_logprobs(policy, [one], tokens=400)
    assert completion_logprobs(policy.model, lay_out([one])).values.sum().item() > sum(known[0])


def test_or_a_frozen_copy_in_half_precision_stands_for_it(base):
    policy = Policy.load(base, full=True, reference="half")
    one = row(policy)
    before = reference_logprobs(policy, [one], tokens=400)
    own = completion_logprobs(policy.model, lay_out([one])).values
    assert before[0] == pytest.approx(own.tolist(), abs=0.5)
    assert before[0] != own.tolist()  # half precision is not the same to the bit, and is not said to be
    stir(policy.parameters)
    assert reference_logprobs(policy, [one], tokens=400) == before
    with policy.as_reference() as reference:
        assert not any(parameter.requires_grad for parameter in reference.parameters())
        assert storages(reference) * 2 == storages(policy.model)


def test_a_whole_model_is_saved_opened_and_continued_like_an_adapter(base, tmp_path):
    policy = Policy.load(base, full=True)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.mul_(1.01)
    policy.save(tmp_path)
    pack = lay_out([row(policy)])
    expected = completion_logprobs(policy.model, pack).values
    opened = Policy.open(base, tmp_path)
    torch.testing.assert_close(completion_logprobs(opened.model, pack).values, expected, rtol=1e-6, atol=1e-6)
    assert opened.tokenizer.chat_template == policy.tokenizer.chat_template
    child = Policy.load(base, parent=tmp_path, lora=Lora(rank=2))
    assert log_ratios(child, [row(child)], tokens=400) == [0.0]
    with child.as_reference() as reference:
        torch.testing.assert_close(completion_logprobs(reference, pack).values, expected, rtol=1e-6, atol=1e-6)


def test_all_weights_are_not_trained_beside_adapters_or_in_half_precision(base, tmp_path):
    for options in ({"adapters": ("critic",)}, {"precision": "bf16"}, {"parent": tmp_path}):
        with pytest.raises(ValueError, match="whole model in fp32"):
            Policy.load(base, full=True, **options)
