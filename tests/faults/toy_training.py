"""A training that takes milliseconds and depends on everything that a checkpoint must hold: weights, moments, the
schedule, every source of chance, the order of its rows, the best so far, and files that it writes as it goes.
"""

import json
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from training import engine
from training.engine.objectives import Loss
from training.recipes.context import Events, RunContext
from training.recipes.steps import steps
from training.runs import events

ROWS, SIZE = 10, 4  # 3 steps an epoch


class Stopped(BaseException):
    """As good as kill -9 for a training in this process: nothing may catch it."""


def attempt(folder, *, before=(), seed=0, **options):
    """The context of an attempt in `folder`, after those in the folders `before`."""
    folder.mkdir(parents=True)
    return RunContext(
        directory=folder,
        base_model=folder,
        events=Events(folder / events.NAME),
        seed=seed,
        resume_from=before,
        **{"checkpoint_steps": 1, **options},
    )


def train(run, *, epochs=2, rows=ROWS, best=None, patience=0, at_step=lambda number: None):
    """Its losses go to the run's events; returns the weights. Each epoch is 3 steps."""
    random.seed(run.seed), np.random.seed(run.seed), torch.manual_seed(run.seed)
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    loop = engine.loop.Loop(net.parameters(), lr=0.05, steps=3 * epochs, schedule="cosine", weight_decay=0.1)
    rows = [SimpleNamespace(name=f"row {n}", numbers=[random.random() for _ in range(3)]) for n in range(rows)]
    batches = engine.loop.Batches(rows, size=SIZE, epochs=epochs)
    run.metrics(0, 3 * epochs, start=float(net[0].weight.detach().sum()))

    def objective(pack):
        rows = torch.tensor([row.numbers for row in pack.rows])
        noise = torch.tensor(np.random.randn(len(rows)), dtype=torch.float32) * random.random()
        return Loss((net(rows)[:, 0] - rows.sum(1) + noise).square().sum(), torch.tensor(float(len(rows))))

    def evaluate():
        with torch.no_grad():
            return {"dev": float(net(torch.ones(1, 3))) + 9 * np.random.rand()}  # it goes up and down

    for step in steps(run, loop, batches, parts={"net": net}, evaluate=evaluate, every=2, best=best, patience=patience):
        at_step(step.number)
        packs = [SimpleNamespace(rows=part) for part in (step.batch[:3], step.batch[3:]) if part]
        loop.forward_backward(packs, objective)
        step.report(**loop.optim_step())
        run.sample(step.number, text=f"{step.number}: {random.random()}")
        run.response(prompt_id=step.number, text=f"{np.random.rand()}")
        with (run.artifact_path / "written.jsonl").open("a") as file:
            file.write(json.dumps([step.number, torch.rand(1).item()]) + "\n")
    return {name: value.tolist() for name, value in net.state_dict().items()}


def told_by_platform(folder):
    """What the platform keeps of a run's training, without the clock."""
    return [
        {name: value for name, value in event.items() if name not in ("seq", "at")} for event in events.story(folder)
    ]


def told(folder):
    """The same, and what the training wrote beside its artifact."""
    return told_by_platform(folder), (folder / "artifact" / "written.jsonl").read_text()
