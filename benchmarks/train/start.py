"""What both sides start from, made once and saved: a base, an adapter whose B is not zero, a score head.

25m: a random Llama of 25.6 million parameters (width 320, 8 layers of 5 heads, inner width 864, a vocabulary of 49,152
with tied embeddings) that speaks SmolLM2's tokenizer. 135m: SmolLM2-135M-Instruct itself. tiny: the tests' own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ModelName = Literal["25m", "135m", "tiny"]
RANK = 16
HOME = Path(os.environ.get("REDPEN_BENCH_MODELS") or Path(tempfile.gettempdir()) / "redpen-bench-train")


@dataclass(frozen=True)
class Start:
    """Folders to load from."""

    base: Path
    adapter: Path  # adapter_model.safetensors and adapter_config.json, as peft writes them
    head: Path  # safetensors: score.weight [1, width]


def start(model: ModelName, home: Path | None = None) -> Start:
    """The folders, made now where they are missing."""
    home = home or HOME
    base = home / {"25m": "llama-25m", "135m": "smollm2-135m", "tiny": "tiny"}[model]
    made = Start(base, home / f"{base.name}-adapter", home / f"{base.name}-head.safetensors")
    home.mkdir(parents=True, exist_ok=True)
    if not base.exists():
        _make_base(model, home, base)
    if not made.head.exists():
        _make_adapter_and_head(made)
    return made


def _make_base(model: ModelName, home: Path, base: Path) -> None:
    from training.engine.models import ensure_base

    if model != "25m":
        ensure_base(base, say=lambda text: None)
        return
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    speaker = start("135m", home).base
    tokenizer = AutoTokenizer.from_pretrained(speaker)
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49_152,
            hidden_size=320,
            intermediate_size=864,
            num_hidden_layers=8,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    aside = base.with_name(f".{base.name}-{os.getpid()}")
    network.save_pretrained(str(aside))
    tokenizer.save_pretrained(str(aside))
    aside.rename(base)


def _make_adapter_and_head(made: Start) -> None:
    import torch
    from safetensors.torch import save_file

    from training.engine.policy import Lora, Policy

    policy = Policy.load(made.base, lora=Lora(rank=RANK), seed=0)
    chance = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.02, generator=chance)
    shutil.rmtree(made.adapter, ignore_errors=True)
    policy.save(made.adapter)
    width = policy.model.config.hidden_size
    save_file({"score.weight": torch.randn(1, width, generator=chance) / width**0.5}, str(made.head))


def adapter_weights(made: Start) -> dict[str, Any]:
    """The adapter's tensors under peft's names."""
    from safetensors.torch import load_file

    return load_file(str(made.adapter / "adapter_model.safetensors"))


def head_weight(made: Start) -> Any:
    """The score head's weight [1, width]."""
    from safetensors.torch import load_file

    return load_file(str(made.head))["score.weight"]
