"""PPO: a critic foretells what an answer will earn from every token on; tokens are pushed by how much better it went.

Papers: Proximal Policy Optimization (arXiv 1707.06347), eq. 7; Fine-Tuning Language Models from Human Preferences
(arXiv 1909.08593) for rewards with a KL; Learning to summarize (arXiv 2009.01325) for a critic of its own.

    r_t = -beta (log p_old - log p_0)(y_t);   r_T += R          R on the stop token itself, or by phrases: Fine-Grained
                                                                RLHF (arXiv 2306.01693), option `pay`
    delta_t = r_t + gamma V_{t+1} - V_t;   A_t = delta_t + gamma lam A_{t+1};   returns = A + V;   A <- whitened
    loss = mean_t max(-A rho, -A clip(rho, 1 - c, 1 + c)) + vf 0.5 mean_t max((V - ret)^2, (clip(V, V_old, cv) - ret)^2)

V_t is read at the state before token t. Means are over all tokens of an optimiser step. Where we differ: policy, its
reference and the critic are adapters on one base (or, `critic = head`, the critic is a linear layer on the policy's own
states, which it does not change); answers without a verdict are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes import rewarding
from training.recipes.answers import Answers, Gap, learn, parts_of, with_numbers, with_reference
from training.recipes.asking import asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import HeldOut, Online, answer, finish, seed_of
from training.recipes.steps import steps

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.heads import ScoreHead
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.ragged import Ragged

CRITIC = "critic"  # the name of its adapter, and of its folder beside the policy's


class Config(Online):
    """Options of ppo."""

    samples: int = option(1, "answers to each prompt", unit="answers", source="paper: 1", ge=1, le=1024)
    missing_stop: float = option(
        1.0, "taken from the reward of an answer that was cut off", source="TRL: advised", ge=0
    )
    epochs: int = option(4, "how often a step's answers are read", source="4", ge=1, le=64)
    minibatches: int = option(1, "optimiser steps of one reading", source="1", ge=1, le=1024)
    clip: float = option(0.2, "the ratio pays nothing beyond 1 minus and 1 plus this", source="paper: 0.2", gt=0, le=1)
    beta: float = option(0.05, "weight of the KL to the first model, in every token's reward", source="TRL: 0.05", ge=0)
    kl_estimator: Literal["k1", "k3"] = option("k1", "how that KL is told from one token", source="k1")
    kl_target: float | None = option(
        None,
        "let beta follow: up when answers are farther from the first model than this, else down",
        unit="nats",
        gt=0,
    )
    kl_horizon: int = option(10_000, "answers over which it follows", source="Ziegler et al.: 10000", ge=1)
    pay: Literal["end", "spans"] = option(
        "end",
        "where a span reward model's verdict is paid: at the answer's end, or where its good and bad phrases end",
        source="end; spans: Wu et al. 2023",
    )
    gamma: float = option(1.0, "discount of what comes a token later", source="1", gt=0, le=1)
    lam: float = option(
        0.95, "how far advantages look ahead: 0 trusts the critic, 1 what came", source="0.95", ge=0, le=1
    )
    critic: Literal["adapter", "head"] = option(
        "adapter", "the critic: an adapter of its own, or only a layer on the policy's states (half the work)"
    )
    critic_lr: float | None = option(None, "learning rate of the critic; empty: the policy's", gt=0, le=1)
    vf: float = option(0.1, "weight of the critic's loss", source="TRL: 0.1", ge=0)
    value_clip: float | None = option(
        0.2, "how far a value may move in a step before its worse error counts; empty: anywhere", source="0.2", gt=0
    )


class Critic:
    """V_t of each trained token, float32 [N]: from an adapter of its own, or from the policy's states at `before`."""

    def __init__(self, policy: Policy, head: ScoreHead, *, own: bool) -> None:
        self.policy, self.head, self.own = policy, head, own

    def __call__(self, pack: Pack, hidden: Tensor) -> Tensor:
        if not self.own:
            return self.head(hidden.detach())[:, 0]
        with self.policy.adapter(CRITIC) as model:
            return engine.heads.values(model, self.head, pack)

    @property
    def parameters(self) -> list[Any]:
        """What it learns with."""
        return [*self.head.parameters(), *(self.policy.parameters_of(CRITIC) if self.own else ())]


class Pull:
    """The weight of the KL: fixed, or following a target."""

    def __init__(self, config: Config) -> None:
        self.config, self.beta = config, config.beta

    def follow(self, kl: float, answers: int) -> None:
        """After a step with so many answers (in this process) that were `kl` nats each from the reference."""
        if self.config.kl_target is None:
            return
        whole = engine.distributed.here().sums({"kl": kl * answers, "answers": float(answers)})
        self.beta = engine.kl.adapt(
            self.beta,
            whole["kl"] / max(1.0, whole["answers"]),
            target=self.config.kl_target,
            samples=round(whole["answers"]),
            horizon=self.config.kl_horizon,
        )

    def state_dict(self) -> dict[str, float]:
        return {"beta": self.beta}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.beta = float(state["beta"])


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, rewards and values on their tokens, `epochs` readings."""
    own = config.critic == "adapter"
    policy = engine.policy.Policy.load(
        run.base_model,
        lora=engine.policy.Lora(rank=config.rank),
        parent=run.models.get("policy"),
        adapters=(CRITIC,) if own else (),
        seed=run.seed,
    )
    judge = config.judge(run, policy)
    width = policy.model.get_input_embeddings().weight.shape[1]
    critic = Critic(policy, engine.heads.ScoreHead(width, ("value",), bias=True).to(policy.device), own=own)
    pull = Pull(config)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    loop = engine.loop.Loop(
        [{"params": policy.parameters}, {"params": critic.parameters, "lr": config.critic_lr or config.lr}],
        lr=config.lr,
        steps=config.steps * config.epochs * config.minibatches,
        schedule=config.schedule,
    )
    parts = {"policy": policy, "value_head": critic.head, "pull": pull}

    for step in steps(run, loop, batches, parts=parts, evaluate=held_out, every=config.every):
        answers = answer(run, config, policy, judge, step.batch, config.samples, seed=seed_of(run, step.number))
        with policy.without_dropout():
            updates, told = experience(config, policy, critic, answers, beta=pull.beta)
            gap = Gap()

            def objective(pack: Pack, gap: Gap = gap) -> Loss:
                return loss_of(config, policy, critic, pack, gap)

            figures = learn(run, loop, policy, updates * config.epochs, objective, tokens=config.budget)
        pull.follow(told["kl/answer"], len(answers.flat))
        step.report(**answers.figures(groups=False), **told, **figures, **gap.figures())
        answers.show(run, step.number + 1, mean_advantages(answers, updates))
    if own:
        policy.save(run.artifact_path, adapter=CRITIC)
    critic.head.save(run.artifact_path / "value_head.safetensors")
    finish(run, config, policy, held_out, critic={"kind": config.critic, "head": "value_head.safetensors"})


def experience(
    config: Config, policy: Policy, critic: Critic, answers: Answers, *, beta: float
) -> tuple[list[list[list[Row]]], dict[str, float]]:
    """The answers with a verdict as rows that know their advantages and returns, in the step's minibatches."""
    import torch

    units = answers.units(config.budget, leave_out=~answers.counted())
    parts = [seen(config, policy, critic, part) for part in parts_of(units, config.minibatches)]
    rows = [row for part in parts for unit in part for row in unit]
    ragged = engine.ragged.Ragged.of_lengths([sum(row.trained) for row in rows])
    old, reference, values = (
        torch.tensor([value for row in rows for value in row.of_tokens[name]])
        for name in ("old", "reference", "values")
    )
    rewards = engine.kl.in_rewards(
        paid(config, policy, answers, rows, ragged), old, reference, beta=beta, estimator=config.kl_estimator
    )
    advantages, returns = engine.credit.gae(rewards, values, ragged, gamma=config.gamma, lam=config.lam)
    lengths = ragged.lengths().int().tolist()
    found = {
        name: {id(row): part.tolist() for row, part in zip(rows, flat.split(lengths), strict=True)}
        for name, flat in (("advantages", whitened(advantages)), ("returns", returns))
    }
    give = {name: lambda row, of=of: of[id(row)] for name, of in found.items()}
    updates = [with_numbers(part, of_tokens=give) for part in parts]
    if not rows:
        return updates, {"kl/answer": 0.0, "beta": beta}
    told = {
        "kl/answer": ragged.sum(engine.kl.k1(old, reference)).mean().item(),
        "kl/reference": engine.kl.k3(old, reference).mean().item(),
        "beta": beta,
        "value": values.mean().item(),
        "value/explained": engine.objectives.explained_variance(values, returns).item(),
    }
    return updates, told


def whitened(advantages: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over all tokens of the step, those of other processes with them."""
    import torch

    own = engine.credit.Moments.of(advantages)
    sums = engine.distributed.here().sums({name: float(getattr(own, name)) for name in ("count", "total", "squares")})
    whole = engine.credit.Moments(**{name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()})
    return engine.credit.whiten(advantages, moments=whole)


def paid(config: Config, policy: Policy, answers: Answers, rows: Sequence[Row], ragged: Ragged) -> Tensor:
    """The rewards on the rows' tokens [N]: all of an answer's on its last one, or (`pay` spans) what its phrases earned
    where they end, and the rest on the last one.
    """
    import torch

    at_end, before = [], []
    for row in rows:
        group, place = int(row.of_row["group"]), int(row.of_row["answer"])
        sample = answers.groups[group][place]
        earned = answers.places[group][place] if answers.places and config.pay == "spans" else []
        on_tokens = rewarding.on_tokens(policy.tokenizer, sample, earned) if earned else [0.0] * len(sample.ids)
        before += on_tokens
        at_end.append(answers.rewards[group, place].item() - sum(on_tokens))
    return engine.rewards.on_last_token(torch.tensor(at_end), ragged) + torch.tensor(before)


def seen(config: Config, policy: Policy, critic: Critic, units: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The rows with what policy, reference and critic make of them before the step's first update, in its packing."""
    import torch

    old, values = {}, {}
    with torch.no_grad():
        for pack in engine.packs.micro_batches(units, tokens=config.budget, device=policy.device):
            lengths = pack.ragged.lengths().int().tolist()
            for found, flat in zip((old, values), read(config, policy, critic, pack), strict=True):
                found.update({id(row): of.tolist() for row, of in zip(pack.rows, flat.split(lengths), strict=True)})
    known = with_numbers(units, of_tokens={"old": lambda row: old[id(row)], "values": lambda row: values[id(row)]})
    return with_reference(config, policy, known)


def read(config: Config, policy: Policy, critic: Critic, pack: Pack) -> tuple[Tensor, Tensor]:
    """Log-probabilities and values of the pack's trained tokens."""
    hidden = engine.logprobs.hidden_states(policy.model, pack, at=pack.before)
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature, hidden=hidden)
    return now.values, critic(pack, hidden)


def loss_of(config: Config, policy: Policy, critic: Critic, pack: Pack, gap: Gap) -> Loss:
    """The clipped policy loss and `vf` times the clipped value loss, over the same tokens."""
    now, values = read(config, policy, critic, pack)
    old = pack.flat("old")
    gap.add(old, pack.flat("sampled"))
    objectives = engine.objectives
    of_policy = objectives.ppo(now, old, pack.flat("advantages"), clip_low=config.clip, clip_high=config.clip)
    of_values = objectives.value_loss(values, pack.flat("values"), pack.flat("returns"), clip=config.value_clip)
    told = {**of_values.metrics, "value/loss": of_values.total.detach()}
    return of_policy.plus(objectives.Loss(of_values.total, of_values.count, told), weight=config.vf)


def mean_advantages(answers: Answers, updates: Sequence[Sequence[Sequence[Row]]]) -> Tensor:
    """Of each answer's tokens, [Q, G], to look at."""
    import torch

    found = torch.zeros_like(answers.rewards)
    for row in (row for part in updates for unit in part for row in unit):
        values = row.of_tokens["advantages"]
        found[int(row.of_row["group"]), int(row.of_row["answer"])] = sum(values) / max(1, len(values))
    return found


RECIPE = Recipe(
    name="ppo",
    title="PPO",
    paper="Proximal Policy Optimization Algorithms (arXiv 1707.06347); for language: arXiv 1909.08593, 2009.01325",
    summary="Learns, with a critic that foretells rewards, which tokens of its answers made them better than expected.",
    consumes=("Prompt",),
    needs=(rewarding.NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 1000,
            "prompts": 64,
            "max_new_tokens": 512,
            "temperature": 0.7,
            "lr": 3e-6,
            "held_out": 128,
        },
        "laptop": {
            "steps": 30,
            "prompts": 16,
            "samples": 4,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "reduction": "phrases",
            "epochs": 2,
            "beta": 0.01,
            "critic": "head",
            "critic_lr": 2e-3,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
