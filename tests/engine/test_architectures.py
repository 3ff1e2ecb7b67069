"""Each family of models, tiny and random, goes through everything that a run does with it: registration, adapters,
log-probabilities, heads, the reference, sampling, saving, export.
"""

import subprocess
import sys

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.engine.chat_templates import tokenizer_of
from training.engine.attention import takes_forests
from training.engine.export import export
from training.engine.heads import ScoreHead, TokenHead, row_scores, token_scores, values
from training.engine.logprobs import causal_model, completion_logprobs
from training.engine.models import register
from training.engine.packs import lay_out
from training.engine.policy import Lora, Policy, log_ratios, reference_logprobs
from training.engine.rollouts import Sampling, sample
from training.engine.rows import comparison, row_from_ids, row_of_chat
from training.engine.tokens import render_chat

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # random, but far from uniform: a mistake shows
}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {  # name -> (model, config, options, kind of chat template)
    "llama": (LlamaForCausalLM, LlamaConfig, {}, "llama3"),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}, "chatml"),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}, "qwen3"),
    "gemma": (GemmaForCausalLM, GemmaConfig, {}, "gemma"),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {**LAYERS, "sliding_window": 256}, "gemma"),
    "gemma3_narrow": (Gemma3ForCausalLM, Gemma3TextConfig, {**LAYERS, "sliding_window": 8}, "gemma"),
}
ASK = [{"role": "user", "content": "Who sat on the moon, and what did she say?"}]
ANSWERS = ["The cat sat. She said hello.", "The cat sat. 💧", "The cat sat. She said good day to you.", "No."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base of each family, made when it is first asked for."""
    made = {}

    def of(family):
        if family not in made:
            model, config, options, kind = FAMILIES[family]
            tokenizer = tokenizer_of(kind)
            torch.manual_seed(0)
            ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
            made[family] = tmp_path_factory.mktemp(family)
            model(config(vocab_size=len(tokenizer), **SIZES, **ids, **options)).save_pretrained(made[family])
            tokenizer.save_pretrained(made[family])
        return made[family]

    return of


@pytest.fixture(params=FAMILIES)
def folder(request, folders):
    return folders(request.param)


def load(folder, device="cpu", **options):
    """A policy whose adapter, and whose critic's, is not the zero that a fresh one is."""
    policy = Policy.load(folder, lora=Lora(rank=2), adapters=("critic",), seed=1, **options)
    for adapter in ("default", "critic"):
        torch.manual_seed(len(adapter))
        for parameter in policy.parameters_of(adapter):
            torch.nn.init.normal_(parameter, std=0.1)
    policy.model.to(device).eval()
    return policy


def group(policy):
    return comparison(
        [
            row_of_chat(f"answer {place}", render_chat(policy.tokenizer, ASK, response=text))
            for place, text in enumerate(ANSWERS)
        ]
    )


def by_hand(model, row):
    """log p of a row's trained tokens from whole logits, and its hidden states, one row alone without us."""
    output = model(torch.tensor([row.ids], device=model.device), output_hidden_states=True)
    logs = output.logits[0].float().log_softmax(-1)
    trained = [place for place, learned in enumerate(row.trained) if learned]
    return torch.stack([logs[place - 1, row.ids[place]] for place in trained]), output.hidden_states[-1][0], trained


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here; unproven until it ran on one")
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])


def test_it_is_taken_as_a_base(folder):
    report = register(folder)
    assert report["refused"] is None
    assert any(trained for _, trained in report["mask"])


@on_each_device
@torch.no_grad()
def test_log_probabilities_in_a_forest_are_those_of_the_row_alone_and_of_the_plain_model(folder, device):
    policy = load(folder, device)
    rows = group(policy)
    narrow = getattr(policy.model.config, "sliding_window", None) == 8
    assert takes_forests(causal_model(policy.model), policy.device) or narrow
    together = lay_out([rows], device=device)
    assert together.ids.shape[1] < sum(len(row.ids) for row in rows)  # the prompt stands there once
    found = completion_logprobs(policy.model, together).values
    alone = torch.cat([completion_logprobs(policy.model, lay_out([row], device=device)).values for row in rows])
    plain = torch.cat([by_hand(policy.model, row)[0] for row in rows])
    assert torch.allclose(found, alone, atol=1e-4)
    assert torch.allclose(found, plain, atol=1e-4)
    assert plain.std() > 0.3  # the model has opinions


@on_each_device
@torch.no_grad()
def test_heads_read_the_states_they_say(folder, device):
    policy = load(folder, device)
    rows, width = group(policy), policy.model.config.hidden_size
    pack = lay_out([rows], device=device)
    token, row, value = TokenHead(width, ["bad", "neutral", "good"]), ScoreHead(width, ["a", "b"]), ScoreHead(width)
    for head in (token, row, value):
        torch.nn.init.normal_(head.linear.weight)
        head.to(device)
    found = token_scores(policy.model, token, pack), row_scores(policy.model, row, pack)
    guesses = values(policy.model, value, pack)
    states = [by_hand(policy.model, one) for one in rows]
    assert torch.allclose(found[0], torch.cat([token(s[places]) for _, s, places in states]), atol=1e-3)
    assert torch.allclose(found[1], torch.stack([row(s[-1]) for _, s, _ in states]), atol=1e-3)
    before = torch.cat([value(s[[place - 1 for place in places]])[:, 0] for _, s, places in states])
    assert torch.allclose(guesses, before, atol=1e-3)


@on_each_device
def test_the_gradient_of_a_packed_group_is_that_of_its_rows_one_by_one(folder, device):
    policy = load(folder, device)
    rows = group(policy)
    gradients = []
    for packs in ([lay_out([rows], device=device)], [lay_out([row], device=device) for row in rows]):
        for pack in packs:
            completion_logprobs(policy.model, pack).values.sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in policy.parameters]))
        policy.model.zero_grad()
    assert gradients[0].norm() > 0.1
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()
    assert all(parameter.grad is None for parameter in policy.parameters_of("critic"))


def test_before_the_first_step_it_is_its_reference_and_the_reference_is_the_base(folder, tmp_path):
    fresh = Policy.load(folder, lora=Lora(rank=2))
    rows = group(fresh)
    assert log_ratios(fresh, rows, tokens=512) == [0.0] * len(rows)
    plain = [by_hand(Policy.open(folder, None).model, row)[0].tolist() for row in rows]
    trained = load(folder)
    for mine, theirs in zip(reference_logprobs(trained, [rows], tokens=512), plain, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    trained.save(tmp_path)
    child = Policy.load(folder, parent=tmp_path)
    assert log_ratios(child, rows, tokens=512) == [0.0] * len(rows)
    assert max(map(abs, log_ratios(trained, rows, tokens=512))) > 0.1


AGAIN = """
import sys, torch
torch.set_num_threads(1)
torch.set_grad_enabled(False)
from pathlib import Path
from tests.engine.test_architectures import figures
from training.engine.heads import ScoreHead
from training.engine.policy import Policy
for base, saved in zip(sys.argv[1::2], map(Path, sys.argv[2::2])):
    print(figures(Policy.open(base, saved), ScoreHead.load(saved / "head.safetensors")))
"""


@torch.no_grad()
def figures(policy, head):
    pack = lay_out([group(policy)])
    return completion_logprobs(policy.model, pack).values.tolist(), row_scores(policy.model, head, pack).tolist()


def test_each_comes_back_from_its_folder_to_the_bit_in_a_fresh_process(folders, tmp_path):
    here, places = [], []
    for family in FAMILIES:
        policy, saved = load(folders(family)), tmp_path / family
        head = ScoreHead(policy.model.config.hidden_size)
        torch.nn.init.normal_(head.linear.weight)
        policy.save(saved)
        head.save(saved / "head.safetensors")
        here.append(repr(figures(policy, head)))
        places += [str(folders(family)), str(saved)]
    done = subprocess.run([sys.executable, "-c", AGAIN, *places], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == here


@on_each_device
def test_what_the_sampler_says_of_its_tokens_the_trainer_says(folder, device):
    policy = load(folder, device)
    prompt = render_chat(policy.tokenizer, ASK, response=None).ids
    short = render_chat(policy.tokenizer, [{"role": "user", "content": "Hm?"}], response=None).ids
    drawn = sample(policy, [prompt, short], 3, sampling=Sampling(max_tokens=9), seed=4)
    rows = [
        row_from_ids(f"sample {k}", (prompt, short)[one.prompt], one.ids, logprobs=one.logprobs)
        for k, one in enumerate(drawn)
    ]
    with torch.no_grad():
        pack = lay_out([rows[:3], rows[3:]], device=device)
        found = completion_logprobs(policy.model, pack).values
    assert torch.allclose(found, pack.flat("old"), atol=2e-4)
    assert len({tuple(one.ids) for one in drawn}) > 3
    greedy = sample(policy, [prompt], 1, sampling=Sampling(max_tokens=3, temperature=0))[0].ids
    with torch.no_grad():
        assert greedy[0] == policy.model(torch.tensor([prompt], device=device)).logits[0, -1].argmax().item()


def test_it_leaves_as_a_whole_model(folder, tmp_path):
    policy = load(folder)
    prompt = render_chat(policy.tokenizer, ASK, response=None).ids
    found = export(policy, tmp_path, prompts=[prompt], max_tokens=5)
    assert (found.same, found.reason) == (True, "")
    assert found.worst < 1e-3
