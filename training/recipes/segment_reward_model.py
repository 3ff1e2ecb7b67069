"""Segment reward models: for each category of error one head that says of every segment whether it is free of it.

Paper: Fine-Grained RLHF (arXiv 2306.01693), section 2 and appendix: one reward model a category, at a density of its
own; sub-sentences for relevance, sentences for factuality. People's typed marks become classes of segments:

    ERR   any character of the segment is in a bad span of the category (spans below `shortest` words are dropped)
    OK    none is;   about facts: not judged (-100 there) where only another category marks the segment
    loss = -log softmax(OK, ERR)[class] at the segment's end, mean over the judged segments of the step

Where we differ: the heads stand on one causal model with an adapter, not on a Longformer each, so the verdict is read
at the token that ends a segment (a marker before it would not have read it), with `echo` in a second reading of the
answer. Marks of several people count together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.categories import categories_of, chosen_categories, segmenters_of
from training.recipes.context import RecipeError, RunContext
from training.recipes.learning import Record, listed
from training.recipes.steps import steps

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.scoring import Item
    from training.engine.segment_scoring import Category, Judged, SegmentScorer


class Config(RecipeConfig):
    """Options of segment_reward_model."""

    categories: str = option(
        "",
        "labels that make a category, as in relevance=Irrelevant+Redundant, factuality=Wrong-Grounding (* is every bad "
        "mark); empty: each label of bad phrases by itself",
        source="paper: relevance, factuality",
    )
    facts: str = option(
        "",
        "categories about facts, with commas: they read the passages, short marks count, and what only another "
        "category marks is not judged",
        source="paper: factuality",
    )
    segments: str = option(
        "",
        "how answers are cut, as in relevance=clause, factuality=sentence (or words:4); not named: clauses, for facts "
        "sentences",
        source="paper",
    )
    shortest: int = option(
        5, "shorter marks are dropped, but for those about facts", unit="words", source="paper's code: 5", ge=1, le=100
    )
    epochs: int = option(6, "how often every answer is read", source="paper: 50", ge=1, le=100)
    batch_size: int = option(8, "answers that one step learns from", unit="answers", source="paper: 24", ge=1, le=1024)
    lr: float = option(3e-4, "learning rate of the adapter", source="ours; paper: 5e-6, all weights", gt=0, le=0.1)
    head_lr: float = option(3e-3, "learning rate of the heads", source="ours", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter; 0 leaves the base as it is and trains the heads alone", ge=0, le=256)
    pooled: bool = option(False, "judge a segment by the mean state of its tokens, too", source="ours")
    depth: float = option(1.0, "share of the base's layers that are read, from the bottom", source="ours", gt=0, le=1)
    dropout: float = option(0.0, "dropout in the adapter and before the heads", ge=0, lt=1)
    weight_decay: float = option(0.01, "decay of what is trained", source="paper: 0.01", ge=0, le=1)
    echo: bool = option(False, "read the answer twice and judge the second reading", source="ours")
    passage_tokens: int = option(
        256,
        "how much of the prompt's passages categories about facts are shown: their best sentences; 0 shows none",
        unit="tokens",
        ge=0,
        le=8192,
    )
    max_tokens: int = option(
        1024, "longer rows are cut at their end; segments that lost theirs are counted", unit="tokens", ge=16, le=32768
    )
    precision: Literal["fp32", "bf16", "auto"] = option(
        "fp32", "of the frozen base; auto takes bf16 where this machine is faster in it; what is trained is fp32"
    )
    patience: int = option(
        0, "end after so many epochs without a better dev accuracy; the best weights are kept; 0: never", ge=0, le=1000
    )
    micro_batch_tokens: int = pack_tokens()

    @field_validator("categories")
    @classmethod
    def _reads_as_categories(cls, value: str) -> str:
        categories_of(value)
        return value

    @field_validator("segments")
    @classmethod
    def _reads_as_segmenters(cls, value: str) -> str:
        segmenters_of(value)
        return value


@dataclass(frozen=True)
class Reviewed:
    """An answer that people have looked at, as rows to learn from: one a category, as far as there is one."""

    name: str
    item: Item
    rows: Sequence[Row]  # of_tokens: verdict, the class of each token (`targets_of`); of_row: category
    verdicts: Mapping[str, list[str | None]]  # by category, of each segment
    lost: int  # segments whose end was cut off


def train(run: RunContext, config: Config) -> None:
    """Learn from the snapshot's train split; measure on dev after each epoch and on test at the end."""
    categories = chosen_categories(run, config.categories, facts=config.facts, segments=config.segments)
    reading = engine.scoring.Reading(
        echo=config.echo, passage_tokens=config.passage_tokens, max_tokens=config.max_tokens
    )
    precision = engine.models.fast_precision() if config.precision == "auto" else config.precision
    policy = engine.policy.Policy.load(
        run.base_model,
        lora=engine.policy.Lora(rank=config.rank, dropout=config.dropout),
        seed=run.seed,
        precision=precision,
        depth=config.depth,
    )
    outputs = engine.segment_scoring.outputs_of(categories)
    head = engine.heads.TokenHead(
        policy.model.config.hidden_size, outputs, pooled=config.pooled, dropout=config.dropout
    ).to(policy.device)
    scorer = engine.segment_scoring.SegmentScorer(policy, head, categories=categories, reading=reading)

    data = {split: prepare(run, config, scorer, split) for split in ("train", "dev", "test")}
    worth_learning(run, scorer, data["train"])
    batches = engine.loop.Batches(data["train"], size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(
        [
            *([{"params": policy.parameters, "lr": config.lr}] if config.rank else []),
            {"params": list(head.parameters()), "lr": config.head_lr},
        ],
        lr=config.lr,
        steps=len(batches),
        warmup=0.1,
        weight_decay=config.weight_decay,
    )
    read: dict[str, Tensor] = {}  # a base without an adapter is read once, not in every epoch
    if not config.rank:
        packs = engine.packs.micro_batches([one.rows for one in data["train"]], tokens=_budget(config, categories))
        read = engine.heads.known_states(policy.model, run.heed(packs))

    def objective(pack: Pack) -> Loss:
        hidden = engine.packs.join([read[row.name] for row in pack.rows]) if read else None
        return engine.objectives.one_of(scorer.scores(pack, hidden=hidden), pack.flat("verdict").long())

    def evaluate() -> dict[str, float]:
        return measure(scorer, data["dev"], "dev_")

    for step in steps(
        run,
        loop,
        batches,
        parts={"head": head, **({"policy": policy} if config.rank else {})},
        evaluate=evaluate if data["dev"] else None,
        every=engine.loop.steps_of(len(data["train"]), size=config.batch_size, epochs=1),
        best="max dev_accuracy" if data["dev"] else None,
        patience=config.patience,
    ):
        policy.model.train()
        head.train()
        units = [one.rows for one in step.batch]
        packs = engine.packs.micro_batches(units, tokens=_budget(config, categories))
        loop.forward_backward(run.heed(packs), objective)
        step.report(**loop.optim_step())

    figures = {
        name: value
        for split in ("dev", "test")
        for name, value in (measure(scorer, data[split], f"{split}_") | majority(data, split)).items()
    }
    if figures:
        run.metrics(len(batches), len(batches), **figures)
    show_some(run, scorer, data["test"] or data["dev"], step=len(batches))
    policy.save(run.artifact_path)
    head.save(run.artifact_path / "head.safetensors")
    run.artifact(
        kind="segment_reward_model",
        base=str(run.base_model),
        precision=precision,
        depth=config.depth,
        **scorer.card(),
        metrics={**figures, "answers": len(data["train"])},
    )


# --- what is learned from


def prepare(run: RunContext, config: Config, scorer: SegmentScorer, split: str) -> list[Reviewed]:
    """The reviewed answers of a split with the class of each segment; cut ends are counted in the log."""
    found = []
    for record in run.rows(split, kind="response"):
        if (not record.get("spans") and not record.get("reviewed", True)) or not record["text"].strip():
            continue
        try:
            found.append(reviewed(scorer, record, shortest=config.shortest))
        except engine.tokens.TemplateRefused as refusal:
            raise RecipeError("base_model.template", str(refusal), "Choose another base model.") from refusal
    if lost := [one.name for one in found if one.lost]:
        run.log(
            f"{sum(one.lost for one in found)} segments of {len(lost)} answers ({split}) lie beyond "
            f"{config.max_tokens} tokens and teach nothing: {listed(lost)}.",
            level="warning",
        )
    return [one for one in found if one.rows]


def reviewed(scorer: SegmentScorer, record: Record, *, shortest: int) -> Reviewed:
    """One answer as rows with the class of every token at which a judged segment ends."""
    name = f"answer {record['response_id']}"
    item: Item = {"messages": record["messages"], "context": record.get("context") or [], "text": record["text"]}
    bad = [span for span in record.get("spans") or [] if span["sentiment"] < 0]
    rows, verdicts = [], {}
    cuts = scorer.cuts(name, item)
    for category, cut in zip(scorer.categories, cuts, strict=True):
        own = [span for span in bad if "*" in category.labels or str(span.get("label")) in category.labels]
        verdicts[category.name] = engine.segments.verdicts(
            record["text"],
            cut.segments,
            own,
            [span for span in bad if span not in own],
            facts=category.facts,
            shortest=shortest,
        )
        if cut.row:
            classes = engine.segment_scoring.targets_of(cut, verdicts[category.name], sum(cut.row.trained))
            rows.append(replace(cut.row, of_tokens={"verdict": classes}))
    return Reviewed(name, item, rows, verdicts, sum(end is None for cut in cuts for end in cut.ends))


def worth_learning(run: RunContext, scorer: SegmentScorer, learned: Sequence[Reviewed]) -> None:
    """Say what there is to learn; RecipeError where no category has both OK and ERR."""
    if not learned:
        raise RecipeError(
            "data.empty",
            "The snapshot holds no reviewed answers in its train split, so there is nothing to learn from.",
            "Mark some answers (or submit them without marks) and make a new snapshot.",
        )
    told, both = [], False
    for category in scorer.categories:
        counts = tally(verdict for one in learned for verdict in one.verdicts[category.name])
        told.append(f"{category.name} {counts['OK']} OK, {counts['ERR']} ERR, {counts[None]} not judged")
        both = both or bool(counts["OK"] and counts["ERR"])
    run.log(f"Learning from {len(learned)} answers; segments: {'; '.join(told)}.")
    if not both:
        raise RecipeError(
            "data.no_marks",
            f"In no category are some segments marked and others not ({'; '.join(told)}).",
            "Mark phrases of these categories, lower shortest, and make a new snapshot.",
        )


def tally(verdicts: Iterable[str | None]) -> dict[str | None, int]:
    """How many of each."""
    found: dict[str | None, int] = {"OK": 0, "ERR": 0, None: 0}
    for one in verdicts:
        found[one] += 1
    return found


# --- what is measured


def measure(scorer: SegmentScorer, data: Sequence[Reviewed], prefix: str) -> dict[str, float]:
    """By category the share of judged segments that are told right, and F1 and AUROC of ERR; `accuracy` of all."""
    scorer.head.eval()
    found = scorer.score_many(one.item for one in data)
    figures: dict[str, float] = {}
    right: list[bool] = []
    for category in scorer.categories:
        pairs = [
            (1 - part.ok, verdict == engine.segments.ERR)
            for one, scored in zip(data, found, strict=True)
            if scored is not None
            for part, verdict in zip(scored[category.name], one.verdicts[category.name], strict=True)
            if part.ok is not None and verdict is not None
        ]
        if not pairs:
            continue
        hits = [(likely >= 0.5) == bad for likely, bad in pairs]
        right += hits
        figures[f"{prefix}accuracy/{category.name}"] = sum(hits) / len(hits)
        both = sum(likely >= 0.5 and bad for likely, bad in pairs)
        said, true = sum(likely >= 0.5 for likely, _ in pairs), sum(bad for _, bad in pairs)
        figures[f"{prefix}f1/{category.name}"] = 2 * both / (said + true) if said + true else 0.0
        area = engine.measures.auroc([likely for likely, _ in pairs], [bad for _, bad in pairs])
        figures |= {f"{prefix}auroc/{category.name}": area} if area is not None else {}
    return figures | ({f"{prefix}accuracy": sum(right) / len(right)} if right else {})


def majority(data: Mapping[str, Sequence[Reviewed]], split: str) -> dict[str, float]:
    """By category the accuracy of those who always say what most of the train split's segments are."""
    figures = {}
    for name in data["train"][0].verdicts:
        known = tally(verdict for one in data["train"] for verdict in one.verdicts[name])
        there = tally(verdict for one in data[split] for verdict in one.verdicts[name])
        if judged := there["OK"] + there["ERR"]:
            most = "OK" if known["OK"] >= known["ERR"] else "ERR"
            figures[f"{split}_majority/{name}"] = there[most] / judged
    return figures


def show_some(run: RunContext, scorer: SegmentScorer, data: Sequence[Reviewed], *, step: int, n: int = 5) -> None:
    """A few held-out answers in the segments of each category, with the verdict on each, for the run's page."""
    for one, scored in zip(data[:n], scorer.score_many(one.item for one in data[:n]), strict=True):
        if scored:
            segments = {
                name: [[part.start, part.end, as_score(part)] for part in parts] for name, parts in scored.items()
            }
            run.sample(
                step,
                question=engine.passages.question_of(one.item["messages"]),
                answers=[{"answer": one.name, "text": one.item["text"], "segments": segments}],
            )


def as_score(part: Judged) -> float:
    """p(OK) - p(ERR), from -1 to 1."""
    return 0.0 if part.ok is None else round(2 * part.ok - 1, 4)


def _budget(config: Config, categories: Sequence[Category]) -> Budget:
    return engine.packs.Budget(config.micro_batch_tokens, len(categories) * config.max_tokens)


RECIPE = Recipe(
    name="segment_reward_model",
    title="Segment reward model",
    paper="Fine-Grained Human Feedback Gives Better Rewards for Language Model Training (arXiv 2306.01693), section 2",
    summary="Learns from labelled marks to say of every sentence or clause, for each kind of error, whether it has it.",
    consumes=("SpanCritique",),
    needs=(),
    produces="segment_reward_model",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "categories": "relevance=Irrelevant+Redundant+Incoherent, factuality=Wrong-Grounding+Unverifiable",
            "facts": "factuality",
            "epochs": 50,
            "batch_size": 24,
            "lr": 5e-6,
            "head_lr": 5e-5,
            "max_tokens": 2048,
            "passage_tokens": 1024,
        },
        "laptop": {
            "epochs": 6,
            "shortest": 1,
            "passage_tokens": 160,
            "max_tokens": 768,
        },
    },
    train=train,
)
