"""What the recipes with a critic share: their options, values of tokens, credit along time, and the clipped losses.

    A_t = r_t + gamma V_{t+1} - V_t + gamma lam A_{t+1};   returns = A + V;   A <- whitened          (GAE)
    loss = mean_t max(-A rho, -A clip(rho, 1 - c, 1 + c)) + vf 0.5 mean_t max((V - ret)^2, (clip(V, V_old, cv) - ret)^2)

What r_t is, is the recipe's own: `valued` takes it as a function of the rows (`pay`), and takes the KL to the first
model from it. V_t is read at the state before token t. Means are over all tokens of an optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from training import engine
from training.recipes import rewarding
from training.recipes.answers import Gap, parts_of, with_numbers, with_reference
from training.recipes.base import option
from training.recipes.online import Online
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.credit import Whitening
    from training.engine.heads import ScoreHead
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.ragged import Ragged
    from training.recipes.answers import Answers
    from training.recipes.context import RunContext

CRITIC = "critic"  # the name of its adapter, and of its folder beside the policy's


class WithCritic(Weights, Online):
    """Options of every recipe that has a critic."""

    epochs: int = option(4, "how often a step's answers are read", source="4", ge=1, le=64)
    minibatches: int = option(1, "optimiser steps of one reading", source="1", ge=1, le=1024)
    clip: float = option(0.2, "the ratio pays nothing beyond 1 minus and 1 plus this", source="paper: 0.2", gt=0, le=1)
    beta: float = option(0.05, "weight of the KL to the first model, in every token's reward", source="TRL: 0.05", ge=0)
    kl_estimator: Literal["k1", "k3", "full"] = option(
        "k1",
        "how that KL is told: from the one token that was drawn, or exactly, over the whole vocabulary (full)",
        source="k1",
    )
    kl_target: float | None = option(
        None,
        "let beta follow: up when answers are farther from the first model than this, else down",
        unit="nats",
        gt=0,
    )
    kl_horizon: int = option(10_000, "answers over which it follows", source="Ziegler et al.: 10000", ge=1)
    gamma: float = option(1.0, "discount of what comes a token later", source="1", ge=0, le=1)
    lam: float = option(
        0.95, "how far advantages look ahead: 0 trusts the critic, 1 what came", source="0.95", ge=0, le=1
    )
    critic: Literal["adapter", "head", "shared"] = option(
        "adapter",
        "the critic: an adapter of its own; only a layer on the policy's states (half the work); or such a layer, and "
        "its errors teach these states too",
        source="paper's code: shared",
    )
    critic_lr: float | None = option(None, "learning rate of the critic; empty: the policy's", gt=0, le=1)
    vf: float = option(0.1, "weight of the critic's loss", source="TRL: 0.1", ge=0)
    value_clip: float | None = option(
        0.2, "how far a value may move in a step before its worse error counts; empty: anywhere", source="0.2", gt=0
    )

    @model_validator(mode="after")
    def _has_one_base(self) -> WithCritic:
        if self.trained == "all" and self.critic == "adapter":
            raise ValueError("with all weights trained no adapter can stand on the base: set critic to head or shared")
        return self

    @property
    def recalls(self) -> bool:
        """Every step tells how far it has come from the first model."""
        return True


class Critic:
    """V_t of each trained token, float32 [N]: from an adapter of its own, or from the policy's states at `before`,
    which it teaches (`shared`) or not.
    """

    def __init__(self, policy: Policy, head: ScoreHead, *, own: bool, shared: bool = False) -> None:
        self.policy, self.head, self.own, self.shared = policy, head, own, shared

    def __call__(self, pack: Pack, hidden: Tensor) -> Tensor:
        if not self.own:
            return self.head(hidden if self.shared else hidden.detach())[:, 0]
        with self.policy.adapter(CRITIC) as model:
            return engine.heads.values(model, self.head, pack)

    @property
    def parameters(self) -> list[Any]:
        """What it learns with."""
        return [*self.head.parameters(), *(self.policy.parameters_of(CRITIC) if self.own else ())]

    def save(self, run: RunContext) -> dict[str, str]:
        """Write it beside the policy; what the artifact's card says of it."""
        if self.own:
            self.policy.save(run.artifact_path, adapter=CRITIC)
        self.head.save(run.artifact_path / "value_head.safetensors")
        return {
            "kind": "adapter" if self.own else "shared" if self.shared else "head",
            "head": "value_head.safetensors",
        }


def actor_and_critic(run: RunContext, config: WithCritic) -> tuple[Policy, Critic]:
    """The policy (fresh, or going on from another run's) and a critic without an opinion yet."""
    own = config.critic == "adapter"
    policy = config.policy(run, adapters=(CRITIC,) if own else ())
    width = policy.model.get_input_embeddings().weight.shape[1]
    head = engine.heads.ScoreHead(width, ("value",), bias=True).to(policy.device)
    return policy, Critic(policy, head, own=own, shared=config.critic == "shared")


class Pull:
    """The weight of the KL: fixed, or following a target."""

    def __init__(self, config: WithCritic) -> None:
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


def valued(
    config: WithCritic,
    policy: Policy,
    critic: Critic,
    units: Sequence[Sequence[Row]],
    *,
    beta: float,
    pay: Callable[[Sequence[Row], Ragged], Tensor],
    whitening: Whitening | None = "full",
    of_rewards: Whitening | None = None,
    off_policy: bool = False,
) -> tuple[list[list[list[Row]]], dict[str, float]]:
    """The rows with their advantages and returns, in the step's minibatches, and the step's figures.

    `pay` gives the rewards on the rows' tokens [N], the KL not yet taken off. `whitening` None leaves advantages as
    they are; `of_rewards` does the same with the rewards, before. With `off_policy` the ratio's old log-probabilities
    are the sampler's own, else the policy's as it is.
    """
    import torch

    parts = [seen(config, policy, critic, part) for part in parts_of(units, config.minibatches)]
    if off_policy:
        parts = [with_numbers(part, of_tokens={"old": lambda row: row.of_tokens["sampled"]}) for part in parts]
    rows = [row for part in parts for unit in part for row in unit]
    if not rows:
        for how in (of_rewards, whitening):
            whitened(torch.zeros(0), how=how)  # other processes may wait for this one's share
        return parts, {"kl/answer": 0.0, "beta": beta}
    ragged = engine.ragged.Ragged.of_lengths([sum(row.trained) for row in rows])
    old, reference, values = (
        torch.tensor([value for row in rows for value in row.of_tokens[name]])
        for name in ("old", "reference", "values")
    )
    if config.kl_estimator == "full":
        apart = torch.tensor([value for row in rows for value in row.of_tokens["kl"]])
    else:
        apart = engine.kl.ESTIMATORS[config.kl_estimator](old, reference)
    rewards = whitened(pay(rows, ragged) - beta * apart, how=of_rewards)
    advantages, returns = engine.credit.gae(rewards, values, ragged, gamma=config.gamma, lam=config.lam)
    lengths = ragged.lengths().int().tolist()
    found = {
        name: {id(row): part.tolist() for row, part in zip(rows, flat.split(lengths), strict=True)}
        for name, flat in (("advantages", whitened(advantages, how=whitening)), ("returns", returns))
    }
    give = {name: lambda row, of=of: of[id(row)] for name, of in found.items()}
    told = {
        "kl/answer": ragged.sum(apart if config.kl_estimator == "full" else old - reference).mean().item(),
        "kl/reference": engine.kl.k3(old, reference).mean().item(),
        "beta": beta,
        "value": values.mean().item(),
        "value/explained": engine.objectives.explained_variance(values, returns).item(),
    }
    return [with_numbers(part, of_tokens=give) for part in parts], told


def paid(policy: Policy, answers: Answers, rows: Sequence[Row], ragged: Ragged, *, by_place: bool) -> Tensor:
    """The rewards on the rows' tokens [N]: all of an answer's on its last one, or (`by_place`) what was earned before
    its end on the token that wrote that character, and the rest on the last one.
    """
    import torch

    at_end, before = [], []
    for row in rows:
        group, place = int(row.of_row["group"]), int(row.of_row["answer"])
        sample = answers.groups[group][place]
        earned = answers.places[group][place] if answers.places and by_place else []
        on_tokens = rewarding.on_tokens(policy.tokenizer, sample, earned) if earned else [0.0] * len(sample.ids)
        before += on_tokens
        at_end.append(answers.rewards[group, place].item() - sum(on_tokens))
    return engine.rewards.on_last_token(torch.tensor(at_end), ragged) + torch.tensor(before)


def whitened(advantages: Tensor, *, how: Whitening | None = "full") -> Tensor:
    """Mean 0 and deviation 1 over all tokens of the step, those of other processes with them (`how`: see
    `engine.credit.whiten`; None: as they are).
    """
    import torch

    if how is None:
        return advantages
    own = engine.credit.Moments.of(advantages)
    sums = engine.distributed.here().sums({name: float(getattr(own, name)) for name in ("count", "total", "squares")})
    whole = engine.credit.Moments(**{name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()})
    return engine.credit.whiten(advantages, moments=whole, how=how)


def seen(config: WithCritic, policy: Policy, critic: Critic, units: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The rows with what policy, reference and critic make of them before the step's first update, in its packing
    (`old`, `values`, `reference`, and for the exact KL `kl`).
    """
    import torch

    found: dict[str, dict[int, list[float]]] = {"old": {}, "values": {}}
    if config.kl_estimator == "full":
        found["kl"] = {}
    with torch.no_grad():
        for pack in engine.packs.micro_batches(units, tokens=config.budget, device=policy.device):
            lengths = pack.ragged.lengths().int().tolist()
            hidden = engine.logprobs.hidden_states(policy.model, pack, at=pack.before)
            told = dict(zip(("old", "values"), read(config, policy, critic, pack, hidden=hidden), strict=True))
            if "kl" in found:
                told["kl"] = exact_kl(config, policy, pack, hidden)
            for name, flat in told.items():
                found[name].update(
                    {id(row): of.tolist() for row, of in zip(pack.rows, flat.split(lengths), strict=True)}
                )
    known = with_numbers(units, of_tokens={name: lambda row, of=of: of[id(row)] for name, of in found.items()})
    return with_reference(config, policy, known)


def exact_kl(config: WithCritic, policy: Policy, pack: Pack, hidden: Tensor) -> Tensor:
    """sum_v p(v) (log p(v) - log p_ref(v)) at each trained token [N], by chunks of positions, at the sampler's
    temperature; `hidden` are the policy's states before them.
    """
    ours = engine.logprobs.logits_of(policy.model)
    with policy.as_reference() as reference:
        theirs = engine.logprobs.hidden_states(reference, pack, at=pack.before)
        return engine.kl.exact(
            hidden,
            theirs,
            head=ours,
            reference_head=engine.logprobs.logits_of(reference),
            temperature=config.temperature,
        )


def read(
    config: WithCritic, policy: Policy, critic: Critic, pack: Pack, *, hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and values of the pack's trained tokens."""
    if hidden is None:
        hidden = engine.logprobs.hidden_states(policy.model, pack, at=pack.before)
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature, hidden=hidden)
    return now.values, critic(pack, hidden)


def loss_of(config: WithCritic, policy: Policy, critic: Critic, pack: Pack, gap: Gap) -> Loss:
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
