"""A reward model: one number for a whole answer, learned from what people said of whole answers.

A causal language model with an adapter reads prompt and answer; a linear head without bias makes a score r of the state
at the last token (the answer's stop token). By what it learns from (`source`):

    pairs      -log sigmoid(r_w - r_l - margin * strength / 3) + c (r_w + r_l)^2           Bradley-Terry
    rankings   -sum_i log(exp r_i / sum over those not placed before i of exp r_j)         Plackett-Luce, ties allowed
    ratings    -(y log sigmoid(r) + (1 - y) log sigmoid(-r)), y the rating from 0 to 1; or its step (ordinal)
    reactions  the same with y = 1 liked, 0 not; shown without a tap weighs less (`silence`)

Papers: Bradley-Terry as in InstructGPT (arXiv 2203.02155), margins as in Llama 2 (arXiv 2307.09288, eq. 2), centring as
in Eisenstein et al. (arXiv 2312.09244). A pair or a ranking is read in one piece, its prompt once. Beside its accuracy
stands that of a baseline which knows nothing but the answers' lengths: a reward model is worth what it is above that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.comparisons import answers_of, better, of_dimension, pairs_in
from training.recipes.context import RunContext
from training.recipes.learning import Record, Sieve, name_of, need_something
from training.recipes.steps import steps

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.reward_scoring import RewardScorer

SCALED = 128  # judgements whose scores tell the mean and deviation that the artifact holds


class Config(RecipeConfig):
    """Options of reward_model."""

    source: Literal["pairs", "rankings", "ratings", "reactions"] = option("pairs", "what it learns from")
    dimension: str = option("", "of the comparisons, rankings or ratings that count; empty: overall (ratings: any)")
    rewrites: bool = option(False, "pairs: a better version that somebody wrote beats the answer that it mends")
    ties: Literal["drop", "half"] = option("drop", "pairs: leave ties out, or let either win half of them")
    margin: float = option(
        0.0, "pairs: how far apart the clearest (strength 3) should be; others by their share", source="Llama 2", ge=0
    )
    centring: float = option(
        0.01, "pairs: weight of (r_w + r_l)^2, which keeps scores around 0", source="TRL advises 0.01", ge=0, le=10
    )
    rating_steps: int = option(0, "ratings: how many steps their scale has (ordinal); 0: any number", ge=0, le=100)
    lowest: float | None = option(None, "ratings: the lowest of the scale; empty: the lowest there is")
    highest: float | None = option(None, "ratings: the highest of the scale; empty: the highest there is")
    silence: float = option(
        0.2, "reactions: weight of having been shown an answer and not tapped", source="ours", ge=0, le=1
    )
    epochs: int = option(1, "how often every answer is read", source="1: more overfits", ge=1, le=50)
    batch_size: int = option(16, "pairs, rankings or answers that one step learns from", ge=1, le=1024)
    lr: float = option(2e-4, "learning rate of the adapter", source="ours; InstructGPT 9e-6", gt=0, le=0.1)
    head_lr: float = option(2e-3, "learning rate of the head", source="ours", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter; 0 leaves the base as it is and trains the head alone", ge=0, le=256)
    dropout: float = option(0.0, "dropout in the adapter and before the head", ge=0, lt=1)
    weight_decay: float = option(0.01, "decay of what is trained", ge=0, le=1)
    passage_tokens: int = option(
        256, "how much of a prompt's passages is shown: their best sentences; 0 shows none", unit="tokens", ge=0
    )
    max_tokens: int = option(
        1024, "longer prompts with their answer are left out, counted and listed", unit="tokens", ge=16, le=32768
    )
    max_left_out: float = option(0.2, "refuse to start when a larger share of the records is left out", ge=0, le=1)
    evaluate_every: int = option(
        20, "steps between two measurements on the dev split; 0: at the end only", unit="steps", ge=0, le=100_000
    )
    patience: int = option(
        0, "end after so many measurements without a lower dev loss; the best weights are kept; 0: never", ge=0, le=1000
    )
    micro_batch_tokens: int = pack_tokens()


@dataclass(frozen=True)
class Judgement:
    """What is learned from in one piece: a pair (better first), a ranking, or one answer."""

    rows: Sequence[Row]  # of_row: margin and preferred of a pair; place in a ranking; target and weight of an answer
    record: Record


def train(run: RunContext, config: Config) -> None:
    """Learn from the train split, watch the dev split, measure on test beside the baseline of length."""
    policy = engine.policy.Policy.load(
        run.base_model, lora=engine.policy.Lora(rank=config.rank, dropout=config.dropout), seed=run.seed
    )
    head = engine.heads.ScoreHead(policy.model.config.hidden_size, dropout=config.dropout).to(policy.device)
    scorer = engine.reward_scoring.RewardScorer(
        policy, head, passage_tokens=config.passage_tokens, max_tokens=config.max_tokens
    )
    scale = Scale.of(run, config) if config.source == "ratings" else None
    data = {split: prepare(run, config, policy.tokenizer, split, scale) for split in ("train", "dev", "test")}
    need_something(data["train"], WHAT[config.source], ACTIONS[config.source])
    run.log(
        f"Learning from {len(data['train'])} {WHAT[config.source]}; {len(data['dev'])} (dev), "
        f"{len(data['test'])} (test)."
    )

    cuts = None
    if scale and config.rating_steps:
        cuts = engine.reward_scoring.Cuts(config.rating_steps).to(policy.device)
    batches = engine.loop.Batches(data["train"], size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(
        [
            *([{"params": policy.parameters, "lr": config.lr}] if config.rank else []),
            {"params": list(head.parameters()), "lr": config.head_lr},
            *([{"params": list(cuts.parameters()), "lr": config.head_lr}] if cuts else []),
        ],
        lr=config.lr,
        steps=len(batches),
        weight_decay=config.weight_decay,
    )
    longest = max(sum(len(row.ids) for row in one.rows) for split in data.values() for one in split)
    budget = engine.packs.Budget(config.micro_batch_tokens, longest)

    def objective(pack: Pack) -> Loss:
        scores = engine.heads.row_scores(policy.model, head, pack)[:, 0]
        return loss_of(config, pack, scores, cuts() if cuts else None)

    def evaluate() -> dict[str, float]:
        return measure(config, scorer, data["dev"], "dev_", cuts, budget)

    parts: dict[str, Any] = {
        "head": head,
        **({"policy": policy} if config.rank else {}),
        **({"cuts": cuts} if cuts else {}),
    }
    for step in steps(
        run,
        loop,
        batches,
        parts=parts,
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
            measure(config, scorer, data[split], f"{split}_", cuts, budget)
            | baseline(config, data["train"], data[split], f"{split}_")
        ).items()
    }
    show_some(run, config, scorer, data["test"] or data["dev"], step=len(batches))
    policy.save(run.artifact_path)
    head.save(run.artifact_path / "head.safetensors")
    run.artifact(
        kind="reward_model",
        base=str(run.base_model),
        source=config.source,
        reading={"passage_tokens": config.passage_tokens, "max_tokens": config.max_tokens},
        **({"scale": [scale.lowest, scale.highest]} if scale else {}),
        **({"cuts": cuts().tolist()} if cuts else {}),
        scores=engine.rewards.spread_of(list(scorer.score_rows(rows_of(data["train"][:SCALED])).values())),
        metrics={**figures, config.source: len(data["train"])},
    )


def rows_of(judgements: Sequence[Judgement]) -> list[Row]:
    """All their answers."""
    return [row for one in judgements for row in one.rows]


# --- what is learned from


@dataclass(frozen=True)
class Scale:
    """From where to where ratings go."""

    lowest: float
    highest: float

    @classmethod
    def of(cls, run: RunContext, config: Config) -> Scale:
        """As the options say, else as far as the train split's ratings go."""
        rated = run.rows("train", kind="rating")
        values = [row["value"] for row in rated if of_dimension(row, config.dimension)]
        low = config.lowest if config.lowest is not None else min(values, default=0.0)
        high = config.highest if config.highest is not None else max(values, default=1.0)
        return cls(low, high)

    def share(self, value: float) -> float:
        """Where a rating stands between the two, from 0 to 1."""
        width = self.highest - self.lowest
        return min(1.0, max(0.0, (value - self.lowest) / width)) if width > 0 else 0.5


def prepare(run: RunContext, config: Config, tokenizer: Any, split: str, scale: Scale | None) -> list[Judgement]:
    """The judgements of a split."""
    sieve = Sieve(tokenizer, longest=config.max_tokens, passage_tokens=config.passage_tokens)
    kinds = {
        "pairs": ("preference", *(["rewrite"] * config.rewrites)),
        "rankings": ("ranking", "choice", "preference"),
        "ratings": ("rating",),
        "reactions": ("reaction",),
    }
    found = []
    for record in chain.from_iterable(run.rows(split, kind=kind) for kind in kinds[config.source]):
        if not of_dimension(record, config.dimension):
            continue
        for answers, of_rows in judged(record, config, scale):
            if rows := sieve.rows(name_of(record), record, answers):
                rows = [replace(row, of_row=of_row) for row, of_row in zip(rows, of_rows, strict=True)]
                found.append(Judgement(rows, record))
    sieve.report(run, f"{WHAT[config.source]} ({split})", most=config.max_left_out if split == "train" else None)
    return found


def judged(
    record: Record, config: Config, scale: Scale | None
) -> Iterator[tuple[dict[str, Record], list[dict[str, float]]]]:
    """What is learned from a record in one piece: its answers by name, and what the objective is told of each."""
    if config.source == "pairs":
        for pair in pairs_in(record, ties=config.ties == "half"):
            margin = 0.0 if pair.tied else config.margin * pair.strength / 3
            told = {"preferred": 0.5 if pair.tied else 1.0, "margin": margin}
            yield {"chosen": pair.chosen, "rejected": pair.rejected}, [told, told]
    elif config.source == "rankings":
        placed = answers_of(record)
        if len({place for _, place in placed}) > 1:
            names = [f"number {number + 1}" for number in range(len(placed))]
            answers = dict(zip(names, (answer for answer, _ in placed), strict=True))
            yield answers, [{"place": place if math.isfinite(place) else 0.0} for _, place in placed]
    elif config.source == "ratings" and scale:
        yield {"": record}, [{"target": scale.share(record["value"]), "weight": 1.0}]
    elif config.source == "reactions":
        weight = config.silence if record["silent"] else 1.0
        if weight:
            yield {"": record}, [{"target": float(record["polarity"] > 0), "weight": weight}]


# --- the objective and what is measured


def loss_of(config: Config, pack: Pack, scores: Tensor, cuts: Tensor | None) -> Loss:
    """The objective of this source, over the pack's units; `scores` [B]."""
    if config.source == "pairs":
        first, second = engine.answers.pairs_of(pack)
        return engine.objectives.bradley_terry(
            scores[first],
            scores[second],
            margin=pack.by_row("margin")[first],
            preferred=pack.by_row("preferred")[first],
            centring=config.centring,
        )
    if config.source == "rankings":
        lists = engine.ragged.Ragged.of_lengths([len(unit) for unit in pack.units], device=scores.device)
        return engine.objectives.plackett_luce(scores, pack.by_row("place").long(), lists)
    targets, weights = pack.by_row("target"), pack.by_row("weight")
    if cuts is not None:
        return engine.objectives.ordinal(scores, (targets * len(cuts)).round().long(), cuts, weights=weights)
    return engine.objectives.pointwise(scores, targets, weights=weights)


def measure(
    config: Config, scorer: RewardScorer, data: Sequence[Judgement], prefix: str, cuts: Any, budget: Budget
) -> dict[str, float]:
    """Loss, how often the better answer scores higher, and how far claimed probabilities are from what is so."""
    if not data:
        return {}
    import torch

    scorer.policy.model.eval()
    scorer.head.eval()
    total = count = 0.0
    values = [[0.0] * len(one.rows) for one in data]
    numbered = [
        [replace(row, name=f"{place} {number}") for number, row in enumerate(one.rows)]
        for place, one in enumerate(data)
    ]
    with torch.no_grad():
        for pack in engine.packs.micro_batches(numbered, tokens=budget, device=scorer.policy.device):
            scores = engine.heads.row_scores(scorer.policy.model, scorer.head, pack)[:, 0]
            loss = loss_of(config, pack, scores, cuts() if cuts else None)
            total, count = total + float(loss.total), count + float(loss.count)
            for row, score in zip(pack.rows, scores.tolist(), strict=True):
                place, number = map(int, row.name.split())
                values[place][number] = score
    figures = agreement(config, data, values)
    if config.source in ("pairs", "rankings"):
        gaps = [high - low for one, scored in zip(data, values, strict=True) for high, low in compared(one, scored)]
        sure = [1 / (1 + math.exp(-abs(gap))) for gap in gaps]
        error = engine.measures.calibration_error(sure, [gap > 0 for gap in gaps])
    else:
        claimed = [1 / (1 + math.exp(-scored[0])) for scored in values]
        error = engine.measures.calibration_error(claimed, [one.rows[0].of_row["target"] > 0.5 for one in data])
        if config.rating_steps:
            error = None  # an ordinal score is no probability
    figures |= {"calibration_error": error} if error is not None else {}
    return {f"{prefix}{name}": value for name, value in {"loss": total / count if count else 0.0, **figures}.items()}


def baseline(config: Config, learned: Sequence[Judgement], data: Sequence[Judgement], prefix: str) -> dict[str, float]:
    """The same agreement for those who look at the length alone, longer or shorter as the train split has it."""
    if not data:
        return {}

    def of(judgements: Sequence[Judgement], sign: int) -> dict[str, float]:
        lengths = [[float(sign * sum(row.trained)) for row in one.rows] for one in judgements]
        return agreement(config, judgements, lengths)

    name = "accuracy" if config.source in ("pairs", "rankings") else "auroc"
    longer = of(learned, 1).get(name, 0.5) >= of(learned, -1).get(name, 0.5)
    return {f"{prefix}{name}_of_length": value for name, value in of(data, 1 if longer else -1).items()}


def agreement(config: Config, data: Sequence[Judgement], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """How well scores say what people said: the share of comparisons, equals counting half, or the AUROC of good."""
    if config.source in ("pairs", "rankings"):
        both = [pair for one, scored in zip(data, values, strict=True) for pair in compared(one, scored)]
        right = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in both]
        return {"accuracy": sum(right) / len(right)} if right else {}
    said = [one.rows[0].of_row["target"] for one in data]
    middle = sorted(said)[len(said) // 2] if config.source == "ratings" else 0.5
    value = engine.measures.auroc([scored[0] for scored in values], [target >= middle for target in said])
    return {"auroc": value} if value is not None else {}


def compared(one: Judgement, values: Sequence[float]) -> list[tuple[float, float]]:
    """Scores of every two answers of which one is better, that one's first."""
    if "preferred" in one.rows[0].of_row:
        return [] if one.rows[0].of_row["preferred"] == 0.5 else [(values[0], values[1])]
    return [(values[i], values[j]) for i, j in better([row.of_row["place"] or math.inf for row in one.rows])]


def show_some(
    run: RunContext, config: Config, scorer: RewardScorer, data: Sequence[Judgement], *, step: int, n: int = 5
) -> None:
    """A few held-out judgements with the model's scores, for the run's page."""
    for one in data[:n]:
        scores = scorer.score_rows(one.rows, tokens=max(config.micro_batch_tokens, config.max_tokens))
        tokenizer = scorer.policy.tokenizer
        answers = [
            {
                "text": tokenizer.decode(engine.answers.completion_of(row), skip_special_tokens=True),
                "reward": scores[row.name],
                "preferred": len(one.rows) > 1 and row.of_row.get("place", 0.0 if number else 1.0) == 1.0,
            }
            for number, row in enumerate(one.rows)
        ]
        run.sample(step, question=engine.passages.question_of(one.record["messages"]), answers=answers)


WHAT = {"pairs": "compared pairs", "rankings": "rankings", "ratings": "ratings", "reactions": "reactions"}
ACTIONS = {
    "pairs": "Compare some pairs of answers (ties alone teach nothing), or choose another source, and start again.",
    "rankings": "Rank some answers, or choose another source, and start again.",
    "ratings": "Rate some answers, check the dimension, or choose another source, and start again.",
    "reactions": "Send users' reactions, or choose another source, and start again.",
}

RECIPE = Recipe(
    name="reward_model",
    title="Reward model",
    paper="Bradley-Terry as in InstructGPT (arXiv 2203.02155); Plackett-Luce (1975); ordinal: McCullagh (1980)",
    summary="Learns from comparisons, rankings, ratings or reactions to give any answer one number.",
    consumes=("Preference", "Ranking", "Choice", "Rating", "Reaction", "Rewrite"),
    needs=(),
    produces="reward_model",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "epochs": 1,
            "lr": 1e-5,
            "head_lr": 1e-4,
            "batch_size": 64,
            "max_tokens": 2048,
        },
        "laptop": {
            "epochs": 3,
            "batch_size": 8,
            "passage_tokens": 160,
            "max_tokens": 512,
            "evaluate_every": 10,
        },
    },
    train=train,
)
