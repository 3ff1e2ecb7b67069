"""The policy: one copy of the base with adapters. Its reference is the same weights with the adapter switched off, or
with the frozen parent adapter when a run continues another run's: never a second model. A critic or a reward model may
stand on the same base as further adapters.

Training all weights instead (`full`) leaves no base to switch back to: the reference is then computed before the first
step, or kept as a frozen copy, whole or in half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.engine.adapters import PARENT, TRAINED, Lora, let_learn, names_of, parameters_of, put_on, switched_off
from training.engine.distributed import place
from training.engine.logprobs import completion_logprobs
from training.engine.models import Precision, load_base
from training.engine.packs import Budget, Row, Unit, micro_batches

__all__ = ["PARENT", "TRAINED", "Lora", "Policy", "ReferenceGone", "log_ratios", "reference_logprobs"]

Reference = Literal["precomputed", "half", "copy"]


class ReferenceGone(RuntimeError):
    """All weights are trained and have moved: what the model was before is no longer here."""


class Policy:
    """A causal language model that is being trained through an adapter, or whole."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        base: Path,
        frozen: Collection[str] = (),
        full: bool = False,
        reference: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.base = base
        self.full = full
        self.passage_tokens = 0  # how much of a prompt's passages it was trained to be shown
        self._learning = set(names_of(model)) - {PARENT, *frozen}
        self._active = TRAINED
        self._copy = reference
        let_learn(model, self._learning)
        self._untouched = _touches(model) if full else 0

    @classmethod
    def load(
        cls,
        base: Path | str,
        *,
        lora: Lora | None = None,
        parent: Path | None = None,
        adapters: Mapping[str, Path | None] | Iterable[str] = (),
        frozen: Collection[str] = (),
        full: bool = False,
        reference: Reference = "precomputed",
        seed: int = 0,
        precision: Precision = "fp32",
        depth: float = 1.0,
    ) -> Policy:
        """The base with a fresh adapter, drawn from `seed`, or with a copy of `parent`'s to go on training.

        `adapters` names further ones on the same base ("critic"), fresh or, in a mapping, read from their folders;
        those in `frozen` do not learn. `precision` is the frozen base's; what is trained is float32 in any case. With a
        `depth` below 1 only that share of the layers is kept, from the bottom: enough for a classifier, and too little
        for a writer. With `full` there is no adapter and all weights are trained; `reference` says where their
        reference comes from. A `parent` that is a whole model stands in for the base.
        """
        if parent is not None and _is_whole(parent):
            base, parent = parent, None
        model, tokenizer = load_base(base, precision=precision)
        if depth < 1:
            _cut(model, depth)
        if full:
            if parent is not None or adapters or precision != "fp32":
                raise ValueError(
                    "Training all weights takes a whole model in fp32, and no adapters: export a parent's first."
                )
            copied = None if reference == "precomputed" else _frozen(model, half=reference == "half")
            return cls(place(model), tokenizer, base=Path(base), full=True, reference=copied and place(copied))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        others = dict(adapters) if isinstance(adapters, Mapping) else dict.fromkeys(adapters)
        wrapped = put_on(model, lora=lora or Lora(), parent=parent, others=others, seed=seed)
        return cls(place(wrapped), tokenizer, base=Path(base), frozen=frozen)

    @classmethod
    def open(
        cls, base: Path | str, adapter: Path | None, *, precision: Precision = "fp32", depth: float = 1.0
    ) -> Policy:
        """What was trained, to sample from or to score with: an adapter's folder or a whole model's. `adapter` None is
        the base as it is.
        """
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
        """What is trained of the policy itself: its adapter, or all weights."""
        return self.parameters_of(TRAINED)

    def parameters_of(self, adapter: str) -> list[nn.Parameter]:
        """What is trained of one adapter; nothing of a frozen one."""
        if self.full:
            return [one for one in self.model.parameters() if one.requires_grad]
        return [one for _, one in parameters_of(self.model, adapter) if one.requires_grad]

    def state_dict(self) -> dict[str, Tensor]:
        """What is trained, of all adapters, by name, as copies on the CPU: with the base, all that a checkpoint needs
        of it.
        """
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

    @contextmanager
    def adapter(self, name: str) -> Iterator[Any]:
        """The model with another of its adapters active, and only that one: gradients of what is computed inside reach
        it and no other. What recomputes in backward (checkpointed layers) must go backward inside as well.
        """
        if name not in names_of(self.model):
            raise ValueError(f"There is no adapter {name} on this policy.")
        with self.kept():
            self._switch(name)
            yield self.model

    @contextmanager
    def as_reference(self) -> Iterator[nn.Module]:
        """The model as it was before this run: no gradients, no dropout, adapter off (or the parent's on). Raise
        ReferenceGone where all weights are trained, have moved, and no copy was kept.
        """
        if self._copy is not None:
            with torch.no_grad():
                yield self._copy
            return
        if self.full and _touches(self.model) != self._untouched:
            raise ReferenceGone(
                "All weights are trained and have changed, so the reference cannot be computed any more: take its "
                "log-probabilities before the first step, or keep a copy in half precision (reference='half')."
            )
        with self.scoring():
            if PARENT in names_of(self.model):
                with self.adapter(PARENT) as parent:
                    yield parent
            else:
                with self.base_alone() as base:
                    yield base

    @property
    def recalls(self) -> bool:
        """Whether `as_reference` can be had however far it has come."""
        return not self.full or self._copy is not None

    @contextmanager
    def without_dropout(self) -> Iterator[Any]:
        """The model with gradients but without dropout: what policy gradients need, so that a ratio is exactly 1 before
        the first step.
        """
        training = self.model.training
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.train(training)

    @contextmanager
    def base_alone(self) -> Iterator[Any]:
        """The base with all adapters off."""
        with switched_off(self.model):
            yield self.model

    @contextmanager
    def scoring(self) -> Iterator[Any]:
        """The model without gradients and dropout, to score or to sample with; afterwards all is as it was."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            self.model.train(training)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Which adapter is active and which ones learn is the same afterwards, whatever peft makes of it."""
        before = self._active
        try:
            yield
        finally:
            if names_of(self.model):
                self._switch(before)

    def save(self, folder: Path, *, adapter: str = TRAINED) -> None:
        """Write the adapter, in peft's own form, as safetensors; another one than the policy's own goes into a folder
        of its name below. With `full` the whole model is written, tokenizer and chat template with it. A base without
        an adapter writes nothing.
        """
        if self.full:
            self.model.save_pretrained(str(folder), safe_serialization=True)
            self.tokenizer.save_pretrained(str(folder))
        elif names_of(self.model):
            self.model.save_pretrained(str(folder), selected_adapters=[adapter], safe_serialization=True)
            where = folder if adapter == TRAINED else folder / adapter
            for place in (folder, where):
                (place / "README.md").unlink(missing_ok=True)  # peft writes an empty model card

    def _switch(self, name: str) -> None:
        self.model.set_adapter(name)
        self._active = name
        let_learn(self.model, self._learning)


@torch.no_grad()
def reference_logprobs(policy: Policy, units: Sequence[Unit], *, tokens: int | Budget) -> list[list[float]]:
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


def log_ratios(policy: Policy, rows: Sequence[Row], *, tokens: int | Budget) -> list[float]:
    """log p_policy - log p_reference of each row's trained tokens, summed; exactly 0 while nothing has been learned."""
    gaps: list[float] = [0.0] * len(rows)
    numbered, _ = _number(rows)
    with policy.without_dropout():
        for pack in micro_batches(numbered, tokens=tokens, device=policy.device):
            with torch.no_grad():
                now = pack.sum_by_row(completion_logprobs(policy.model, pack).values)
            with policy.as_reference() as reference:
                then = pack.sum_by_row(completion_logprobs(reference, pack).values)
            for row, gap in zip(pack.rows, (now - then).tolist(), strict=True):
                gaps[int(row.name)] = gap
    return gaps


def _number(units: Sequence[Unit]) -> tuple[list[Unit], int]:
    """The same units with rows named by their place, and how many rows there are."""
    count = 0
    numbered: list[Unit] = []
    for unit in units:
        rows = [unit] if isinstance(unit, Row) else unit
        numbered.append([replace(row, name=str(count + place)) for place, row in enumerate(rows)])
        count += len(rows)
    return numbered, count


def _is_whole(folder: Path) -> bool:
    """A folder that holds a whole model, not an adapter."""
    return (folder / "config.json").exists() and not (folder / "adapter_config.json").exists()


def _frozen(model: nn.Module, *, half: bool) -> nn.Module:
    """A copy that does not learn, in as many bytes or in half of them."""
    copied = copy.deepcopy(model).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied.to(torch.bfloat16) if half else copied


def _touches(model: nn.Module) -> int:
    """Grows whenever any weight is written to."""
    return sum(parameter._version for parameter in model.parameters())


def _cut(model: Any, depth: float) -> None:
    backbone = model.get_decoder()
    kept = max(1, round(depth * len(backbone.layers)))
    backbone.layers = backbone.layers[:kept]
    model.config.num_hidden_layers = kept
