"""Whole decoder layers as one node of the graph give what the model's own layers give, and leave to them the rest."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from training.engine import layers
from training.engine.logprobs import completion_logprobs
from training.engine.packs import Row, lay_out

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama with biases": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "mistral": (MistralConfig, MistralForCausalLM, {"head_dim": 8}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
}
PROMPT = [5, 6, 7, 8, 9, 10]
UNITS = [
    [
        Row("a", [*PROMPT, 1, 2, 3, 4], [False] * 6 + [True] * 4),
        Row("b", [*PROMPT, 4, 4], [False] * 6 + [True] * 2),  # shares the place before its first answer token with a
    ],
    Row("c", [11, 12, 13, 14, 15], [False] * 2 + [True] * 3),
]


def make_model(kind="llama", *, targets="all-linear", **lora):
    config, of_kind, more = KINDS[kind]
    torch.manual_seed(0)
    base = of_kind(
        config(
            vocab_size=31,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
            attn_implementation="sdpa",
            **more,
        )
    )
    for name, parameter in base.named_parameters():  # norms and biases that do something
        if "norm" in name or name.endswith("bias"):
            parameter.data = torch.randn_like(parameter) * 0.3 + ("norm" in name)
    model = get_peft_model(base, LoraConfig(r=3, lora_alpha=5, target_modules=targets, **lora))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.2
    return model


def everything(model):
    """Log-probabilities and the gradients of a fixed sum of them."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    values = completion_logprobs(model, lay_out(UNITS)).values
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return {"values": values.detach()} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture
def whole(monkeypatch):
    """How many layers were computed whole."""
    calls = []
    apply = layers._Whole.apply
    monkeypatch.setattr(layers._Whole, "apply", lambda *given: calls.append(1) or apply(*given))
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_every_gradient_are_the_models_own(kind, whole):
    model = make_model(kind).train()
    theirs = everything(model)
    assert not whole
    layers.make_lean_layers(model)
    assert_same(everything(model), theirs)
    assert len(whole) == 3


def test_projections_without_an_adapter_are_computed_too(whole):
    theirs = everything(make_model(targets=["q_proj", "down_proj"]))
    model = make_model(targets=["q_proj", "down_proj"])
    layers.make_lean_layers(model)
    assert_same(everything(model), theirs)
    assert whole


def test_with_the_adapter_off_or_at_zero_the_base_speaks_to_the_bit():
    model = make_model()
    layers.make_lean_layers(model)
    with torch.no_grad(), model.disable_adapter():
        off = completion_logprobs(model, lay_out(UNITS)).values
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    assert torch.equal(completion_logprobs(model, lay_out(UNITS)).values, off)


@pytest.mark.parametrize("case", ["dropout", "trained base", "hook", "trained norm", "two adapters"])
def test_what_is_not_the_plain_case_goes_the_models_own_way(case, whole):
    def prepare(lean):
        model = make_model(**({"lora_dropout": 0.5} if case == "dropout" else {}))
        if case == "two adapters":
            torch.manual_seed(5)
            model.add_adapter("more", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
            model.base_model.set_adapter(["default", "more"])
        if lean:
            layers.make_lean_layers(model)
        for name, module in model.named_modules():
            if case == "trained base" and name.endswith("mlp.up_proj.base_layer"):
                module.weight.requires_grad_()
            if case == "hook" and name.endswith("mlp.up_proj"):
                module.register_forward_hook(lambda module, given, found: 2 * found)
            if case == "trained norm" and name.endswith("input_layernorm"):
                module.weight.requires_grad_()
        return model.train()

    model, theirs = prepare(True), everything(prepare(False))
    assert_same(everything(model), theirs)
    whole.clear()  # a first use looks at the model in evaluation mode, where dropout is not at work
    everything(model)
    assert not whole


def test_an_adapter_that_does_not_learn_gets_no_gradient():
    model = make_model()
    layers.make_lean_layers(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    assert {name.split(".")[-3] for name in everything(model) if name != "values"} == {"lora_B"}


def test_layers_made_again_in_backward_give_the_same():
    theirs = everything(make_model().train())
    model = make_model().train()
    layers.make_lean_layers(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    assert_same(everything(model), theirs)


def test_less_is_kept_for_backward():
    def kept(model):
        weights = {parameter.data_ptr() for parameter in model.parameters()}
        completion_logprobs(model, lay_out(UNITS))  # the first use, which looks whether a forest can be taken
        found = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one: found.setdefault(one.data_ptr(), one), lambda one: one
        ):
            completion_logprobs(model, lay_out(UNITS))
        return sum(one.numel() for place, one in found.items() if place not in weights)

    theirs, model = kept(make_model()), make_model()
    layers.make_lean_layers(model)
    assert kept(model) < 0.7 * theirs


def test_a_model_of_another_kind_is_left_alone():
    model = nn.Sequential(nn.Linear(3, 3))
    layers.make_lean_layers(model)
    assert "forward" not in vars(model[0])
