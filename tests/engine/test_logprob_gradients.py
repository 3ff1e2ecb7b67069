"""Gradients of completion log-probs: formed with the chunk's logits, streamed over the vocabulary or recomputed, they
are those of whole logits.
"""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from training.engine import logprobs
from training.engine.logprobs import _Formed, _recomputed, _Streamed, causal_model, completion_logprobs, logits_of
from training.engine.packs import Row, lay_out

PROMPT = [5, 6, 7, 8, 9]
UNIT = [
    Row("a", [*PROMPT, 1, 2, 3], [False] * 5 + [True] * 3),
    Row("b", [*PROMPT, 4, 4], [False] * 5 + [True, False]),
    Row("c", PROMPT, [False] * 5),  # nothing to train on
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks of the vocabulary, the last one smaller."""
    monkeypatch.setattr(logprobs, "WORDS", 7)


def make_model(*, frozen_head: bool = True, bias: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=31,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    ).eval()
    if bias:
        model.lm_head = torch.nn.Linear(32, 31)
    model.lm_head.requires_grad_(not frozen_head)
    return model


def of_whole_logits(model, temperature, entropy_weight=0.0):
    """The same figures from [batch, length, vocabulary] and plain autograd."""
    values, spreads = [], []
    for row in UNIT:
        hidden = causal_model(model).get_decoder()(torch.tensor([row.ids])).last_hidden_state
        logs = (logits_of(model)(hidden)[0].float() / temperature).log_softmax(-1)
        for place, trained in enumerate(row.trained):
            if trained:
                values.append(logs[place - 1, row.ids[place]])
                spreads.append(-(logs[place - 1].exp() * logs[place - 1]).sum())
    return torch.stack(values), torch.stack(spreads)


def gradients(model, total):
    model.zero_grad(set_to_none=True)
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(
            grad, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("case", ["frozen", "trained", "bias and soft cap", "soft cap", "bias", "scaled", "divided"])
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_the_gradient_is_that_of_whole_logits(case, temperature, chunk):
    model = make_model(frozen_head=case != "trained", bias="bias" in case)
    if "soft cap" in case:
        model.config.final_logit_softcapping = 0.5
    if case == "scaled":
        model.config.logit_scale = 3.0
    if case == "divided":
        model.config.logits_scaling = 3.0
    upstream = torch.tensor([0.3, -2.0, 1.0, 0.5])
    found = completion_logprobs(model, lay_out([UNIT]), temperature=temperature, chunk=chunk).values
    ours = gradients(model, (found * upstream).sum())
    expected, _ = of_whole_logits(model, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_same(ours, gradients(model, (expected * upstream).sum()))


def test_an_adapter_on_the_head_is_honoured_and_trained():
    model = get_peft_model(make_model(), LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    found = completion_logprobs(model, lay_out([UNIT])).values
    ours = gradients(model, found.sum())
    expected, _ = of_whole_logits(model, 1.0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    theirs = gradients(model, expected.sum())
    assert any("lm_head" in name for name in theirs)
    assert_same(ours, theirs)


def test_the_entropy_of_a_bonus_has_its_gradient_and_the_one_of_a_figure_none():
    model = make_model()
    figure = completion_logprobs(model, lay_out([UNIT]), entropy=True, temperature=0.8)
    bonus = completion_logprobs(model, lay_out([UNIT]), entropy="differentiable", temperature=0.8)
    assert not figure.entropy.requires_grad
    _, expected = of_whole_logits(model, 0.8)
    torch.testing.assert_close(figure.entropy, expected.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(
        figure.values, bonus.values
    )  # a first ratio of exactly 1, also where only one of them has a bonus
    torch.testing.assert_close(bonus.entropy, expected.detach(), rtol=1e-5, atol=1e-5)
    assert_same(gradients(model, bonus.entropy.sum()), gradients(model, expected.sum()))


def test_the_entropy_of_a_bonus_has_its_gradient_beside_that_of_the_log_probs():
    model, upstream = make_model(), torch.tensor([0.3, -2.0, 1.0, 0.5])
    found = completion_logprobs(model, lay_out([UNIT]), entropy="differentiable", temperature=0.8)
    ours = gradients(model, (found.values * upstream).sum() + 0.7 * (found.entropy * upstream.flip(0)).sum())
    values, spread = of_whole_logits(model, 0.8)
    assert_same(ours, gradients(model, (values * upstream).sum() + 0.7 * (spread * upstream.flip(0)).sum()))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_pack_with_nothing_to_train_on_has_an_empty_gradient(frozen):
    model = make_model(frozen_head=frozen)
    found = completion_logprobs(model, lay_out([Row("empty", PROMPT, [False] * 5)]), entropy=True)
    assert found.values.shape == found.entropy.shape == (0,)
    found.values.sum().backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.parameters())


def test_no_more_logits_exist_at_one_time_than_a_chunk_of_them():
    """Neither forward nor backward: the head is called with `chunk` rows at most, and for a frozen one once a chunk."""
    for frozen in (True, False):
        model = make_model(frozen_head=frozen, bias=True)
        calls = []
        model.lm_head.register_forward_hook(lambda head, given, made, calls=calls: calls.append(given[0].shape[0]))
        completion_logprobs(model, lay_out([UNIT]), chunk=3).values.sum().backward()
        assert calls == ([2, 2] if frozen else [2, 2, 2, 2])  # four tokens, in chunks of like size


def test_a_plain_head_is_never_called_and_no_more_scores_exist_than_of_a_block_of_the_vocabulary():
    model, made = make_model(), []
    model.lm_head.register_forward_hook(lambda *given: made.append("head"))
    completion_logprobs(model, lay_out([UNIT]))
    assert made  # somebody watches the head: then it is called
    model = make_model()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            several = found if isinstance(found, tuple | list) else (found,)
            made.extend(one.shape[-1] for one in several if one.ndim == 2)
            return found

    pack = lay_out([UNIT])
    hidden = logprobs.hidden_states(model, pack, at=pack.before).detach().requires_grad_()
    made.clear()
    with Watch():
        completion_logprobs(model, pack, hidden=hidden).values.sum().backward()
    assert 31 not in made
    assert 7 in made


def test_the_ways_agree_in_double_precision():
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 19, bias=False).double().requires_grad_(False)
    tokens = torch.randint(19, (7,))
    hidden = torch.randn(7, 8, dtype=torch.float64)
    weights = torch.randn(7)
    grads = []
    for way in (
        lambda h: _Formed.apply(h, tokens, head, 1.0, False, 3)[0],
        lambda h: _Streamed.apply(h, tokens, head.weight, 1.0, False, False)[0],
        lambda h: _recomputed(h, tokens, head, 1.0, False, 3).values,
    ):
        own = hidden.clone().requires_grad_()
        (way(own) * weights).sum().backward()
        grads.append(own.grad)
    for grad in grads[1:]:
        torch.testing.assert_close(grad, grads[0], rtol=1e-5, atol=1e-6)
