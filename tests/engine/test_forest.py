"""Forests: what rows share is computed once, and nothing else changes."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from training.engine import attention
from training.engine.forest import LEAST_SHARED, Tree
from training.engine.logprobs import completion_logprobs
from training.engine.packs import Budget, Pack, Row, TooLong, lay_out, micro_batches

TOKENS = 24  # a small vocabulary, so that rows often begin alike


def tiny(seed: int = 0, **options: object) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        **options,
    )
    return LlamaForCausalLM(config).double().eval()


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny()


def row(name: str, prompt: list[int], completion: list[int]) -> Row:
    return Row(name, [*prompt, *completion], [False] * len(prompt) + [True] * len(completion))


def alone(model: LlamaForCausalLM, one: Row) -> list[float]:
    """Plain transformers on one row: no pack, no forest, no engine."""
    logits = model(input_ids=torch.tensor([list(one.ids)])).logits[0].log_softmax(-1)
    return [float(logits.detach()[place - 1, one.ids[place]]) for place, trained in enumerate(one.trained) if trained]


ids = st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=14)
completions = st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=5)
forests = st.lists(st.tuples(ids, completions), min_size=1, max_size=4)


def units_of(drawn: list[tuple[list[int], list[list[int]]]]) -> list[list[Row]]:
    return [
        [row(f"{tree}.{number}", prompt, completion) for number, completion in enumerate(tails)]
        for tree, (prompt, tails) in enumerate(drawn)
    ]


@settings(max_examples=60, deadline=None)
@given(drawn=forests)
def test_any_forest_gives_the_log_probs_of_each_row_alone(
    model: LlamaForCausalLM, drawn: list[tuple[list[int], list[list[int]]]]
) -> None:
    units = units_of(drawn)
    pack = lay_out(units)
    found = completion_logprobs(model, pack).values
    expected = [value for one in pack.rows for value in alone(model, one)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert [pack.rows[number].name for unit in pack.units for number in unit] == [one.name for u in units for one in u]


@settings(max_examples=25, deadline=None)
@given(drawn=forests)
def test_any_forest_gives_the_gradients_of_the_rows_alone(drawn: list[tuple[list[int], list[list[int]]]]) -> None:
    model = tiny()
    pack = lay_out(units_of(drawn))
    weights = torch.linspace(-1, 2, len(pack.token_ids))

    def gradients(forward: object) -> list[torch.Tensor]:
        model.zero_grad(set_to_none=True)
        hidden = forward(model, pack, torch.cat([pack.before, pack.last]))
        learned, last = hidden.split([len(pack.before), len(pack.last)])
        torch.cat([learned.square().sum(-1) * weights, last.sum()[None]]).sum().backward()
        return [p.grad.clone() for p in model.model.layers.parameters() if p.grad is not None]

    assert attention.takes_forests(model, torch.device("cpu"))
    ours, theirs = gradients(attention._forward), gradients(attention.plain_forward)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # norms are computed in float32


def test_a_shared_prompt_stands_in_the_stream_once(model: LlamaForCausalLM) -> None:
    prompt = list(range(10))
    unit = [row("a", prompt, [1, 2, 3]), row("b", prompt, [4, 5]), row("c", prompt, [6])]
    assert lay_out([unit]).forest.tokens == 16
    assert lay_out(unit).forest.tokens == 36  # three units of their own share nothing


def test_a_completion_that_another_begins_with_is_computed_once() -> None:
    long = [5, 6, 7, 8, 9, 10, 11]
    unit = [row("a", [1, 2, 3, 4, 5], long), row("b", [1, 2, 3, 4, 5], long[:5])]
    pack = lay_out([unit])
    assert pack.forest.tokens == 12
    assert pack.place_of.tolist() == [*range(5, 12), *range(5, 10)]  # trained in both rows, standing in one place


def test_fewer_than_the_least_shared_tokens_are_computed_twice() -> None:
    tail = list(range(LEAST_SHARED - 1))
    assert Tree([[*tail, 20], [*tail, 21]]).tokens == 2 * (len(tail) + 1)
    tail = list(range(LEAST_SHARED))
    assert Tree([[*tail, 20], [*tail, 21]]).tokens == len(tail) + 2


def test_the_mask_agrees_with_the_blocks(model: LlamaForCausalLM) -> None:
    prompt = list(range(8))
    rows = [row("a", prompt, [1, 2, 3, 4, 5, 6]), row("b", prompt, [1, 2, 3, 4, 9])]
    forest = lay_out([rows, row("c", [3], [4])]).forest
    seen = torch.zeros(forest.tokens, forest.tokens, dtype=torch.bool)
    for block in forest.blocks:
        (q0, q1), (k0, k1) = block.queries, block.keys
        part = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool)
        assert not seen[q0:q1, k0:k1].any(), "a pair is computed twice"
        seen[q0:q1, k0:k1] = part.tril() if block.causal else part
    assert torch.equal(seen, forest.mask())
    assert Tree([one.ids for one in rows]).pairs + Tree([[3, 4]]).pairs == int(seen.sum())


def test_micro_batches_charge_a_shared_prompt_once_and_never_part_a_unit() -> None:
    units = [[row(f"{n}a", [n] * 20, [1, 2]), row(f"{n}b", [n] * 20, [3])] for n in range(8)]
    packs = list(micro_batches(units, tokens=50))
    assert [len(pack.units) for pack in packs] == [2, 2, 2, 2]
    assert all(pack.forest.tokens == 46 for pack in packs)
    with pytest.raises(TooLong, match="0a, 0b has 23 tokens and a micro-batch holds 22"):
        list(micro_batches(units, tokens=22))


def test_a_unit_longer_than_the_budget_is_a_pack_of_its_own_where_that_is_allowed() -> None:
    units = [row("long", [0] * 40, [1]), *(row(f"{n}", [0] * 8, [1]) for n in range(4))]
    packs = list(micro_batches(units, tokens=Budget(20, 60)))
    assert [[one.name for one in pack.rows] for pack in packs] == [["long"], ["0", "1"], ["2", "3"]]
    with pytest.raises(TooLong, match="long has 41 tokens and a micro-batch holds 40"):
        list(micro_batches(units, tokens=Budget(20, 40)))


def test_long_rows_cost_more_than_their_tokens() -> None:
    rows = [row(f"{n}", [0] * 3000, [1]) for n in range(4)]
    packs = list(micro_batches(rows, tokens=7000))
    assert [len(pack.rows) for pack in packs] == [1, 1, 1, 1]  # 3001 tokens and 4.5 million pairs each


def test_a_model_that_cannot_take_forests_is_computed_row_by_row_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(seed=1)
    monkeypatch.setattr(attention, "attention_forward", None)
    layer = model.model.layers[0].self_attn
    whole = type(layer).forward

    def deaf(*args: object, forest: object = None, **kwargs: object) -> object:  # an architecture that drops it
        return whole(layer, *args, **kwargs)

    monkeypatch.setattr(layer, "forward", deaf)
    pack = lay_out([[row("a", [1, 2, 3, 4, 5], [6, 7]), row("b", [1, 2, 3, 4, 5], [8, 9])]])
    with caplog.at_level(logging.WARNING, logger="redpen.engine"):
        found = completion_logprobs(model, pack).values
    assert "LlamaForCausalLM is computed row by row" in caplog.text
    monkeypatch.undo()
    expected = [value for one in pack.rows for value in alone(model, one)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_rows_longer_than_a_sliding_window_take_the_plain_path() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=TOKENS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=30,
        max_window_layers=0,
    )
    model = Qwen2ForCausalLM(config).double().eval()
    prompt = [n % TOKENS for n in range(29)]
    within = lay_out([[row("a", prompt, [1]), row("b", prompt, [2])]])
    beyond = lay_out([[row("a", prompt, [1, 2, 3]), row("b", prompt, [2])]])
    assert attention.run_backbone(model, within, within.last) is not None
    assert attention.run_backbone(model, beyond, beyond.last) is None
    for pack in (within, beyond):
        expected = [value for one in pack.rows for value in alone(model, one)]
        assert completion_logprobs(model, pack).values.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_last_layers_mlp_is_computed_only_where_it_is_read(model: LlamaForCausalLM) -> None:
    pack = lay_out([[row("a", list(range(12)), [1, 2]), row("b", list(range(12)), [3])]])
    sizes = []
    hooks = [
        layer.mlp.register_forward_hook(lambda *given: sizes.append(given[1][0].shape[1]))
        for layer in model.model.layers
    ]
    found = completion_logprobs(model, pack).values
    for hook in hooks:
        hook.remove()
    assert sizes[-2:] == [15, 3]
    assert found.tolist() == pytest.approx([value for one in pack.rows for value in alone(model, one)], abs=1e-5)
    assert "forward" not in vars(model.model.layers[-1])


def test_layers_that_are_computed_again_in_backward_are_computed_whole() -> None:
    pack = lay_out([[row("a", list(range(12)), [1, 2]), row("b", list(range(12)), [3])]])
    grads = []
    for again in (False, True):
        model = tiny(seed=3).train()
        if again:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        completion_logprobs(model, pack).values.sum().backward()
        grads.append(model.model.layers[-1].mlp.up_proj.weight.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-6, atol=1e-7)


def test_the_first_use_leaves_chance_and_mode_as_they_were() -> None:
    model = tiny(seed=2).train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    attention.takes_forests(model, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
    assert model.training


def test_dropout_in_the_attention_uses_the_mask(model: LlamaForCausalLM) -> None:
    dropping = tiny(attention_dropout=0.5).train()
    pack: Pack = lay_out([[row("a", [1, 2, 3, 4, 5], [6, 7]), row("b", [1, 2, 3, 4, 5], [8, 9])]])
    torch.manual_seed(0)
    first = completion_logprobs(dropping, pack).values
    second = completion_logprobs(dropping, pack).values
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)
    quiet = completion_logprobs(dropping.eval(), pack).values
    assert quiet.tolist() == pytest.approx(completion_logprobs(model, pack).values.tolist(), abs=1e-6)


def test_flex_attention_gets_the_same_forest(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward only, uncompiled, on this CPU: it has no backward pass there. On a GPU the tests marked so do both."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_compiled", [flex_attention])
    prompt = list(range(9))
    forest = lay_out(
        [[row("a", prompt, [1, 2, 3, 4, 5, 6]), row("b", prompt, [1, 2, 3, 4, 9])], row("c", [3], [4])]
    ).forest
    torch.manual_seed(0)
    query = torch.randn(1, 4, forest.tokens, 16)
    key, value = torch.randn(2, 1, 2, forest.tokens, 16)
    with torch.no_grad():
        found = attention._flex(query, key, value, forest, 0.25)
        expected, _ = attention.attention_forward(
            model.model.layers[0].self_attn, query, key, value, None, scaling=0.25, forest=forest
        )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: FlexAttention has no backward pass on a CPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_what_the_plain_path_gives(dtype: torch.dtype) -> None:
    model = tiny().to("cuda", dtype)
    prompt = list(range(12))
    pack = lay_out([[row("a", prompt, [1, 2, 3, 4, 5, 6]), row("b", prompt, [1, 2, 3, 4, 9])]], device="cuda")
    assert attention.takes_forests(model, torch.device("cuda"))
    found = completion_logprobs(model, pack).values
    expected = attention.plain_forward(model, pack, pack.before)
    torch.testing.assert_close(
        found,
        completion_logprobs(model, pack, hidden=expected).values,
        rtol=1e-4 if dtype == torch.float32 else 0.05,
        atol=1e-4 if dtype == torch.float32 else 0.05,
    )
