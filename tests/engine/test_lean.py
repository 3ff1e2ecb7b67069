"""Lean adapted layers give what the adapter library gives, and leave to it what is not the plain case."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import nn

from training.engine import lean


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 10, bias=True)
        self.two = nn.Linear(10, 4, bias=False)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


def make_model(**options):
    torch.manual_seed(0)
    model = get_peft_model(Small().double(), LoraConfig(r=3, lora_alpha=5, target_modules=["one", "two"], **options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter.data, dtype=torch.float64)
    return model


def everything(model, x):
    x = x.clone().requires_grad_()
    torch.manual_seed(2)
    found = model(x)
    model.zero_grad(set_to_none=True)
    (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    return [found.detach(), x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.fixture
def products(monkeypatch):
    """How often the lean product was used."""
    calls = []
    whole = lean._Product.apply
    monkeypatch.setattr(lean._Product, "apply", lambda *given: calls.append(1) or whole(*given))
    return calls


X = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_values_and_gradients_are_the_librarys(products):
    theirs = everything(make_model(), X)
    model = make_model()
    lean.make_lean(model)
    assert_same(everything(model, X), theirs)
    assert len(products) == 2


def test_an_adapter_that_is_switched_off_leaves_the_base_to_the_bit():
    model = make_model()
    lean.make_lean(model)
    with model.disable_adapter():
        found = model(X)
    assert torch.equal(found, Small.forward(base_of(model), X))


def base_of(model):
    torch.manual_seed(0)
    return Small().double()


def test_an_adapter_whose_second_half_is_zero_changes_nothing_to_the_bit():
    model = make_model()
    lean.make_lean(model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    assert torch.equal(model(X), base_of(model)(X))


@pytest.mark.parametrize("case", ["dropout", "two adapters", "trained base", "merged"])
def test_what_is_not_the_plain_case_goes_the_librarys_way(case, products):
    def prepare(model):
        if case == "two adapters":
            model.add_adapter("other", LoraConfig(r=2, target_modules=["one", "two"]))
            model.base_model.set_adapter(["default", "other"])
        if case == "trained base":
            for module in model.modules():
                if type(module) is Linear:
                    module.base_layer.weight.requires_grad_()
        if case == "merged":
            model.merge_adapter()
        return model.train()

    options = {"lora_dropout": 0.5} if case == "dropout" else {}
    theirs = everything(prepare(make_model(**options)), X)
    model = prepare(make_model(**options))
    lean.make_lean(model)
    assert_same(everything(model, X), theirs)
    assert not products


def test_dropout_that_is_not_at_work_is_the_plain_case(products):
    theirs = everything(make_model(lora_dropout=0.5).eval(), X)
    model = make_model(lora_dropout=0.5).eval()
    lean.make_lean(model)
    assert_same(everything(model, X), theirs)
    assert products


def test_an_adapter_that_does_not_learn_gets_no_gradient():
    model = make_model()
    lean.make_lean(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    everything(model, X)
    assert {name.split(".")[-3] for name, p in model.named_parameters() if p.grad is not None} == {"lora_B"}


def test_a_gated_mlp_gives_what_it_gave_and_keeps_less_for_backward():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    torch.manual_seed(0)
    mlp = LlamaMLP(LlamaConfig(hidden_size=6, intermediate_size=9, num_attention_heads=1)).double()
    kept = []

    def measured():
        kept.append(0)

        def keep(one):
            kept[-1] += one.numel() if one.shape[-1] == 9 and one.ndim == 3 else 0
            return one

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            return everything(mlp, X)

    theirs = measured()
    lean.make_lean(mlp)
    assert_same(measured(), theirs)
    assert kept[1] < kept[0]


def test_a_norm_gives_what_it_gave():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(6).requires_grad_(False)
    norm.weight.data = torch.linspace(0.5, 2, 6)
    x = 3 * X.float()
    theirs = everything(norm, x)
    lean.make_lean(norm)
    assert "forward" in vars(norm)
    for one, other in zip(everything(norm, x), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_norm_that_is_trained_goes_its_own_way():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(6)
    theirs = everything(norm, X.float())
    lean.make_lean(norm)
    assert_same(everything(norm, X.float()), theirs)
    assert norm.weight.grad is not None
