"""Where both sides start: a tiny Llama, its tokenizer and an adapter that has already moved, made once and read from
the same files by TRL and by us.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from training.engine.heads import ScoreHead
from training.engine.tiny import make_tokenizer

WIDTH, RANK = 48, 4
# An answer ends with its stop token: nothing follows that one side would learn and the other not.
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
TEXTS = [
    "The parcel left the depot on Monday and should be with you on Thursday.",
    "I am sorry to hear that. Could you tell me the number of the order?",
    "What do your repairs cost, and how long do they take?",
    "No.",
]


@dataclass(frozen=True)
class Start:
    """Folders and files."""

    base: Path
    adapter: Path  # a LoRA whose B is not zero: a policy that is not its reference
    other: Path  # another one of the same form: what the answers were sampled from, or the parent of a run
    head: Path  # a reward model's, one output without a bias


def make_start(folder: Path, family: str = "llama", **options: Any) -> Start:
    """Write all of it to `folder`; `family` is transformers' name of the architecture, `options` its own."""
    tokenizer = make_tokenizer(TEXTS * 5, vocabulary=400)
    tokenizer.chat_template = TEMPLATE
    base = folder / "base"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = AutoConfig.for_model(
            family,
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.2,  # far from the uniform distribution, where much would agree by chance
            **options,
        )
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.save_pretrained(str(base))
        tokenizer.save_pretrained(str(base))
        lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        wrapped = get_peft_model(model, lora)
        for name in ("adapter", "other"):
            with torch.no_grad():
                for parameter in wrapped.parameters():
                    if parameter.requires_grad:
                        parameter.normal_(std=0.1)
            wrapped.save_pretrained(str(folder / name), safe_serialization=True)
        head = ScoreHead(WIDTH)
        torch.nn.init.normal_(head.linear.weight, std=0.3)
        head.save(folder / "head.safetensors")
    return Start(base, folder / "adapter", folder / "other", folder / "head.safetensors")


def put_adapter(model: Any, folder: Path, *, head: Path | None = None) -> None:
    """The saved weights into a model that has an adapter of this form, and into its head if it has one."""
    weights = load_file(str(folder / "adapter_model.safetensors"))
    if head is not None:
        weights["base_model.model.score.weight"] = load_file(str(head))["linear.weight"]
    found = set_peft_model_state_dict(model, weights)
    assert not found.unexpected_keys, found.unexpected_keys
