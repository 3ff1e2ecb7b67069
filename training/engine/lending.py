"""A reward model on the base that a policy holds already: its adapter stands beside the policy's, frozen, and its depth
is how many of the base's layers are read. One copy of the base in memory, and the scores of one with its own copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from training.engine.adapters import names_of
from training.engine.logprobs import causal_model
from training.engine.models import Precision
from training.engine.policy import Policy

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Lent:
    """What a scorer needs of a policy of its own, on somebody else's base. The model is its only inside `scoring`."""

    def __init__(self, host: Policy, adapter: str | None, *, layers: int) -> None:
        self.host = host
        self.adapter = adapter  # None: the base as it is
        self.layers = layers
        self.tokenizer = host.tokenizer

    @property
    def model(self) -> Any:
        """The host's."""
        return self.host.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.host.device

    @contextmanager
    def scoring(self) -> Iterator[Any]:
        """The model as the reward model: its adapter, its layers, no dropout, no gradients; then the host's again."""
        backbone = causal_model(self.host.model).get_decoder()
        layers = backbone.layers
        with self.host.scoring(), self._active() as model:
            backbone.layers = layers[: self.layers]
            try:
                yield model
            finally:
                backbone.layers = layers

    @contextmanager
    def _active(self) -> Iterator[Any]:
        if self.adapter is not None:
            with self.host.adapter(self.adapter) as model:
                yield model
        else:
            with self.host.base_alone() as model:
                yield model


def lend(
    host: Policy, adapter: Path | None, *, base: Path | str, precision: Precision = "fp32", depth: float = 1.0
) -> Lent | None:
    """The reward model of this adapter (None: the bare base) on the host's base, or None where it cannot stand there:
    it is on another base or in another precision, the host has no adapters and trains the base itself, or the base is
    spread over several processes.
    """
    if (
        not isinstance(host.model, PeftModel)
        or any(isinstance(one, DTensor) for one in host.model.parameters())
        or Path(base).resolve() != Path(host.base).resolve()
        or host.model.get_input_embeddings().weight.dtype != DTYPES[precision]
    ):
        return None
    whole = len(causal_model(host.model).get_decoder().layers)
    layers = max(1, round(depth * whole))
    if adapter is None:
        return Lent(host, None, layers=layers)
    name = f"lent{sum(one.startswith('lent') for one in names_of(host.model))}"
    config = LoraConfig.from_pretrained(str(adapter))
    config.inference_mode = True
    if layers < whole and config.layers_to_transform is None:
        config.layers_to_transform = list(range(layers))
    with host.kept():
        host.model.add_adapter(name, config)
        set_peft_model_state_dict(host.model, load_file(adapter / "adapter_model.safetensors"), adapter_name=name)
    return Lent(host, name, layers=layers)
