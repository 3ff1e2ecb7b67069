"""RAFT: sample several answers to each prompt, keep the best by a reward model, fine-tune on what was kept, and again.

Paper: RAFT (arXiv 2304.06767), algorithm 1, with local ranking: only answers to the same prompt are compared, so a
reward that is off by a constant of the prompt, or seen through any rising curve, keeps the same answers.

Reward: a span reward model's mean over the answer's tokens of p(good) - p(bad), or (`reduction`) its phrases counted:
in a mean a missing step is one token of sixty, and answers grow short; counted, it weighs as much as a rude phrase.
Where we differ: an adapter is trained, not all weights; a prompt whose answers all score the same is skipped (the
paper keeps a random one); loss on the answer alone, its stop token included (the published script trains on the
prompt too). Where the paper is silent: unfinished answers are never kept; an answer that cannot be scored is left
out, not scored 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from training import engine
from training.recipes.asking import Ask, asks, asks_to_learn_from, draw, give_back, item_of, question_of, row_of
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.context import RunContext
from training.recipes.steps import steps

if TYPE_CHECKING:
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample, Sampling
    from training.engine.scoring import SpanScorer


class Config(RecipeConfig):
    """Options of raft."""

    rounds: int = option(3, "how often to sample, rank and fine-tune", source="10-18 in the paper", ge=1, le=100)
    prompts: int = option(64, "prompts of one round (b)", unit="prompts", source="2048 in the paper", ge=1, le=100_000)
    samples: int = option(
        8, "answers to each prompt (K)", unit="answers", source="8, 16, 32 in the paper", ge=1, le=256
    )
    temperature: float = option(1.0, "of sampling: the highest that stays sane", source="paper's lambda", gt=0, le=2)
    max_new_tokens: int = option(128, "longest answer", unit="tokens", source="paper: 128", ge=1, le=4096)
    reduction: Literal["mean", "phrases"] = option(
        "mean", "one number from the scores: the tokens' mean, or every good or bad phrase counting once", source="ours"
    )
    beta: float = option(
        0.0, "penalty for leaving the first model, in the ranking only", source="paper: 0", ge=0, le=10
    )
    min_reward: float | None = option(None, "leave a prompt out when its best answer scores less; empty: never")
    forbid: str = option("", "regular expression: answers in which it is found are never kept")
    epochs: int = option(2, "how often a round's kept answers are read", source="paper: 2", ge=1, le=50)
    batch_size: int = option(16, "answers that one step learns from", unit="answers", ge=1, le=1024)
    lr: float = option(
        2e-4, "learning rate; each round starts its own linear schedule", source="paper: 2e-5", gt=0, le=0.1
    )
    rank: int = option(16, "rank of the adapter", ge=1, le=256)
    passage_tokens: int = option(
        256,
        "how much of a prompt's passages the policy is shown: their best sentences; 0 shows none",
        unit="tokens",
        ge=0,
    )
    max_prompt_tokens: int = option(512, "longer prompts are left out and counted", unit="tokens", ge=8, le=32768)
    held_out: int = option(
        16, "prompts of the dev split on which each round is measured", unit="prompts", ge=0, le=1000
    )
    new_answers: int = option(
        16, "answers of the final policy that go back to the people", unit="answers", ge=0, le=10_000
    )
    micro_batch_tokens: int = pack_tokens()
    decode_rows: int = option(64, "answers written at one time; changes memory, not what is written", ge=1, le=4096)

    @field_validator("forbid")
    @classmethod
    def _can_be_searched_for(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


@dataclass
class Candidate:
    """One sampled answer of a round; `reward` None: it cannot be kept, and `dropped` says why."""

    sample: Sample
    reward: float | None = None
    dropped: str = ""


def train(run: RunContext, config: Config) -> None:
    """G_0 is the base (or a given policy); each round makes the next; the last one's new answers go back to the
    people. A checkpoint stands between two rounds.
    """
    policy = engine.policy.Policy.load(
        run.base_model, lora=engine.policy.Lora(rank=config.rank), parent=run.models.get("policy"), seed=run.seed
    )
    scorer = engine.scoring.SpanScorer.load(run.models["span_reward_model"], beside=policy)
    fitting = {"passage_tokens": config.passage_tokens, "longest": config.max_prompt_tokens}
    learned = asks_to_learn_from(run, policy.tokenizer, **fitting)
    held_out = asks(run, policy.tokenizer, "dev", **fitting)[: config.held_out]
    per_round = engine.loop.steps_of(min(config.prompts, len(learned)), size=config.batch_size, epochs=config.epochs)
    total = per_round * config.rounds
    if run.resumed is None:
        run.metrics(0, total, **measure(run, config, policy, scorer, held_out))

    rounds = engine.loop.Batches(range(config.rounds), size=1, steps=config.rounds)
    for number in (one.number for one in steps(run, None, rounds, parts={"policy": policy})):
        chosen = run.random(f"round {number}").sample(learned, min(config.prompts, len(learned)))  # D_t
        groups = candidates(run, config, policy, chosen, config.samples, seed=run.seed * 1000 + number)  # y ~ G_t
        score(config, policy, scorer, chosen, groups)  # r, or r~ with a beta
        best = [rank([one.reward for one in group], least=config.min_reward) for group in groups]
        rows = [
            row_of(f"prompt {ask.prompt_id}", ask, group[place].sample)
            for ask, group, place in zip(chosen, groups, best, strict=True)
            if place is not None
        ]  # B_t
        write_kept(run, number, chosen, groups, best)
        figures = describe(groups, best)
        step = number * per_round
        if rows:
            fine_tune(run, config, policy, rows, first_step=step, total=total, seed=run.seed * 1000 + number)  # G_{t+1}
        else:
            run.log(
                f"Round {number + 1} kept nothing: all answers to each prompt scored alike or were dropped.",
                level="warning",
            )
        run.metrics(
            step + per_round, total, round=number + 1, **figures, **measure(run, config, policy, scorer, held_out)
        )
        show(run, step + per_round, chosen, groups, best)

    figures = {f"held_out_{name}": value for name, value in measure(run, config, policy, scorer, held_out).items()}
    policy.save(run.artifact_path)
    if config.new_answers:
        give_back(
            run,
            policy,
            asks(run, policy.tokenizer, None, **fitting)[: config.new_answers],
            sampling=sampling_of(config),
            seed=run.seed * 1000 + 999,
            rows=config.decode_rows,
            passage_tokens=config.passage_tokens,
        )
    run.artifact(
        kind="policy",
        base=str(run.base_model),
        prompt={"passage_tokens": config.passage_tokens},
        parent=str(run.models["policy"]) if "policy" in run.models else None,
        metrics=figures,
    )


def rank(rewards: Sequence[float | None], *, least: float | None = None) -> int | None:
    """Which answer to a prompt is kept: the best that could be scored, the first of equals.

    None where nothing could be scored, where all of several score the same (there is nothing to learn from choosing
    among them), or where the best scores below `least`.
    """
    scored = [(reward, -place) for place, reward in enumerate(rewards) if reward is not None]
    if not scored or (len(scored) > 1 and len({reward for reward, _ in scored}) == 1):
        return None
    best, place = max(scored)
    return None if least is not None and best < least else -place


def sampling_of(config: Config) -> Sampling:
    """How answers are drawn, in training and afterwards."""
    return engine.rollouts.Sampling(max_tokens=config.max_new_tokens, temperature=config.temperature)


def candidates(
    run: RunContext, config: Config, policy: Policy, chosen: Sequence[Ask], n: int, *, seed: int
) -> list[list[Candidate]]:
    """`n` answers to each prompt, none of them judged yet."""
    drawn = draw(run, policy, chosen, n, sampling=sampling_of(config), seed=seed, rows=config.decode_rows)
    return [[Candidate(one) for one in group] for group in drawn]


def score(
    config: Config, policy: Policy, scorer: SpanScorer, chosen: Sequence[Ask], groups: Sequence[Sequence[Candidate]]
) -> None:
    """Reward each candidate, or say why it can never be kept."""
    pairs = [(ask, one) for ask, group in zip(chosen, groups, strict=True) for one in group]
    for _, one in pairs:
        if not one.sample.finished:
            one.dropped = "unfinished"
        elif not one.sample.text.strip():
            one.dropped = "empty"
        elif config.forbid and re.search(config.forbid, one.sample.text):
            one.dropped = "forbidden"
    alive = [(ask, one) for ask, one in pairs if not one.dropped]
    found = scorer.score_many([item_of(ask, one.sample) for ask, one in alive])
    for (_, one), tokens in zip(alive, found, strict=True):
        if tokens is None:
            one.dropped = "cannot be scored"
        else:
            one.reward = engine.scoring.reward(tokens, reduction=config.reduction)
    if config.beta:
        scored = [(ask, one) for ask, one in alive if one.reward is not None]
        for (_, one), gap in zip(scored, log_ratios(config, policy, scored), strict=True):
            one.reward = (one.reward or 0.0) - config.beta * gap


def log_ratios(config: Config, policy: Policy, pairs: Sequence[tuple[Ask, Candidate]]) -> list[float]:
    """log p_Gt(y|x) - log p_G0(y|x), summed over the answer's tokens: exactly 0 while the adapter has learned
    nothing.
    """
    rows = [row_of(str(place), ask, one.sample) for place, (ask, one) in enumerate(pairs)]
    return engine.policy.log_ratios(policy, rows, tokens=_budget(config))


def fine_tune(
    run: RunContext, config: Config, policy: Policy, rows: list[Row], *, first_step: int, total: int, seed: int
) -> None:
    """SFT on the kept answers: the token mean over each optimiser step; optimiser and schedule are the round's own."""
    steps = engine.loop.steps_of(len(rows), size=config.batch_size, epochs=config.epochs)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=steps, schedule="linear")

    def objective(pack: Pack) -> Loss:
        return engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)

    policy.model.train()
    for batch in engine.loop.batches(rows, size=config.batch_size, epochs=config.epochs, seed=seed):
        run.check_stop()
        packs = engine.packs.micro_batches(loop.processes.share(batch), tokens=_budget(config))
        loop.forward_backward(run.heed(packs), objective)
        values = loop.optim_step()
        run.metrics(first_step + loop.step, total, **values)
    policy.model.eval()


def measure(
    run: RunContext, config: Config, policy: Policy, scorer: SpanScorer, held_out: Sequence[Ask]
) -> dict[str, float]:
    """The mean reward of the policy's answers to held-out prompts, one each, always drawn with the same seeds."""
    if not held_out:
        return {}
    groups = candidates(run, config, policy, held_out, 1, seed=run.seed)
    items = [item_of(ask, one.sample) for ask, (one,) in zip(held_out, groups, strict=True)]
    scored = [tokens for tokens in scorer.score_many(items) if tokens]
    rewards = [engine.scoring.reward(tokens, reduction=config.reduction) for tokens in scored]
    return {"held_out_reward": sum(rewards) / len(rewards)} if rewards else {}


def describe(groups: Sequence[Sequence[Candidate]], best: Sequence[int | None]) -> dict[str, float]:
    """The round in figures: rewards of all and of the kept, and what tells of trouble: ties, drops, sameness."""
    everyone = [one for group in groups for one in group]
    rewards = [one.reward for one in everyone if one.reward is not None]
    kept = [group[place] for group, place in zip(groups, best, strict=True) if place is not None]
    kept_rewards = [one.reward for one in kept if one.reward is not None]
    pairs = [pair for one in kept for ids in [one.sample.ids] for pair in zip(ids, ids[1:], strict=False)]
    return {
        **({"reward": sum(rewards) / len(rewards)} if rewards else {}),
        **({"kept_reward": sum(kept_rewards) / len(kept_rewards)} if kept_rewards else {}),
        **({"kept_distinct_2": len(set(pairs)) / len(pairs)} if pairs else {}),
        "kept": float(len(kept)),
        "skipped_prompts": (len(groups) - len(kept)) / len(groups),
        "dropped_answers": sum(bool(one.dropped) for one in everyone) / len(everyone),
        "answer_tokens": sum(len(one.sample.ids) for one in everyone) / len(everyone),
    }


def write_kept(
    run: RunContext,
    number: int,
    chosen: Sequence[Ask],
    groups: Sequence[Sequence[Candidate]],
    best: Sequence[int | None],
) -> None:
    """The round's whole set, beside the artifact: what was sampled, how it scored, what was kept, and why not."""
    with (run.artifact_path / f"round-{number + 1}.jsonl").open("w", encoding="utf-8") as file:
        for ask, group, place in zip(chosen, groups, best, strict=True):
            answers = [
                {
                    "text": one.sample.text,
                    "reward": one.reward,
                    "dropped": one.dropped,
                    "seed": one.sample.seed,
                    "kept": index == place,
                }
                for index, one in enumerate(group)
            ]
            file.write(json.dumps({"prompt_id": ask.prompt_id, "answers": answers}, ensure_ascii=False) + "\n")


def show(
    run: RunContext,
    step: int,
    chosen: Sequence[Ask],
    groups: Sequence[Sequence[Candidate]],
    best: Sequence[int | None],
    n: int = 3,
) -> None:
    """A few prompts of the round with all their answers side by side."""
    for ask, group, place in list(zip(chosen, groups, best, strict=True))[:n]:
        run.sample(
            step,
            prompt_id=ask.prompt_id,
            question=question_of(ask),
            answers=[
                {"text": one.sample.text, "reward": one.reward, "dropped": one.dropped, "kept": index == place}
                for index, one in enumerate(group)
            ],
        )


def _budget(config: Config) -> Budget:
    return engine.packs.Budget(config.micro_batch_tokens, config.max_prompt_tokens + config.max_new_tokens)


RECIPE = Recipe(
    name="raft",
    title="RAFT",
    paper="RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment (arXiv 2304.06767)",
    summary="Writes several answers to each prompt, learns from the one that the reward model likes best, and again.",
    consumes=("Prompt",),
    needs=("span_reward_model",),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "rounds": 12,
            "prompts": 2048,
            "samples": 16,
            "lr": 2e-5,
            "max_prompt_tokens": 256,
            "passage_tokens": 0,
            "held_out": 256,
            "batch_size": 64,
        },
        "laptop": {
            "rounds": 3,
            "prompts": 32,
            "samples": 4,
            "reduction": "phrases",
            "temperature": 0.8,
            "max_new_tokens": 96,
            "batch_size": 8,
            "passage_tokens": 160,
            "held_out": 12,
        },
    },
    train=train,
)
