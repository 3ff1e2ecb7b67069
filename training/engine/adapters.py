"""Low-rank adapters on one base: how they are made, which one is active, and which of them learn.

peft couples the two: switching to an adapter also makes it the only one that learns. Here they are apart, because a
policy and its critic learn in one step on one base while their parent, and a reward model, must not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn

from training.engine.layers import make_lean_layers
from training.engine.lean import make_lean

TRAINED = "default"  # peft's own name, so that the saved folder is an ordinary adapter
PARENT = "parent"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank adapter on the linear layers of the backbone."""

    rank: int = 16  # 0: no adapter at all, the base stays as it is
    alpha: float | None = None  # twice the rank when not given
    dropout: float = 0.0
    last: float = 1.0  # share of the layers that get it, from the top: below them nothing is differentiated
    targets: Sequence[str] | str = "all-linear"  # never the head: it is left to those who ask for it


def put_on(
    model: Any, *, lora: Lora, parent: Path | None, others: Mapping[str, Path | None], seed: int
) -> PeftModel | Any:
    """The base with a fresh adapter or with two copies of `parent`'s (one goes on learning, one is the reference), and
    with others beside it: each read from its folder, or fresh. Each fresh one is drawn from a seed of its own.
    """
    strange = sorted({TRAINED, PARENT} & set(others))
    if strange:
        raise ValueError(f"An adapter cannot be called {strange[0]}: that name is taken.")
    if not lora.rank and (missing := [name for name, folder in others.items() if parent is None or folder is None]):
        raise ValueError(f"There is no adapter beside which {missing[0]} could stand, and no rank to make one of.")
    if parent is not None:
        wrapped = PeftModel.from_pretrained(model, str(parent), adapter_name=TRAINED, is_trainable=True)
        wrapped.load_adapter(str(parent), adapter_name=PARENT, is_trainable=False)
    elif lora.rank:
        with _seeded(seed):
            wrapped = get_peft_model(model, _config(lora, model), adapter_name=TRAINED)
    else:
        return model
    for place, (name, folder) in enumerate(others.items()):
        if folder is not None:
            wrapped.load_adapter(str(folder), adapter_name=name, is_trainable=True)
        else:
            with _seeded(seed + 7_919 * (place + 1)):
                wrapped.add_adapter(name, _config(lora, wrapped.get_base_model()))
    wrapped.set_adapter(TRAINED)
    make_lean(wrapped)
    make_lean_layers(wrapped)
    return wrapped


def names_of(model: Any) -> list[str]:
    """The adapters that are on this model."""
    return list(getattr(model, "peft_config", {}))


def parameters_of(model: nn.Module, adapter: str) -> Iterator[tuple[str, nn.Parameter]]:
    """An adapter's tensors, by their names in the model."""
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if adapter in parts and any(part.startswith("lora_") for part in parts[: parts.index(adapter)]):
            yield name, parameter


def let_learn(model: nn.Module, learning: Collection[str]) -> None:
    """Gradients for these adapters and for no other, whichever of them is active."""
    for adapter in names_of(model):
        for _, parameter in parameters_of(model, adapter):
            parameter.requires_grad_(adapter in learning)


@contextmanager
def switched_off(model: Any) -> Iterator[Any]:
    """The base without its adapters. Unlike peft's own way it leaves alone what learns, which is asked of every layer
    for every pack.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if any(isinstance(module, ModulesToSaveWrapper) for module in model.modules()):  # copies of whole modules
        learning = [parameter.requires_grad for parameter in model.parameters()]
        with model.disable_adapter():
            yield model
        for parameter, learns in zip(model.parameters(), learning, strict=True):
            parameter.requires_grad_(learns)
        return
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield model
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer._disable_adapters = was


def _config(options: Lora, model: Any) -> LoraConfig:
    layers = model.config.get_text_config().num_hidden_layers
    first = layers - max(1, round(options.last * layers))
    targets = options.targets if isinstance(options.targets, str) else list(options.targets)
    if first and targets == "all-linear":  # peft takes a range of layers only with names
        backbone = model.get_decoder()
        targets = sorted(
            {
                name.removesuffix(".base_layer").rpartition(".")[2]
                for name, part in backbone.layers.named_modules()
                if isinstance(part, nn.Linear) and "lora_" not in name
            }
        )
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha if options.alpha is not None else 2 * options.rank,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        target_modules=targets,
        layers_to_transform=list(range(first, layers)) if first else None,
        task_type="CAUSAL_LM",
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws from a seed, and leaves the process' own random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
