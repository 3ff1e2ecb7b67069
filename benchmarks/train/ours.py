"""Our side: what the recipes do between their data and their artifact, on the parts they are made of.

Prepared rows go through `Batches` and `steps` (metrics of every step as events in a file, checkpoints when they are
due), packs, log-probabilities, objective and loop. Only the order is fixed, so that both sides learn from the same rows
in the same step.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.train import machine
from benchmarks.train.cells import BETA, CLIP, LR, NEW_TOKENS, ROLLOUT_TOKENS, SAMPLES, Job
from benchmarks.train.data import Pair
from benchmarks.train.meter import Meter
from benchmarks.train.planted import frozen_answer, reward_of, stop_tokens
from benchmarks.train.start import RANK, Start, adapter_weights, head_weight
from training import engine

MICRO_BATCH_TOKENS = 768  # what the recipes open with
LONGEST = 4096  # tokens of the longest unit, which may be a pack of its own


def run(job: Job, made: Start, steps: Sequence[Sequence[Pair]], meter: Meter) -> None:
    """All steps of the cell."""
    from peft import set_peft_model_state_dict

    cell = job.cell
    policy = engine.policy.Policy.load(made.base, lora=engine.policy.Lora(rank=RANK), precision=job.precision)
    told = set_peft_model_state_dict(policy.model, adapter_weights(made))
    if told.unexpected_keys:
        raise SystemExit(f"The adapter does not fit: {told.unexpected_keys[:3]}")
    policy.model.to(job.device)
    parts: dict[str, Any] = {"policy": policy}
    if cell.task == "reward_model":
        parts["head"] = engine.heads.ScoreHead(policy.model.config.hidden_size).to(job.device)
        parts["head"].linear.weight.data.copy_(head_weight(made))
    _import_everything()
    meter.loaded(policy.model)
    side = Ours(job, policy, parts, meter)
    if cell.task.startswith("rollout"):
        side.rollouts(steps)
    else:
        side.train(steps)


def _import_everything() -> None:
    """The other side has imported its trainer before memory is counted."""
    import training.recipes.steps
    from training.engine import checkpoints, credit, heads, objectives, rollouts  # noqa: F401

    assert training.recipes.steps


class Ours:
    """A policy with what is measured of it."""

    def __init__(self, job: Job, policy: Any, parts: dict[str, Any], meter: Meter) -> None:
        self.job, self.cell, self.policy, self.parts, self.meter = job, job.cell, policy, parts, meter
        self.budget = int(job.setting.get("tokens", MICRO_BATCH_TOKENS))
        self.flops = machine.Needed.of(policy.model)

    # training

    def train(self, steps: Sequence[Sequence[Pair]]) -> None:
        """Every step of the cell, as a run of the platform."""
        from training.recipes.context import Events, RunContext
        from training.recipes.steps import steps as walk

        loop = engine.loop.Loop(
            [parameter for part in self.parts.values() for parameter in _trained(part)],
            lr=LR,
            steps=len(steps),
            schedule="constant",
            warmup=0.0,
            clip=CLIP,
        )
        items = list(enumerate(steps))
        if self.cell.task != "grpo_step":
            items = [(number, self.units(number, step)) for number, step in items]
            for _, units in items:
                self.read(units)
        self.policy.model.train()
        with tempfile.TemporaryDirectory() as folder:
            run = RunContext(directory=Path(folder), base_model=Path(), events=Events(Path(folder) / "events.jsonl"))
            self.meter.begin()
            for step in walk(run, loop, in_order(items, size=1), parts=self.parts):
                [(number, units)] = step.batch
                if self.cell.task == "grpo_step":
                    with self.timed("generation"):
                        units = self.sampled(number, units)
                budget = engine.packs.Budget(self.budget, LONGEST)
                packs = engine.packs.micro_batches(units, tokens=budget, device=self.job.device)
                loop.forward_backward(run.heed(packs), self.objective)
                values = loop.optim_step()
                step.report(**values)
                if number:
                    self.meter.found.flops += self.needs(units)
                self.meter.end_step(loss=values["loss"], grad_norm=values["grad_norm"], tokens=_tokens(units))

    def units(self, number: int, step: Sequence[Pair]) -> list[Any]:
        """The rows of one step: a unit for a pair, for a group of samples, or for a row of sft."""
        task = self.cell.task
        if task == "sft":
            return [_row(pair.name, pair.prompt_ids, pair.chosen_ids) for pair in step]
        if task == "dpo":
            return [
                [
                    _row(f"{pair.name}/{k}", pair.prompt_ids, ids)
                    for k, ids in enumerate((pair.chosen_ids, pair.rejected_ids))
                ]
                for pair in step
            ]
        if task == "reward_model":
            return [
                [
                    _scored(f"{pair.name}/{k}", [*pair.prompt_ids, *ids])
                    for k, ids in enumerate((pair.chosen_ids, pair.rejected_ids))
                ]
                for pair in step
            ]
        groups = [[frozen_answer(number, place, k) for k in range(SAMPLES)] for place in range(len(step))]
        return self.rewarded(step, groups)

    def sampled(self, number: int, step: Sequence[Pair]) -> list[Any]:
        """Groups that the policy itself has just written."""
        drawn = engine.rollouts.sample(
            self.policy,
            [list(pair.prompt_ids) for pair in step],
            SAMPLES,
            sampling=engine.rollouts.Sampling(max_tokens=NEW_TOKENS, temperature=1.0),
            seed=number,
            copies=False,  # as the recipes do while they train
        )
        groups = [[one.ids for one in drawn if one.prompt == place] for place in range(len(step))]
        return self.rewarded(step, groups)

    def rewarded(self, step: Sequence[Pair], groups: Sequence[Sequence[list[int]]]) -> list[Any]:
        """Groups of rows with their advantages; a group that teaches nothing is left out."""
        import torch

        rewards = torch.tensor([[reward_of(ids) for ids in group] for group in groups])
        advantages = engine.credit.group_relative(rewards)
        return [
            [
                _row(f"{pair.name}/{k}", pair.prompt_ids, ids, advantage=advantage)
                for k, (ids, advantage) in enumerate(zip(group, of_group, strict=True))
            ]
            for pair, group, of_group, teaches in zip(
                step, groups, advantages.tolist(), engine.credit.has_spread(rewards).tolist(), strict=True
            )
            if teaches
        ]

    def objective(self, pack: Any) -> Any:
        """The loss of one pack, as the recipe of the task has it."""
        task, model = self.cell.task, self.policy.model
        if task == "sft":
            return engine.objectives.sft(engine.logprobs.completion_logprobs(model, pack).values)
        if task == "reward_model":
            scores = engine.heads.row_scores(model, self.parts["head"], pack)[:, 0]
            chosen, rejected = _sides(pack)
            return engine.objectives.bradley_terry(scores[chosen], scores[rejected])
        if task == "dpo":
            chosen, rejected = _sides(pack)
            of = engine.objectives.PairLogprobs.of
            with self.policy.as_reference() as reference:
                then = engine.logprobs.completion_logprobs(reference, pack).values
            now = engine.logprobs.completion_logprobs(model, pack).values
            return engine.objectives.dpo(
                of(now, pack.ragged, chosen=chosen, rejected=rejected),
                of(then, pack.ragged, chosen=chosen, rejected=rejected),
                beta=BETA,
            )
        found = engine.logprobs.completion_logprobs(model, pack, entropy=True)
        advantages = pack.ragged.spread(pack.by_row("advantage"))
        loss = engine.objectives.dapo(found.values, None, advantages, clip_low=0.2, clip_high=0.2)
        loss.metrics["entropy"] = found.entropy.detach().sum()
        return loss

    def read(self, units: Sequence[Any]) -> None:
        """Tell the meter what is trained on."""
        for row in _rows(units):
            self.meter.reads(row.ids, row.trained)

    def needs(self, units: Sequence[Any]) -> float:
        """Floating-point operations of one step."""
        different = sum(engine.packs.lay_out([unit]).ids.shape[1] for unit in units)
        trained = 0 if self.cell.task == "reward_model" else sum(sum(row.trained) for row in _rows(units))
        forwards = 2 if self.cell.task == "dpo" else 1
        return self.flops.of_step(different, trained, forwards=forwards)

    # rollouts

    def rollouts(self, steps: Sequence[Sequence[Pair]]) -> None:
        """A batch of prompts in each step."""
        rollouts = engine.rollouts
        sampling = rollouts.Sampling(max_tokens=ROLLOUT_TOKENS, temperature=1.0)
        if self.cell.task == "rollout_uneven":
            sampling = stopping(sampling, stop_tokens(self.policy.tokenizer))
        self.meter.begin()
        for number, step in enumerate(steps):
            prompts = [list(pair.prompt_ids) for pair in step]
            drawn = rollouts.sample(self.policy, prompts, SAMPLES, sampling=sampling, seed=number)
            self.meter.end_step(loss=0.0, grad_norm=0.0, tokens=sum(len(one.ids) for one in drawn))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.meter.part(name, time.process_time() - started)


def stopping(sampling: Any, stops: Sequence[int]) -> Any:
    """The same sampling, ending at these tokens too."""
    from dataclasses import replace

    return replace(sampling, stop_tokens=tuple(stops))


def in_order(items: Sequence[Any], *, size: int) -> Any:
    """Batches in the order that the items have."""

    class InOrder(engine.loop.Batches):  # type: ignore[misc, name-defined]
        def _order(self, epoch: int) -> list[int]:
            return list(range(len(self.items)))

    return InOrder(items, size=size, epochs=1)


def _trained(part: Any) -> list[Any]:
    parameters: Callable[[], Any] | Any = part.parameters
    return [one for one in (parameters() if callable(parameters) else parameters) if one.requires_grad]


def _row(name: str, prompt: Sequence[int], completion: Sequence[int], **of_row: float) -> Any:
    trained = [False] * len(prompt) + [True] * len(completion)
    return engine.packs.Row(name=name, ids=[*prompt, *completion], trained=trained, of_row=of_row)


def _scored(name: str, ids: Sequence[int]) -> Any:
    return engine.packs.Row(name=name, ids=list(ids), trained=[False] * (len(ids) - 1) + [True])


def _sides(pack: Any) -> tuple[Any, Any]:
    """The numbers of the chosen and of the rejected rows."""
    import torch

    return torch.tensor([unit[0] for unit in pack.units]), torch.tensor([unit[1] for unit in pack.units])


def _rows(units: Sequence[Any]) -> list[Any]:
    return [row for unit in units for row in (unit if isinstance(unit, list) else [unit])]


def _tokens(units: Sequence[Any]) -> int:
    """Useful tokens: of every row, its prompt included."""
    return sum(len(row.ids) for row in _rows(units))
