"""Several processes that train one model: each takes its share of a step's units, and all of them take the same step.

Two ways, both decided by accelerate's own launcher and config. Copies (DDP): every process holds the whole model and
the gradients of what is trained are summed when the step ends, so that one process may have more micro-batches than
another. Shards (FSDP): every process holds a part of each layer and borrows the rest while it computes; then all must
compute equally often, and one that has less to do computes something again and throws it away.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

Item = TypeVar("Item")
State = TypeVar("State")


@dataclass(frozen=True)
class Processes:
    """This process among those that train the same model."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    sharded: bool = False

    @classmethod
    def of(cls, accelerator: Any) -> Processes:
        """As accelerate has set them up. It knows shards on GPUs alone; what its launcher was told counts here."""
        told = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
        return cls(
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            device=torch.device(accelerator.device),
            sharded=told and accelerator.num_processes > 1,
        )

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of them; the parts together are all of them, once."""
        return list(items[self.rank :: self.world])

    def gather(self, value: Item) -> list[Item]:
        """The value of every process, by rank. What all processes call, or none."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        """Whether it holds in one of them."""
        return flag if self.world == 1 else any(self.gather(flag))

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the processes, in their order."""
        if self.world == 1:
            return dict(values)
        total: dict[str, float] = {}
        for one in self.gather(dict(values)):
            for name, value in one.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def start_alike(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every copy the first process's values."""
        if self.world > 1:
            for parameter in parameters:
                if not isinstance(parameter, DTensor):
                    dist.broadcast(parameter.data, 0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every process gets the sum of all processes' gradients; what has none anywhere keeps none."""
        if self.world == 1:
            return
        for parameter in parameters:
            if isinstance(parameter, DTensor) and parameter.grad is not None:
                parameter.grad.mul_(self.world)  # a shard's gradient is the mean already
        copied = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
        if not copied:
            return
        there = torch.tensor([parameter.grad is not None for parameter in copied], dtype=torch.float32)
        there = there.to(copied[0].device)
        dist.all_reduce(there)
        moved = [one for one, anywhere in zip(copied, there.tolist(), strict=True) if anywhere]
        for parameter in moved:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in moved if parameter.grad is not None])
        dist.all_reduce(flat)
        for parameter, values in zip(moved, flat.split([one.numel() for one in moved]), strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(values.view_as(parameter.grad))


ALONE = Processes()
_here = ALONE


def join(accelerator: Any) -> Processes:
    """From now on this process is one of accelerate's; models are placed and loops add up accordingly."""
    global _here
    _here = Processes.of(accelerator)
    return _here


def here() -> Processes:
    """What this process is part of; alone until it has joined others."""
    return _here


def place(model: Any) -> Any:
    """The model on this process's device and, with shards, its layers spread over all processes. In place."""
    if _here.device.type != "cpu":
        model.to(_here.device)
    if _here.sharded:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        from training.engine.attention import takes_forests

        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        takes_forests(causal, _here.device)  # asked while this process still has the whole model
        mesh = init_device_mesh(_here.device.type, (_here.world,))
        backbone = causal.get_decoder()
        # the embedding may be the head as well, which is called from outside: it stays whole in every process
        embedding = set(backbone.get_input_embeddings().parameters())
        for layer in backbone.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(backbone, mesh=mesh, ignored_params=embedding)
    return model


def put_together(model: Any) -> None:
    """End the spreading: every process has the whole model again, an ordinary one, to be measured, sampled from and
    saved. What all processes call, or none.
    """
    from torch.distributed.fsdp import FSDPModule

    spread: list[Any] = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in spread:
        part.reshard()
    for part in model.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            if isinstance(value, DTensor):
                full = nn.Parameter(value.full_tensor().detach(), requires_grad=value.requires_grad)
                setattr(part, name, full)
    for part in spread:
        for hooks in (part._forward_pre_hooks, part._forward_hooks, part._state_dict_pre_hooks):
            for number, hook in list(hooks.items()):
                if _is_of_shards(hook):
                    del hooks[number]
        part.__class__ = type(part).__bases__[1]  # fully_shard has put a class of its own before the model's


def _is_of_shards(hook: Any) -> bool:
    inner = getattr(hook, "hook", hook)
    owner = getattr(inner, "__self__", None)
    return "fsdp" in f"{getattr(inner, '__module__', '')} {type(owner).__module__}"


def clip(parameters: Sequence[nn.Parameter], most: float) -> float:
    """Scale the gradients so that their norm is at most `most`; the norm before that."""
    given = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [one for one in given if isinstance(one, DTensor)]
    if not shards:
        return float(nn.utils.clip_grad_norm_(parameters, most))
    squares = torch.stack([one.to_local().square().sum() for one in shards]).sum()
    dist.all_reduce(squares)
    for one in given:
        if not isinstance(one, DTensor):
            squares = squares + one.square().sum()
    norm = float(squares.sqrt())
    factor = min(1.0, most / (norm + 1e-6))
    for one in given:
        one.mul_(factor)
    return norm


def whole(state: Any) -> Any:
    """The same nested state with whole tensors in the place of shards. What all processes call, or none."""
    if isinstance(state, DTensor):
        return state.full_tensor()
    if isinstance(state, Mapping):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value) for value in state)
    return state


def like(tensor: Tensor, model: Any) -> Tensor:
    """`tensor` spread as `model` is, where that is spread."""
    if isinstance(model, DTensor) and not isinstance(tensor, DTensor) and tensor.shape == model.shape:
        return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
    return tensor
