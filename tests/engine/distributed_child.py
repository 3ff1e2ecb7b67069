"""One process of a training on the tiny base; `python -m tests.engine.distributed_child BASE OUT` alone, or under a
launcher. The first process writes what it learned, step by step, to OUT.
"""

import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from training import engine
from training.launch import join_processes
from training.recipes.context import Events, RunContext
from training.recipes.steps import steps


def rows():
    """Rows of very different lengths, so that the processes' shares differ."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(11):
        length = [40, 9, 12, 70, 8, 30][number % 6]
        ids = torch.randint(5, 200, (length,), generator=generator).tolist()
        found.append(engine.packs.Row(f"row {number}", ids, [place > 4 for place in range(length)]))
    return found


def main(base, out):
    torch.set_num_threads(1)
    here = join_processes()
    out.mkdir(parents=True, exist_ok=True)
    run = RunContext(
        directory=out,
        base_model=base,
        events=Events(out / "events.jsonl", rank=here.rank),
        checkpoint_steps=1,
        rank=here.rank,
        world=here.world,
        resume_from=[out.with_name("before")] if out.with_name("before").is_dir() else (),
    )
    policy = engine.policy.Policy.load(base, lora=engine.policy.Lora(rank=4), seed=3)
    with torch.no_grad():  # both halves of the adapter get a gradient
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                generator = torch.Generator().manual_seed(len(name))
                whole = torch.randn(parameter.shape, generator=generator) * 0.05
                parameter.copy_(engine.distributed.like(whole, parameter))
    batches = engine.loop.Batches(rows(), size=5, epochs=2, seed=1)  # the last of an epoch has one row: less than two
    loop = engine.loop.Loop(policy.parameters, lr=1e-2, steps=len(batches), clip=0.5)
    gradients, step = [], loop.optimizer.step

    def keep_gradients():
        grads = [one.grad.full_tensor() if isinstance(one.grad, DTensor) else one.grad for one in loop.trained]
        gradients.append([one.clone() for one in grads])
        step()

    loop.optimizer.step = keep_gradients

    def objective(pack):
        found = engine.logprobs.completion_logprobs(policy.model, pack)
        loss = engine.objectives.sft(found.values)
        return engine.objectives.Loss(loss.total, loss.count, {"likely": found.values.detach().sum()})

    policy.model.train()
    for one in steps(run, loop, batches, parts={"policy": policy}):
        packs = engine.packs.micro_batches(one.batch, tokens=80, device=policy.device)
        loop.forward_backward(packs, objective)
        one.report(**loop.optim_step())
    policy.save(run.artifact_path)
    if here.rank == 0:
        torch.save({"gradients": gradients, "weights": policy.state_dict()}, out / "learned.pt")
        (out / "world.json").write_text(json.dumps([here.world, here.sharded]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
