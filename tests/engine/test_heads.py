"""Heads: where they are read, that company changes nothing, and that nothing of them is lost."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from training.engine.heads import ScoreHead, TokenHead, row_scores, token_scores, values
from training.engine.logprobs import causal_model
from training.engine.packs import Row, lay_out
from training.engine.policy import Lora, Policy
from training.engine.tokens import render_chat

ASK = [{"role": "user", "content": "How do I fill the tank of my Fernwell Mini?"}]
ANSWERS = ["Open the flap.", "Open the flap. Pour in fresh water 💧 please.", "No.", ""]
LABELS = ["rude", "wrong", "off_topic"]


def rows_of(tokenizer):
    chats = [render_chat(tokenizer, ASK, response=text) for text in ANSWERS]
    return [Row(f"answer {place}", chat.ids, chat.completion_mask) for place, chat in enumerate(chats)]


def random_head(kind, *arguments, **options):
    torch.manual_seed(3)
    head = kind(*arguments, **options)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval()


@pytest.fixture
def policy(base):
    found = Policy.load(base, lora=Lora(rank=4), seed=3)
    for parameter in found.parameters:
        torch.nn.init.normal_(parameter, std=0.05)
    found.model.eval()
    return found


# One small model for the property test: its padding token is its stop token, the trap of `ForSequenceClassification`.
torch.manual_seed(0)
TINY = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=2,
        pad_token_id=2,
    )
).eval()
sequences = st.lists(st.integers(0, 11), min_size=2, max_size=9)


@given(st.lists(sequences, min_size=1, max_size=5), st.booleans())
@settings(deadline=None, max_examples=40)
@torch.no_grad()
def test_a_score_alone_is_the_score_in_any_company_whatever_the_tokens_are(found, together):
    """Rows full of the stop token that is the padding too (transformers 35352, reward-bench 137)."""
    head = random_head(ScoreHead, 16, LABELS)
    rows = [Row(str(place), ids, [False] + [True] * (len(ids) - 1)) for place, ids in enumerate(found)]
    scores = row_scores(TINY, head, lay_out([rows] if together else rows))
    for row, score in zip(rows, scores, strict=True):
        state = TINY.model(torch.tensor([row.ids])).last_hidden_state[0, -1]
        assert torch.allclose(score, head(state), atol=1e-4)
        assert torch.allclose(score, row_scores(TINY, head, lay_out([row]))[0], atol=1e-4)


@torch.no_grad()
def test_several_labels_are_several_outputs_of_one_head(policy):
    head = random_head(ScoreHead, policy.model.config.hidden_size, LABELS, bias=True)
    rows = rows_of(policy.tokenizer)
    scores = row_scores(policy.model, head, lay_out([rows]))
    assert scores.shape == (4, 3)
    assert scores.dtype == torch.float32
    single = ScoreHead(policy.model.config.hidden_size, ["wrong"], bias=True)
    single.load_state_dict({name: value[1:2] for name, value in head.state_dict().items()})
    assert torch.allclose(row_scores(policy.model, single, lay_out([rows]))[:, 0], scores[:, 1], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.no_grad()
def test_merged_and_unmerged_adapters_score_alike(policy, base, precision, tmp_path):
    """To 1e-4 of the scores in fp32. In half precision the merge rounds the weights: to 0.05."""
    policy.save(tmp_path)
    one = Policy.open(base, tmp_path, precision=precision)
    width = one.model.config.hidden_size
    heads = random_head(ScoreHead, width), random_head(TokenHead, width, ["bad", "neutral", "good"], pooled=False)
    pack = lay_out([rows_of(one.tokenizer)])
    apart = row_scores(one.model, heads[0], pack), token_scores(one.model, heads[1], pack)
    one.model.merge_adapter()
    assert causal_model(one.model).get_decoder().layers[0].self_attn.q_proj.merged
    merged = row_scores(one.model, heads[0], pack), token_scores(one.model, heads[1], pack)
    for left, right in zip(apart, merged, strict=True):
        assert not torch.equal(left, right)
        assert (left - right).abs().max() < (1e-4 if precision == "fp32" else 0.05) * left.abs().max()


@torch.no_grad()
def test_every_kind_of_head_comes_back_with_its_adapter_to_the_bit_in_a_fresh_process(policy, base, tmp_path):
    width, pack = policy.model.config.hidden_size, lay_out([rows_of(policy.tokenizer)])
    policy.save(tmp_path)
    score, labels = random_head(ScoreHead, width), random_head(ScoreHead, width, LABELS, bias=True)
    token = random_head(TokenHead, width, ["bad", "neutral", "good", "rude"])
    for name, head in (("score", score), ("labels", labels), ("token", token)):
        head.save(tmp_path / f"{name}.safetensors")
    here = [
        row_scores(policy.model, score, pack).tolist(),
        values(policy.model, score, pack).tolist(),
        row_scores(policy.model, labels, pack).tolist(),
        token_scores(policy.model, token, pack).tolist(),
    ]
    program = f"""
import json, torch
from pathlib import Path
torch.set_num_threads(1)
torch.set_grad_enabled(False)
from tests.engine.test_heads import rows_of
from training.engine.heads import ScoreHead, TokenHead, row_scores, token_scores, values
from training.engine.packs import lay_out
from training.engine.policy import Policy
folder = Path({str(tmp_path)!r})
policy = Policy.open({str(base)!r}, folder)
pack = lay_out([rows_of(policy.tokenizer)])
score, labels = (ScoreHead.load(folder / f"{{name}}.safetensors") for name in ("score", "labels"))
token = TokenHead.load(folder / "token.safetensors")
model = policy.model
found = [row_scores(model, score, pack), values(model, score, pack), row_scores(model, labels, pack),
         token_scores(model, token, pack)]
print(json.dumps([one.tolist() for one in found]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == here


def test_a_head_learns_beside_an_adapter_on_all_linear_layers(policy):
    """With `all-linear` adapters others left their head untrained (TRL 2743)."""
    head = ScoreHead(policy.model.config.hidden_size)
    before = [parameter.clone() for parameter in (*policy.parameters, *head.parameters())]
    optimizer = torch.optim.AdamW([*policy.parameters, *head.parameters()], lr=1e-2)
    for _ in range(2):
        scores = row_scores(policy.model, head, lay_out([rows_of(policy.tokenizer)]))[:, 0]
        (-torch.nn.functional.logsigmoid(scores[1] - scores[2])).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = [
        not torch.equal(old, new) for old, new in zip(before, (*policy.parameters, *head.parameters()), strict=True)
    ]
    assert moved[-1]
    assert sum(moved) > len(moved) / 2
