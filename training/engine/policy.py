"""The policy: one copy of the base with an adapter. Its reference is the same weights with the adapter switched off,
or with the frozen parent adapter when a run continues another run's: never a second model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from training.engine.logprobs import completion_logprobs
from training.engine.models import Precision, load_base
from training.engine.packs import Row, micro_batches

TRAINED = "default"  # peft's own name, so that the saved folder is an ordinary adapter
PARENT = "parent"

Unit = Row | Sequence[Row]  # rows that are computed in one pack: a pair, a ranking, a group


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank adapter on the linear layers of the backbone."""

    rank: int = 16  # 0: no adapter at all, the base stays as it is
    alpha: float | None = None  # twice the rank when not given
    dropout: float = 0.0
    last: float = 1.0  # share of the layers that get it, from the top: below them nothing is differentiated
    targets: Sequence[str] | str = "all-linear"  # never the head: it is left to those who ask for it


class Policy:
    """A causal language model that is being trained through an adapter."""

    def __init__(self, model: Any, tokenizer: Any, *, base: Path) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.base = base
        self.passage_tokens = 0  # how much of a prompt's passages it was trained to be shown

    @classmethod
    def load(
        cls,
        base: Path | str,
        *,
        lora: Lora | None = None,
        parent: Path | None = None,
        seed: int = 0,
        precision: Precision = "fp32",
        depth: float = 1.0,
    ) -> Policy:
        """The base with a fresh adapter, drawn from `seed`, or with a copy of `parent`'s to go on training.

        `precision` is the frozen base's; what is trained is float32 in any case. With a `depth` below 1 only that share
        of the layers is kept, from the bottom: enough for a classifier, and too little for a writer.
        """
        model, tokenizer = load_base(base, precision=precision)
        if depth < 1:
            _cut(model, depth)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        options = lora or Lora()
        if parent is not None:
            wrapped = PeftModel.from_pretrained(model, str(parent), adapter_name=TRAINED, is_trainable=True)
            wrapped.load_adapter(str(parent), adapter_name=PARENT, is_trainable=False)
            wrapped.set_adapter(TRAINED)
        elif options.rank:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                wrapped = get_peft_model(model, _config(options, model), adapter_name=TRAINED)
        else:
            wrapped = model
        return cls(wrapped, tokenizer, base=Path(base))

    @classmethod
    def open(
        cls, base: Path | str, adapter: Path | None, *, precision: Precision = "fp32", depth: float = 1.0
    ) -> Policy:
        """What was trained, to sample from or to score with; `adapter` None is the base as it is."""
        policy = cls.load(base, parent=adapter, lora=Lora(rank=0), precision=precision, depth=depth)
        policy.model.eval()
        return policy

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        where: torch.device = next(self.model.parameters()).device
        return where

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def state_dict(self) -> dict[str, Tensor]:
        """What is trained, by name, as copies on the CPU: with the base, all that a checkpoint needs of it."""
        return {name: value.detach().cpu().clone() for name, value in self._trained()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` gave, bit for bit; raise ValueError where it is of another adapter."""
        mine = dict(self._trained())
        strange = sorted(set(mine) ^ set(state)) or [
            name for name, value in mine.items() if value.shape != state[name].shape
        ]
        if strange:
            raise ValueError(f"These weights are not of this policy: {len(strange)} differ, first {strange[0]}.")
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(state[name])

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self.model.named_parameters() if value.requires_grad)

    @property
    def _adapters(self) -> Sequence[str]:
        return list(getattr(self.model, "peft_config", {}))

    @contextmanager
    def as_reference(self) -> Iterator[nn.Module]:
        """The model as it was before this run: no gradients, no dropout, adapter off (or the parent's on)."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                if PARENT in self._adapters:
                    self.model.set_adapter(PARENT)
                    yield self.model
                elif not self._adapters:
                    yield self.model
                else:
                    with self.model.disable_adapter():
                        yield self.model
        finally:
            if PARENT in self._adapters:
                self.model.set_adapter(TRAINED)
                _freeze(self.model, PARENT)
            self.model.train(training)

    def save(self, folder: Path) -> None:
        """Write the adapter, in peft's own form, as safetensors; a base without one writes nothing."""
        if not self._adapters:
            return
        self.model.save_pretrained(str(folder), selected_adapters=[TRAINED], safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # peft writes an empty model card


@torch.no_grad()
def reference_logprobs(policy: Policy, units: Sequence[Unit], *, tokens: int) -> list[list[float]]:
    """The reference's log-probabilities of each row's trained tokens, row after row, unit after unit.

    Made by the same packing as training's: given a step's units and its budget, the numbers are the policy's own until
    it has learned something, to the last bit. Given all units of a run at once they may differ from that in float32's
    last places, because a row then shares its pack with others.
    """
    numbered, count = _number(units)
    found: list[list[float]] = [[] for _ in range(count)]
    with policy.as_reference() as reference:
        for pack in micro_batches(numbered, tokens=tokens, device=policy.device):
            values = completion_logprobs(reference, pack).values
            for row, of_row in zip(pack.rows, values.split(pack.ragged.lengths().int().tolist()), strict=True):
                found[int(row.name)] = of_row.tolist()
    return found


def _number(units: Sequence[Unit]) -> tuple[list[Any], int]:
    """The same units with rows named by their place, and how many rows there are."""
    count = 0
    numbered: list[Any] = []
    for unit in units:
        rows = [unit] if isinstance(unit, Row) else list(unit)
        named = [replace(row, name=str(count + place)) for place, row in enumerate(rows)]
        numbered += named  # packs of units take them as they are, once they are there
        count += len(rows)
    return numbered, count


def log_ratios(policy: Policy, rows: Sequence[Row], *, tokens: int) -> list[float]:
    """log p_policy - log p_reference of each row's trained tokens, summed; exactly 0 while nothing has been learned."""
    gaps: list[float] = [0.0] * len(rows)
    numbered = [replace(row, name=str(place)) for place, row in enumerate(rows)]
    training = policy.model.training
    policy.model.eval()
    for pack in micro_batches(numbered, tokens=tokens, device=policy.device):
        with torch.no_grad():
            now = pack.sum_by_row(completion_logprobs(policy.model, pack).values)
        with policy.as_reference() as reference:
            then = pack.sum_by_row(completion_logprobs(reference, pack).values)
        for row, gap in zip(pack.rows, (now - then).tolist(), strict=True):
            gaps[int(row.name)] = gap
    policy.model.train(training)
    return gaps


def _config(options: Lora, model: Any) -> LoraConfig:
    layers = model.config.num_hidden_layers
    first = layers - max(1, round(options.last * layers))
    targets = options.targets if isinstance(options.targets, str) else list(options.targets)
    if first and targets == "all-linear":  # peft takes a range of layers only with names
        backbone = model.get_decoder()
        targets = sorted(
            {name.rpartition(".")[2] for name, part in backbone.layers.named_modules() if isinstance(part, nn.Linear)}
        )
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha if options.alpha is not None else 2 * options.rank,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        target_modules=targets,
        layers_to_transform=list(range(first, layers)) if first else None,
        task_type="CAUSAL_LM",
    )


def _cut(model: Any, depth: float) -> None:
    backbone = model.get_decoder()
    kept = max(1, round(depth * len(backbone.layers)))
    backbone.layers = backbone.layers[:kept]
    model.config.num_hidden_layers = kept


def _freeze(model: Any, adapter: str) -> None:
    for name, parameter in model.named_parameters():
        if f".{adapter}." in name:
            parameter.requires_grad_(False)
