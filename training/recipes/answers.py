"""A step's answers with what they are worth, as rows to learn from, and several optimiser steps on them.

Token in, token out: a row is the prompt's ids and the sampled ids, the stop token among them; nothing is tokenised
again. A group is one unit of a pack, so its prompt is computed once. The log-probabilities of the sampler are kept: how
far the trainer's are from them is watched, and can be corrected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.asking import Ask, question_of, row_of
from training.recipes.context import RunContext
from training.recipes.rewarding import Place

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample
    from training.recipes.online import Practice
    from training.recipes.watching import Watcher

WATCHED = 8  # answers on which the distance to the reference is measured where the loss does not need it
NEAR = (0.9, 1.1)  # a sampler's token probability times this may be the trainer's without a word


@dataclass
class Answers:
    """The answers of one step and what they are worth: Q prompts, G answers to each."""

    asks: list[Ask]
    groups: list[list[Sample]]
    rewards: Tensor  # float64 [Q, G], NaN where there is no verdict
    parts: dict[str, Tensor]  # of the rewards, weighed; each [Q, G]
    places: list[list[list[Place]]] | None = None  # of each answer: what was earned before its end
    raw: dict[str, Tensor] = field(default_factory=dict)  # what each judge said, as it said it; each [Q, G]
    rewarded: Tensor | None = None  # [Q, G]: tokens that were rewarded or blamed
    watch: Watcher | None = None  # looks at the step's answers when their figures are asked for

    @property
    def flat(self) -> list[Sample]:
        """All of them, group after group."""
        return [one for group in self.groups for one in group]

    def where(self, kept: Sequence[int]) -> Answers:
        """These groups alone."""
        rows = list(kept)
        return replace(
            self,
            asks=[self.asks[place] for place in rows],
            groups=[self.groups[place] for place in rows],
            rewards=self.rewards[rows],
            parts={name: values[rows] for name, values in self.parts.items()},
            places=None if self.places is None else [self.places[place] for place in rows],
            raw={name: values[rows] for name, values in self.raw.items()},
            rewarded=None if self.rewarded is None else self.rewarded[rows],
        )

    def plus(self, other: Answers) -> Answers:
        """These groups and those of another draw."""
        import torch

        def both(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: torch.cat([values, theirs[name]]) for name, values in mine.items()}

        known = self.rewarded is not None and other.rewarded is not None
        return replace(
            self,
            asks=self.asks + other.asks,
            groups=self.groups + other.groups,
            rewards=torch.cat([self.rewards, other.rewards]),
            parts=both(self.parts, other.parts),
            places=None if self.places is None or other.places is None else self.places + other.places,
            raw=both(self.raw, other.raw),
            rewarded=torch.cat([self.rewarded, other.rewarded]) if known else None,  # type: ignore[list-item]
        )

    def with_part(self, name: str, values: Tensor) -> Answers:
        """The same with one more part in the rewards."""
        return replace(self, rewards=self.rewards + values, parts={**self.parts, name: values})

    def units(self, tokens: int | Budget, *, leave_out: Tensor | None = None) -> list[list[Row]]:
        """The answers as rows, those to one prompt together as far as `tokens` holds them. `leave_out` bool [Q, G] are
        those that nothing is learned from: they are not computed, and a group of them is no unit at all.

        Rows know their place (`of_row`: group, answer) and what the sampler gave their tokens (`of_tokens`: sampled).
        """
        units = []
        most = tokens if isinstance(tokens, int) else tokens.at_most
        for number, (ask, group) in enumerate(zip(self.asks, self.groups, strict=True)):
            unit: list[Row] = []
            size = len(ask.ids)
            for place, sample in enumerate(group):
                if leave_out is not None and bool(leave_out[number, place]):
                    continue
                if unit and size + len(sample.ids) > most:
                    units.append(unit)
                    unit, size = [], len(ask.ids)
                name = f"prompt {ask.prompt_id}, answer {place + 1}"
                size += len(sample.ids)
                unit.append(
                    row_of(
                        name,
                        ask,
                        sample,
                        of_row={"group": float(number), "answer": float(place)},
                        of_tokens={"sampled": sample.logprobs},
                    )
                )
            if unit:
                units.append(unit)
        return units

    def counted(self, *, whole: bool = False) -> Tensor:
        """bool [Q, G]: answers with a verdict, and (`whole`) not cut off."""
        import torch

        finished = torch.tensor([one.finished or not whole for one in self.flat], dtype=torch.bool)
        return ~self.rewards.isnan() & finished.reshape(self.rewards.shape)

    @property
    def silent(self) -> Tensor:
        """bool [Q, G]: answers of groups that all earn the same; there is nothing to learn from choosing among them."""
        return ~engine.credit.has_spread(self.rewards)[:, None].expand_as(self.rewards)

    def share(self, part: Tensor, *, of: Tensor, by_tokens: bool = False) -> float:
        """How much of some answers others are, both bool [Q, G], in number or in tokens; 1 of none. Over all processes:
        all of them ask, or none.
        """
        import torch

        sizes = torch.tensor([float(len(one.ids)) if by_tokens else 1.0 for one in self.flat])
        sizes = sizes.reshape(self.rewards.shape)
        sums = engine.distributed.here().sums({"part": (sizes * part).sum().item(), "of": (sizes * of).sum().item()})
        return sums["part"] / sums["of"] if sums["of"] else 1.0

    def figures(self, *, groups: bool = True) -> dict[str, float]:
        """The step in figures: rewards with their parts (and what their judges said, where that is weighed or
        normalised), and what tells of trouble; with `groups`, how many of them are silent. Ask once a step: the watch
        sees the answers when they are asked for.
        """
        import torch

        samples = self.flat
        if not samples:  # a process that got none of a step's prompts
            return {}
        lengths = torch.tensor([float(len(one.ids)) for one in samples])
        judged = self.rewards[~self.rewards.isnan()]
        figures = {
            "answer_tokens": lengths.mean().item(),
            "truncated": sum(not one.finished for one in samples) / len(samples),
            "empty": sum(not one.text.strip() for one in samples) / len(samples),
            "unjudged": 1 - len(judged) / len(samples),
            "entropy": -sum(sum(one.logprobs) for one in samples) / max(1.0, lengths.sum().item()),
        }
        if len(judged):
            figures |= {"reward": judged.mean().item(), "reward_std": judged.std(correction=0).item()}
            figures |= {
                f"reward/{name}": values[~values.isnan()].mean().item()
                for name, values in self.parts.items()
                if not values.isnan().all()
            }
            figures |= {
                f"said/{name}": values[~values.isnan()].mean().item()
                for name, values in self.raw.items()
                if not values.isnan().all()
                and not (name in self.parts and values.allclose(self.parts[name], equal_nan=True))
            }
        if self.rewarded is not None:
            figures["rewarded_tokens"] = self.rewarded.sum().item() / max(1.0, lengths.sum().item())
        if self.watch is not None:
            figures |= self.watch(self)
        if groups:
            figures["silent_groups"] = 1 - engine.credit.has_spread(self.rewards).double().mean().item()
        rewards = self.rewards.flatten()
        there = ~rewards.isnan()
        figures["reward_length_correlation"] = correlation(rewards[there], lengths[there].double())
        return figures

    def show(self, run: RunContext, step: int, advantages: Tensor | None = None, n: int = 2) -> None:
        """A few prompts with all their answers side by side."""
        for number, (ask, group) in list(enumerate(zip(self.asks, self.groups, strict=True)))[:n]:
            answers = []
            for place, one in enumerate(group):
                reward = self.rewards[number, place].item()
                told: dict[str, Any] = {"text": one.text, "reward": None if math.isnan(reward) else reward}
                if advantages is not None:
                    told["advantage"] = advantages[number, place].item()
                if not one.finished:
                    told["cut_off"] = True
                answers.append(told)
            run.sample(step, prompt_id=ask.prompt_id, question=question_of(ask), answers=answers)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, 0 where one of them does not vary."""
    if len(a) < 2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = (a.square().sum() * b.square().sum()).sqrt().item()
    return (a * b).sum().item() / scale if scale > 1e-12 else 0.0


# --- log-probabilities that are not differentiated


def logprobs_of(
    as_model: AbstractContextManager[Any],
    units: Sequence[Sequence[Row]],
    *,
    tokens: int | Budget,
    temperature: float,
    device: Any,
) -> dict[int, list[float]]:
    """log p of every row's trained tokens, by the row's identity, under the model that `as_model` lends. The packing is
    that of training: the policy's own numbers come back to the last bit while it has not been changed.
    """
    import torch

    found = {}
    with torch.no_grad(), as_model as model:
        for pack in engine.packs.micro_batches(units, tokens=tokens, device=device):
            values = engine.logprobs.completion_logprobs(model, pack, temperature=temperature).values
            for row, of_row in zip(pack.rows, values.split(pack.ragged.lengths().int().tolist()), strict=True):
                found[id(row)] = of_row.tolist()
    return found


def with_numbers(
    units: Sequence[Sequence[Row]],
    *,
    of_tokens: Mapping[str, Callable[[Row], Sequence[float]]] | None = None,
    of_row: Mapping[str, Callable[[Row], float]] | None = None,
) -> list[list[Row]]:
    """The same rows with more numbers: for each of their trained tokens, or for each row."""

    def known(row: Row) -> Row:
        tokens = {name: give(row) for name, give in (of_tokens or {}).items()}
        numbers = {name: give(row) for name, give in (of_row or {}).items()}
        return replace(row, of_tokens={**row.of_tokens, **tokens}, of_row={**row.of_row, **numbers})

    return [[known(row) for row in unit] for unit in units]


def with_advantages(units: Sequence[Sequence[Row]], advantages: Tensor) -> list[list[Row]]:
    """The rows with their entry of advantages [Q, G]: one for the row (`advantage`), and on each of its tokens
    (`advantages`).
    """

    def of_row(row: Row) -> float:
        return float(advantages[int(row.of_row["group"]), int(row.of_row["answer"])])

    return with_numbers(
        units,
        of_tokens={"advantages": lambda row: [of_row(row)] * sum(row.trained)},
        of_row={"advantage": of_row},
    )


def with_reference(config: Practice, policy: Policy, units: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The rows with the reference's log-probabilities (`reference`)."""
    found = logprobs_of(
        policy.as_reference(), units, tokens=config.budget, temperature=config.temperature, device=policy.device
    )
    return with_numbers(units, of_tokens={"reference": lambda row: found[id(row)]})


def with_old(config: Practice, policy: Policy, units: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The rows with the policy's log-probabilities as it is now (`old`)."""
    found = logprobs_of(
        nullcontext(policy.model), units, tokens=config.budget, temperature=config.temperature, device=policy.device
    )
    return with_numbers(units, of_tokens={"old": lambda row: found[id(row)]})


def kl_of_answers(units: Sequence[Sequence[Row]], like: Tensor) -> Tensor:
    """sum_t (log p_old - log p_ref) of every answer (k1), in the shape of `like` [Q, G]; 0 for one that is no row."""
    import torch

    found = torch.zeros_like(like)
    for row in (row for unit in units for row in unit):
        pairs = zip(row.of_tokens["old"], row.of_tokens["reference"], strict=True)
        found[int(row.of_row["group"]), int(row.of_row["answer"])] = sum(old - then for old, then in pairs)
    return found


# --- learning from a step's answers


@dataclass
class Gap:
    """How far the trainer's log-probabilities of sampled tokens are from the sampler's own."""

    ratios: list[Tensor] = field(default_factory=list)

    def add(self, trained: Tensor, sampled: Tensor) -> None:
        """Both [N]."""
        self.ratios.append((trained.detach().double() - sampled.double()).exp().cpu())

    def figures(self) -> dict[str, float]:
        """Mean and 95th percentile of |p_trainer / p_sampler - 1|, and the share of tokens outside of `NEAR`."""
        import torch

        if not self.ratios:
            return {}
        ratios = torch.cat(self.ratios)
        apart = (ratios - 1).abs()
        outside = (ratios < NEAR[0]) | (ratios > NEAR[1])
        return {
            "gap/mean": apart.mean().item(),
            "gap/p95": apart.kthvalue(max(1, math.ceil(0.95 * len(apart)))).values.item(),
            "gap/outside": outside.double().mean().item(),
        }


def parts_of(units: Sequence[Any], n: int) -> list[list[Any]]:
    """The units in `n` parts, as equal as may be, in their order; a part may be empty."""
    return [list(units[len(units) * k // n : len(units) * (k + 1) // n]) for k in range(n)]


def learn(
    run: RunContext,
    loop: Loop,
    policy: Policy,
    updates: Sequence[Sequence[Sequence[Row]]],
    objective: Callable[[Pack], Loss],
    *,
    tokens: int | Budget,
) -> dict[str, float]:
    """One optimiser step for each of `updates`; their figures' means, the learning rate's last. An update without rows
    changes nothing but the place in the schedule.
    """
    told: dict[str, list[float]] = {}
    for units in updates:
        loop.forward_backward(
            run.heed(engine.packs.micro_batches(units, tokens=tokens, device=policy.device)), objective
        )
        values = loop.optim_step()
        for name, value in values.items():
            if units or name == "lr":
                told.setdefault(name, []).append(value)
    return {name: values[-1] if name == "lr" else sum(values) / len(values) for name, values in told.items()}


def watched(config: Practice, policy: Policy, units: Sequence[Sequence[Row]]) -> dict[str, float]:
    """The distance to the reference now: k3 on a few of the step's answers, where the loss does not tell it. Nothing
    where all weights are trained and no copy was kept: the first model is gone.
    """
    import torch

    if not units or not policy.recalls:
        return {}
    rows = with_reference(config, policy, with_old(config, policy, [list(units[0])[:WATCHED]]))[0]
    now, then = (
        torch.tensor([value for row in rows for value in row.of_tokens[name]]) for name in ("old", "reference")
    )
    return {"kl/reference": engine.kl.k3(now, then).mean().item()}
