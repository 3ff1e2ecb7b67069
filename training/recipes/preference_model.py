"""A preference model: it reads two answers at once and says which one people prefer.

A causal language model with an adapter reads the prompt and both answers; a linear head makes z of the state at the
last token. Both orders are read of every pair, and

    s = (z(a, b) - z(b, a)) / 2        loss = BCE(sigmoid(s), y)        y: 1 where a was preferred, 1/2 for a tie

so that p(a, b) = 1 - p(b, a) whatever was learned. It is not Bradley-Terry: s need not be a difference of two scores,
and where people's tastes go in circles (a beats b beats c beats a) it can say so. It is what `spo` plays by (SPO, arXiv
2401.04056, section on the preference function).

Beside its accuracy stand that of the length alone, how well its probabilities are calibrated, and how often the two
orders of reading disagree about who wins (`order_swap`): a habit that the difference takes out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.comparisons import Compared, of_dimension, pairs_in
from training.recipes.context import RunContext
from training.recipes.learning import Sieve, name_of, need_something
from training.recipes.steps import steps

if TYPE_CHECKING:
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.pair_scoring import PairReading, PairScorer


class Config(RecipeConfig):
    """Options of preference_model."""

    dimension: str = option("", "of the comparisons that count; empty: overall")
    rankings: bool = option(True, "rankings and choices make pairs as well; one of k answers weighs as k - 1 pairs")
    rewrites: bool = option(False, "a better version that somebody wrote beats the answer that it mends")
    ties: Literal["half", "drop"] = option(
        "half", "let either win half of a tie, or leave ties out", source="SPO: half"
    )
    strength: Literal["alike", "weight"] = option(
        "alike", "weigh a slight preference (strength 1) as a clear one (3), or by a third for each"
    )
    epochs: int = option(2, "how often every pair is read", ge=1, le=50)
    batch_size: int = option(16, "pairs that one step learns from", ge=1, le=1024)
    lr: float = option(2e-4, "learning rate of the adapter", source="ours", gt=0, le=0.1)
    head_lr: float = option(2e-3, "learning rate of the head", source="ours", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter", ge=1, le=256)
    dropout: float = option(0.0, "dropout in the adapter and before the head", ge=0, lt=1)
    weight_decay: float = option(0.01, "decay of what is trained", ge=0, le=1)
    passage_tokens: int = option(
        256, "how much of a prompt's passages is shown: their best sentences; 0 shows none", unit="tokens", ge=0
    )
    max_tokens: int = option(
        1024, "longer prompts with their two answers are left out and counted", unit="tokens", ge=16, le=32768
    )
    max_left_out: float = option(0.2, "refuse to start when a larger share of the pairs is left out", ge=0, le=1)
    evaluate_every: int = option(
        20, "steps between two measurements on the dev split; 0: at the end only", unit="steps", ge=0, le=100_000
    )
    patience: int = option(
        0, "end after so many measurements without a lower dev loss; the best weights are kept; 0: never", ge=0, le=1000
    )
    micro_batch_tokens: int = pack_tokens()


@dataclass(frozen=True)
class Judged:
    """A pair in both orders, the preferred answer first in the first of them."""

    rows: Sequence[Row]  # of_row: preferred (1, or 0.5 for a tie), weight
    pair: Compared


def train(run: RunContext, config: Config) -> None:
    """Learn from the train split's pairs, watch the dev split, measure on test."""
    policy = engine.policy.Policy.load(
        run.base_model, lora=engine.policy.Lora(rank=config.rank, dropout=config.dropout), seed=run.seed
    )
    head = engine.heads.ScoreHead(policy.model.config.hidden_size, dropout=config.dropout).to(policy.device)
    reading = engine.pair_scoring.PairReading(passage_tokens=config.passage_tokens, max_tokens=config.max_tokens)
    scorer = engine.pair_scoring.PairScorer(policy, head, reading=reading)
    data = {split: prepare(run, config, policy.tokenizer, reading, split) for split in ("train", "dev", "test")}
    need_something(data["train"], "compared pairs", "Compare some pairs of answers, and start again.")
    run.log(f"Learning from {len(data['train'])} pairs; {len(data['dev'])} (dev), {len(data['test'])} (test).")

    batches = engine.loop.Batches(data["train"], size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(
        [
            {"params": policy.parameters, "lr": config.lr},
            {"params": list(head.parameters()), "lr": config.head_lr},
        ],
        lr=config.lr,
        steps=len(batches),
        weight_decay=config.weight_decay,
    )
    budget = engine.packs.Budget(config.micro_batch_tokens, 2 * config.max_tokens)

    def objective(pack: Pack) -> Loss:
        return loss_of(pack, scorer)

    def evaluate() -> dict[str, float]:
        return measure(scorer, data["dev"], "dev_", budget)

    for step in steps(
        run,
        loop,
        batches,
        parts={"head": head, "policy": policy},
        evaluate=evaluate if data["dev"] else None,
        every=config.evaluate_every,
        best="min dev_loss" if data["dev"] else None,
        patience=config.patience,
    ):
        policy.model.train()
        head.train()
        units = [one.rows for one in step.batch]
        loop.forward_backward(run.heed(engine.packs.micro_batches(units, tokens=budget)), objective)
        step.report(**loop.optim_step())

    figures = {
        name: value
        for split in ("dev", "test")
        for name, value in (
            measure(scorer, data[split], f"{split}_", budget) | of_length(data["train"], data[split], f"{split}_")
        ).items()
    }
    show_some(run, scorer, data["test"] or data["dev"], step=len(batches))
    policy.save(run.artifact_path)
    head.save(run.artifact_path / "head.safetensors")
    run.artifact(
        kind="preference_model",
        base=str(run.base_model),
        reading=asdict(reading),
        metrics={**figures, "pairs": len(data["train"])},
    )


def prepare(run: RunContext, config: Config, tokenizer: Any, reading: PairReading, split: str) -> list[Judged]:
    """The pairs of a split, in both orders; what cannot be read is counted and named in the log."""
    sieve = Sieve(tokenizer, longest=config.max_tokens, passage_tokens=config.passage_tokens)
    kinds = ("preference", *(["ranking", "choice"] * config.rankings), *(["rewrite"] * config.rewrites))
    found = []
    for record in chain.from_iterable(run.rows(split, kind=kind) for kind in kinds):
        if not of_dimension(record, config.dimension):
            continue
        for pair in pairs_in(record, ties=config.ties == "half"):
            name = name_of(record)
            if sieve.rows(name, record, {"chosen": pair.chosen, "rejected": pair.rejected}) is None:
                continue
            weight = pair.weight * (pair.strength / 3 if config.strength == "weight" else 1.0)
            told = {"preferred": 0.5 if pair.tied else 1.0, "weight": weight}
            rows = engine.pair_scoring.both_orders(tokenizer, reading, name, as_pair(pair), of_row=told)
            if max(len(row.ids) for row in rows) > config.max_tokens:
                sieve.left_out.setdefault(f"both together longer than {config.max_tokens} tokens", []).append(name)
            else:
                found.append(Judged(rows, pair))
    sieve.report(run, f"pairs ({split})", most=config.max_left_out if split == "train" else None)
    return found


def as_pair(pair: Compared) -> engine.pair_scoring.Pair:
    """As the model is asked about it, the preferred answer first."""
    record = pair.record
    return {
        "messages": record["messages"],
        "context": record.get("context") or [],
        "first": pair.chosen["text"],
        "second": pair.rejected["text"],
    }


def loss_of(pack: Pack, scorer: PairScorer) -> Loss:
    """The objective over the pack's pairs."""
    scores = engine.heads.row_scores(scorer.policy.model, scorer.head, pack)[:, 0]
    first, second = engine.answers.pairs_of(pack)
    preferred, weights = pack.by_row("preferred")[first], pack.by_row("weight")[first]
    return engine.objectives.antisymmetric(scores[first], scores[second], preferred, weights=weights)


def measure(scorer: PairScorer, data: Sequence[Judged], prefix: str, budget: Budget) -> dict[str, float]:
    """Loss, how often the preferred answer is found, calibration, and how often the two orders disagree."""
    if not data:
        return {}
    import torch

    scorer.policy.model.eval()
    scorer.head.eval()
    total = count = swapped = 0.0
    scores: list[float] = []
    with torch.no_grad():
        for pack in engine.packs.micro_batches([one.rows for one in data], tokens=budget, device=scorer.policy.device):
            z = engine.heads.row_scores(scorer.policy.model, scorer.head, pack)[:, 0]
            first, second = engine.answers.pairs_of(pack)
            preferred, weights = pack.by_row("preferred")[first], pack.by_row("weight")[first]
            loss = engine.objectives.antisymmetric(z[first], z[second], preferred, weights=weights)
            total, count = total + float(loss.total), count + float(loss.count)
            swapped += float((z[first] * z[second] > 0).sum())
            scores += ((z[first] - z[second]) / 2)[preferred == 1].tolist()
    sure = [1 / (1 + math.exp(-abs(score))) for score in scores]
    error = engine.measures.calibration_error(sure, [score > 0 for score in scores])
    return {
        f"{prefix}loss": total / count if count else 0.0,
        f"{prefix}order_swap": swapped / len(data),
        **({f"{prefix}accuracy": sum(map(won, scores)) / len(scores)} if scores else {}),
        **({f"{prefix}calibration_error": error} if error is not None else {}),
    }


def won(gap: float) -> float:
    """1, or half for equals."""
    return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0


def of_length(learned: Sequence[Judged], data: Sequence[Judged], prefix: str) -> dict[str, float]:
    """The accuracy of those who look at the length alone, longer or shorter as the train split has it."""

    def longer(judged: Sequence[Judged]) -> list[float]:
        pairs = [one.pair for one in judged if not one.pair.tied]
        return [won(len(pair.chosen["text"]) - len(pair.rejected["text"])) for pair in pairs]

    found, known = longer(data), longer(learned)
    if not found or not known:
        return {}
    share = sum(found) / len(found)
    return {f"{prefix}accuracy_of_length": share if sum(known) >= len(known) / 2 else 1 - share}


def show_some(run: RunContext, scorer: PairScorer, data: Sequence[Judged], *, step: int, n: int = 5) -> None:
    """A few held-out pairs with the model's chances that each answer is the better one."""
    asked = [one.pair for one in data[:n]]
    for pair, opinion in zip(asked, scorer.compare_many([as_pair(pair) for pair in asked]), strict=True):
        if opinion is None:
            continue
        answers = [
            {"text": pair.chosen["text"], "chance": opinion.chance, "preferred": not pair.tied},
            {"text": pair.rejected["text"], "chance": 1 - opinion.chance, "preferred": False},
        ]
        run.sample(step, question=engine.passages.question_of(pair.record["messages"]), answers=answers)


RECIPE = Recipe(
    name="preference_model",
    title="Preference model",
    paper="the preference function of SPO (arXiv 2401.04056); Bradley-Terry is its transitive case",
    summary="Learns from comparisons to say which of two answers is better, reading both; tastes may go in circles.",
    consumes=("Preference", "Ranking", "Choice", "Rewrite"),
    needs=(),
    produces="preference_model",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "epochs": 1,
            "lr": 1e-5,
            "head_lr": 1e-4,
            "batch_size": 64,
            "max_tokens": 4096,
        },
        "laptop": {
            "epochs": 3,
            "batch_size": 8,
            "passage_tokens": 160,
            "max_tokens": 768,
            "evaluate_every": 10,
        },
    },
    train=train,
)
