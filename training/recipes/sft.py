"""Supervised fine-tuning: make the answers that people wrote or liked more probable.

    loss = - sum_t log p(y_t | x, y_<t) / number of answer tokens of the whole optimiser step

Loss on the answer alone, its stop token with it; the mean is over all tokens of the step, not a mean of micro-batches'
means. What is learned from: rewrites (the better version), answers that more people spoke for than against, answers
that people wrote themselves. An answer that our engine sampled is learned in the very tokens it was sampled as.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.base import Recipe, option, pack_tokens
from training.recipes.context import RunContext
from training.recipes.learning import Record, Sieve, name_of, need_something, new_answers, policy_card, votes
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.policy import Policy


class Config(Weights):
    """Options of sft."""

    rewrites: bool = option(True, "learn the better versions that people wrote")
    demonstrations: bool = option(True, "learn the answers that people wrote themselves")
    liked: bool = option(True, "learn answers with more reactions and verdicts for them than against them")
    reviewed: bool = option(
        False, "count a review as such a verdict: for the answer where no phrase was marked bad, else against it"
    )
    good_rating: float | None = option(None, "count a rating from this value up as one for the answer; empty: none")
    dimension: str = option("", "of the ratings that count; empty: any")
    epochs: int = option(2, "how often every answer is read", source="1-3 usual", ge=1, le=50)
    batch_size: int = option(16, "answers that one step learns from", unit="answers", ge=1, le=1024)
    lr: float = option(2e-4, "learning rate of the adapter", source="ours; TRL 2e-5 for all weights", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter", ge=1, le=256)
    dropout: float = option(0.0, "dropout in the adapter", ge=0, lt=1)
    weight_decay: float = option(0.0, "decay of the adapter's weights", ge=0, le=1)
    passage_tokens: int = option(
        256, "how much of a prompt's passages is shown: their best sentences; 0 shows none", unit="tokens", ge=0
    )
    max_tokens: int = option(
        1024, "longer prompts with their answer are left out, counted and listed", unit="tokens", ge=16, le=32768
    )
    max_left_out: float = option(0.2, "refuse to start when a larger share of the answers is left out", ge=0, le=1)
    evaluate_every: int = option(
        20, "steps between two measurements on the dev split; 0: at the end only", unit="steps", ge=0, le=100_000
    )
    patience: int = option(
        0, "end after so many measurements without a lower dev loss; the best weights are kept; 0: never", ge=0, le=1000
    )
    new_answers: int = option(
        16, "answers of the final policy that go back to the people", unit="answers", ge=0, le=10_000
    )
    max_new_tokens: int = option(128, "longest new answer", unit="tokens", ge=1, le=4096)
    temperature: float = option(0.7, "of sampling new answers", gt=0, le=2)
    micro_batch_tokens: int = pack_tokens()


def train(run: RunContext, config: Config) -> None:
    """Learn from the train split, watch the dev split, measure on test."""
    policy = config.policy(run, dropout=config.dropout)
    data = {split: prepare(run, config, policy.tokenizer, split) for split in ("train", "dev", "test")}
    need_something(
        data["train"],
        "answers that people wrote, mended or liked",
        "Write some answers as they should have read, or turn on more of rewrites, demonstrations, liked and reviewed; "
        "then start again.",
    )
    run.log(f"Learning from {len(data['train'])} answers; {len(data['dev'])} (dev), {len(data['test'])} (test).")

    batches = engine.loop.Batches(data["train"], size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(
        policy.parameters, lr=config.lr, steps=len(batches), weight_decay=config.weight_decay, schedule="linear"
    )
    budget = engine.packs.Budget(config.micro_batch_tokens, config.max_tokens)

    def objective(pack: Pack) -> Loss:
        return engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)

    def evaluate() -> dict[str, float]:
        return measure(policy, data["dev"], "dev_", budget=budget)

    before = {split: measure(policy, data[split], f"{split}_", budget=budget) for split in ("dev", "test")}
    for step in steps(
        run,
        loop,
        batches,
        parts={"policy": policy},
        evaluate=evaluate if data["dev"] else None,
        every=config.evaluate_every,
        best="min dev_loss" if data["dev"] else None,
        patience=config.patience,
    ):
        policy.model.train()
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=budget)), objective)
        step.report(**loop.optim_step())

    figures = {
        name: value
        for split, then in before.items()
        for name, value in (
            *measure(policy, data[split], f"{split}_", budget=budget).items(),
            *((f"{name}_before", value) for name, value in then.items()),
        )
    }
    policy.save(run.artifact_path)
    new_answers(
        run,
        policy,
        config.new_answers,
        longest=config.max_tokens,
        passage_tokens=config.passage_tokens,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
    )
    metrics = {**figures, "answers": len(data["train"])}
    run.artifact(**policy_card(run, passage_tokens=config.passage_tokens, metrics=metrics))


def prepare(run: RunContext, config: Config, tokenizer: Any, split: str) -> list[Row]:
    """The answers of a split, each once, as rows."""
    sieve = Sieve(tokenizer, longest=config.max_tokens, passage_tokens=config.passage_tokens, whole=True)
    rows = []
    for name, record, answer in chosen(run, config, split):
        if made := sieve.rows(name, record, {"": answer}):
            rows += made
    sieve.report(run, f"answers ({split})", most=config.max_left_out if split == "train" else None)
    return rows


def chosen(run: RunContext, config: Config, split: str) -> list[tuple[str, Record, Record]]:
    """What is learned: the record's name, the record with the prompt, the answer. Every answer once."""
    found: dict[str, tuple[str, Record, Record]] = {}
    for kind, wanted in (("rewrite", config.rewrites), ("demonstration", config.demonstrations)):
        for record in run.rows(split, kind=kind) if wanted else ():
            answer = record["better"] if kind == "rewrite" else record
            found.setdefault(answer["response_id"], (name_of(record), record, answer))
    for voted in votes(
        run.rows(split),
        reactions=config.liked,
        verdicts=config.liked,
        reviews=config.reviewed,
        good_rating=config.good_rating,
        dimension=config.dimension,
    ):
        if voted.verdict > 0:
            found.setdefault(voted.record["response_id"], (name_of(voted.record), voted.record, voted.record))
    return list(found.values())


def measure(policy: Policy, rows: list[Row], prefix: str, *, budget: Budget) -> dict[str, float]:
    """The loss on held-out answers, nats a token."""
    if not rows:
        return {}
    total = count = 0.0
    with policy.scoring() as model:
        for pack in engine.packs.micro_batches(rows, tokens=budget, device=policy.device):
            values = engine.logprobs.completion_logprobs(model, pack).values
            total, count = total - float(values.sum()), count + len(values)
    return {f"{prefix}loss": total / count if count else 0.0}


RECIPE = Recipe(
    name="sft",
    title="Fine-tuning on good answers",
    paper="Supervised fine-tuning, as in InstructGPT (arXiv 2203.02155), step 1",
    summary="Learns to write the answers that people wrote, mended or liked.",
    consumes=("Rewrite", "Response", "Reaction", "Critique", "Rating", "SpanCritique"),
    needs=(),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "epochs": 2,
            "lr": 2e-5,
            "batch_size": 64,
            "max_tokens": 2048,
            "passage_tokens": 1024,
        },
        "laptop": {
            "reviewed": True,
            "epochs": 3,
            "batch_size": 8,
            "passage_tokens": 160,
            "max_tokens": 512,
            "evaluate_every": 10,
            "max_new_tokens": 96,
        },
    },
    train=train,
)
