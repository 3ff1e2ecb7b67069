"""A merged model says what the policy said, and carries its template and stop tokens."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.engine import export as exporting
from training.engine.export import CannotExport, export
from training.engine.logprobs import completion_logprobs
from training.engine.packs import Row, lay_out
from training.engine.policy import Lora, Policy
from training.engine.tokens import render_chat

ASKS = ["How do I fill the tank of my Fernwell Mini?", "My Fernwell Max does not find the Wi-Fi. What can I do? Tom"]


@pytest.fixture
def policy(base):
    found = Policy.load(base, lora=Lora(rank=4), seed=3)
    for name, parameter in found.model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.08)
    return found


@pytest.fixture
def prompts(tokenizer):
    return [render_chat(tokenizer, [{"role": "user", "content": ask}], response=None).ids for ask in ASKS]


def test_the_merged_model_says_what_the_policy_said(policy, prompts, tmp_path):
    found = export(policy, tmp_path, prompts=prompts, max_tokens=16)
    assert (found.same, found.prompts, found.reason) == (True, 2, "")
    assert 0 < found.worst < 1e-3
    chat = render_chat(policy.tokenizer, [{"role": "user", "content": ASKS[0]}], response="Open the flap.")
    pack = lay_out([Row("r", chat.ids, chat.completion_mask)])
    with torch.no_grad():
        merged = completion_logprobs(Policy.open(tmp_path, None).model, pack).values
        unmerged = completion_logprobs(policy.model, pack).values
        with policy.as_reference() as reference:
            plain = completion_logprobs(reference, pack).values
    assert torch.allclose(merged, unmerged, atol=1e-4)
    assert not torch.allclose(plain, unmerged, atol=1e-2)


def test_template_and_stop_tokens_go_with_it(policy, prompts, tmp_path):
    """For programs that know nothing of us."""
    export(policy, tmp_path, prompts=prompts[:1], max_tokens=4)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == policy.tokenizer.chat_template
    stops = json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"]
    assert policy.tokenizer.eos_token_id in (stops if isinstance(stops, list) else [stops])
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path)).__name__ == "LlamaForCausalLM"
    assert not (tmp_path / "adapter_config.json").exists()


def test_what_is_said_differently_is_said_with_its_reason(policy, prompts, tmp_path, monkeypatch):
    """llama.cpp 7062, unsloth 2374: merged models that answer differently were noticed by their users."""

    def forgets_to_merge(*arguments, **options):
        class Unmerged:
            def merge_and_unload(self, **options):
                return arguments[0]

        return Unmerged()

    with monkeypatch.context() as patch:
        patch.setattr(exporting.PeftModel, "from_pretrained", forgets_to_merge)
        found = export(policy, tmp_path / "unmerged", prompts=prompts, max_tokens=16)
    assert not found.same
    assert "answered differently from token" in found.reason
    assert "more than rounding does" in found.reason
    save = type(policy.tokenizer).save_pretrained

    def without_template(self, folder, **options):
        kept, self.chat_template = self.chat_template, "{{ messages }}"
        save(self, folder, **options)
        self.chat_template = kept

    monkeypatch.setattr(type(policy.tokenizer), "save_pretrained", without_template)
    assert "template was lost" in export(policy, tmp_path / "lost", prompts=prompts, max_tokens=2).reason


def test_a_whole_model_in_half_precision_is_measured(base, prompts, tmp_path):
    policy = Policy.load(base, full=True)
    with torch.no_grad():
        policy.parameters[0].mul_(1.01)
    found = export(policy, tmp_path, prompts=prompts, max_tokens=8, precision="bf16")
    assert found.worst > 1e-4
    assert found.same == (found.reason == "")
    assert Policy.open(tmp_path, None, precision="bf16").model.dtype == torch.bfloat16


def test_a_model_with_part_of_its_layers_cannot_write(base, prompts, tmp_path):
    with pytest.raises(CannotExport, match="2 of its base's 3 layers"):
        export(Policy.load(base, depth=0.67, lora=Lora(rank=2)), tmp_path, prompts=prompts)


def test_a_runs_artifact_is_exported_from_the_command_line(policy, base, tmp_path, capsys):
    policy.save(tmp_path / "run")
    (tmp_path / "run" / "redpen.json").write_text(json.dumps({"kind": "policy", "base": str(base)}))
    assert exporting.main([str(tmp_path / "run"), str(tmp_path / "whole")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["same"], said["prompts"], said["reason"]) == (True, 3, "")
    assert (tmp_path / "whole" / "config.json").exists()
    assert exporting.main([]) == 2
