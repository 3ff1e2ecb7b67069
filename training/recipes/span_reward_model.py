"""A span reward model: which phrases of an answer are bad or good, learned from people's marks.

Paper: Text2Grad (arXiv 2505.22338), its stage 1 in the small local form: no text is generated, no quote can fail. A
causal language model with an adapter reads question, passages and answer; a head classifies every token of the answer
as bad, neutral or good, and says for each of the project's labels whether it applies.

Where we differ: the critique's words are not modelled; people's marks carry offsets, so nothing is searched for; the
head sees the mean of the token's sentence beside the token; the base may stay as it is (rank 0), and its upper
layers, which are about the next word, may be left out (depth): on few answers that was better than an adapter
(docs/recipes.md). With `echo` the answer is read twice and the second reading is classified, so that a causal model
has seen what comes after (mechanism 8). Where the paper is silent: how passages that are too long are shown (their
sentences closest to question and answer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.context import RecipeError, RunContext
from training.recipes.steps import steps

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.packs import Budget, Row
    from training.engine.scoring import Item, SpanScorer


class Config(RecipeConfig):
    """Options of span_reward_model."""

    epochs: int = option(3, "how often every answer is read", source="Text2Grad, RM training", ge=1, le=50)
    batch_size: int = option(16, "answers that one step learns from", unit="answers", ge=1, le=1024)
    lr: float = option(3e-4, "learning rate of the adapter", source="ours; the paper's 1e-5 is for 8B", gt=0, le=0.1)
    head_lr: float = option(3e-3, "learning rate of the classifier on top", source="ours", gt=0, le=0.1)
    rank: int = option(
        16,
        "rank of the adapter; 0 leaves the base as it is and trains the classifier alone",
        source="Text2Grad",
        ge=0,
        le=256,
    )
    pooled: bool = option(True, "classify a token by its sentence's mean state, too", source="ours")
    depth: float = option(1.0, "share of the base's layers that are read, from the bottom", source="ours", gt=0, le=1)
    adapted: float = option(1.0, "share of those layers that get the adapter, from the top", source="ours", gt=0, le=1)
    dropout: float = option(0.0, "dropout in the adapter and before the classifier", ge=0, lt=1)
    weight_decay: float = option(0.01, "decay of the adapter's weights", ge=0, le=1)
    echo: bool = option(True, "read the answer twice and classify the second reading", source="Text2Grad, mechanism 8")
    passage_tokens: int = option(
        256,
        "how much of the prompt's passages is shown: their best sentences; 0 shows none",
        unit="tokens",
        ge=0,
        le=8192,
    )
    max_tokens: int = option(1024, "longer rows are left out, counted and listed", unit="tokens", ge=16, le=32768)
    max_left_out: float = option(0.2, "refuse to start when a larger share of the answers is left out", ge=0, le=1)
    balance: Literal["none", "sqrt", "full"] = option(
        "sqrt",
        "how far rare sentiments count more: by 1, by 1/sqrt(share) or by 1/share",
        source="mechanism 8: balanced",
    )
    label_weight: float = option(1.0, "weight of the labels beside the sentiment", ge=0, le=10)
    precision: Literal["fp32", "bf16", "auto"] = option(
        "fp32", "of the frozen base; auto takes bf16 where this machine is faster in it; what is trained is fp32"
    )
    micro_batch_tokens: int = pack_tokens()


@dataclass(frozen=True)
class Reviewed:
    """An answer that people have looked at, as a row to train on."""

    row: Row
    item: Item


def train(run: RunContext, config: Config) -> None:
    """Learn from the snapshot's train split; measure on dev while it runs and on test at the end."""
    labels = run.labels
    reading = engine.scoring.Reading(
        echo=config.echo, passage_tokens=config.passage_tokens, max_tokens=config.max_tokens
    )
    precision = engine.models.fast_precision() if config.precision == "auto" else config.precision
    policy = engine.policy.Policy.load(
        run.base_model,
        lora=engine.policy.Lora(rank=config.rank, dropout=config.dropout, last=config.adapted),
        seed=run.seed,
        precision=precision,
        depth=config.depth,
    )
    outputs = ["bad", "neutral", "good", *(label["key"] for label in labels)]
    head = engine.heads.TokenHead(
        policy.model.config.hidden_size, outputs, pooled=config.pooled, dropout=config.dropout
    ).to(policy.device)
    scorer = engine.scoring.SpanScorer(policy, head, labels=outputs[3:], reading=reading)

    splits = {split: list(prepare(run, scorer, labels, split)) for split in ("train", "dev", "test")}
    learned = keep_what_fits(run, splits["train"], config)
    measured = {split: [one for one in splits[split] if _fits(one, config)] for split in ("dev", "test")}
    class_weights = balance([one.row for one in learned], config.balance)
    run.log(
        f"Learning from {len(learned)} answers; "
        f"measuring on {len(measured['dev'])} (dev) and {len(measured['test'])} (test)."
    )

    batches = engine.loop.Batches(
        [one.row for one in learned], size=config.batch_size, epochs=config.epochs, seed=run.seed
    )
    loop = engine.loop.Loop(
        [
            *([{"params": policy.parameters, "lr": config.lr}] if config.rank else []),
            {"params": list(head.parameters()), "lr": config.head_lr},
        ],
        lr=config.lr,
        steps=len(batches),
        weight_decay=config.weight_decay,
    )

    read = {}  # a base without an adapter is read once, not in every epoch
    if not config.rank:
        packs = engine.packs.micro_batches([one.row for one in learned], tokens=_budget(config))
        read = engine.heads.known_states(policy.model, run.heed(packs))
        run.log("The base has read all answers once; the classifier learns from what it saw.")

    def states(pack: engine.packs.Pack) -> Tensor | None:
        return engine.packs.join([read[row.name] for row in pack.rows]) if read else None

    def objective(pack: engine.packs.Pack) -> engine.objectives.Loss:
        return engine.objectives.token_classification(
            engine.heads.token_scores(policy.model, head, pack, hidden=states(pack)),
            pack.flat("targets"),
            class_weights=class_weights,
            label_weight=config.label_weight,
        )

    figures: dict[str, float] = {}

    def evaluate() -> dict[str, float]:
        figures.update({f"dev_{name}": value for name, value in measure(scorer, measured["dev"]).items()})
        policy.model.train()
        head.train()
        return figures

    policy.model.train()
    head.train()
    for step in steps(
        run,
        loop,
        batches,
        parts={"policy": policy, "head": head},
        evaluate=evaluate if measured["dev"] else None,
        every=engine.loop.steps_of(len(learned), size=config.batch_size, epochs=1) if config.rank else 0,
    ):
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=_budget(config))), objective)
        step.report(**loop.optim_step())

    if measured["dev"] and not figures:  # an earlier attempt had come to the end of the training
        evaluate()
    if measured["test"]:
        figures |= {f"test_{name}": value for name, value in measure(scorer, measured["test"]).items()}
    if figures:
        run.metrics(len(batches), len(batches), **figures)
    show_some(run, scorer, measured["test"] or measured["dev"], step=len(batches))
    policy.save(run.artifact_path)
    head.save(run.artifact_path / "head.safetensors")
    run.artifact(
        kind="span_reward_model",
        base=str(run.base_model),
        labels=labels,
        reading=engine.scoring.card_of(reading),
        precision=precision,
        depth=config.depth,
        metrics={**figures, "answers": len(learned)},
    )


def prepare(run: RunContext, scorer: SpanScorer, labels: list[dict[str, Any]], split: str) -> Iterator[Reviewed]:
    """The reviewed answers of a split with a target for each token. Unmarked text of a reviewed answer is neutral."""
    for record in run.rows(split, kind="response"):
        if not record.get("spans") and not record.get("reviewed", True):
            continue
        item: Item = {"messages": record["messages"], "context": record.get("context") or [], "text": record["text"]}
        try:
            chat = engine.scoring.show(scorer.policy.tokenizer, scorer.reading, item)
        except engine.tokens.TemplateRefused as refusal:
            raise RecipeError("base_model.template", str(refusal), "Choose another base model.") from refusal
        yield Reviewed(
            row=engine.packs.Row(
                name=f"answer {record['response_id']}",
                ids=chat.ids,
                trained=chat.completion_mask,
                targets=targets_of(record, chat.response_offsets, labels),
                segments=engine.scoring.segments_of(chat),
            ),
            item=item,
        )


def targets_of(
    record: Mapping[str, Any], offsets: list[tuple[int, int]], labels: list[dict[str, Any]]
) -> list[list[float]]:
    """Soft targets [tokens + stop][bad, neutral, good, *labels] from an answer's marks."""
    marks = record.get("spans") or []

    def weights(chosen: list[Any], scores: list[float]) -> list[float]:
        spans = [
            engine.tokens.Span(mark["start"], mark["end"], score, author=str(mark.get("author")))
            for mark, score in zip(chosen, scores, strict=True)
        ]
        return engine.tokens.spans_to_token_weights(
            record["text"], offsets, spans, words_only=False, annotators=len({str(m.get("author")) for m in marks})
        )

    moods = weights(marks, [float(mark["sentiment"]) for mark in marks])
    by_label = []
    for label in labels:
        own = {label.get("id"), label.get("key"), label.get("name")} - {None}
        chosen = [mark for mark in marks if mark.get("label") in own]
        by_label.append(weights(chosen, [1.0] * len(chosen)))
    return [
        [max(0.0, -mood), 1.0 - abs(mood), max(0.0, mood), *(column[token] for column in by_label)]
        for token, mood in enumerate(moods)
    ]


def keep_what_fits(run: RunContext, reviewed: list[Reviewed], config: Config) -> list[Reviewed]:
    """The answers that can be learned from; those that are too long are counted and listed by record."""
    if not reviewed:
        raise RecipeError(
            "data.empty",
            "The snapshot holds no reviewed answers in its train split, so there is nothing to learn from.",
            "Mark some answers (or submit them without marks) and make a new snapshot.",
        )
    kept = [one for one in reviewed if _fits(one, config)]
    left_out = [one.row for one in reviewed if not _fits(one, config)]
    if left_out:
        names = ", ".join(f"{row.name} ({len(row.ids)} tokens)" for row in left_out[:20])
        more = f" and {len(left_out) - 20} more" if len(left_out) > 20 else ""
        run.log(f"{len(left_out)} answers are longer than {config.max_tokens} tokens: {names}{more}.", level="warning")
    if len(left_out) > config.max_left_out * len(reviewed):
        raise RecipeError(
            "data.too_long",
            f"{len(left_out)} of {len(reviewed)} answers are longer than {config.max_tokens} tokens with their prompt.",
            "Raise max_tokens, lower passage_tokens, or allow a larger max_left_out.",
        )
    if not any(target[0] or target[2] for one in kept for target in one.row.targets or ()):
        raise RecipeError(
            "data.no_marks",
            f"None of the {len(kept)} reviewed answers has a good or bad phrase marked.",
            "Mark phrases in some answers and make a new snapshot.",
        )
    return kept


def balance(rows: list[Row], how: str) -> list[float] | None:
    """Weights of bad, neutral, good, with a mean of 1 over the tokens; a sentiment that never occurs weighs nothing."""
    if how == "none":
        return None
    totals = [sum(target[mood] for row in rows for target in row.targets or ()) for mood in range(3)]
    shares = [total / sum(totals) for total in totals]
    raw = [(share ** (-0.5 if how == "sqrt" else -1.0)) if share else 0.0 for share in shares]
    mean = sum(weight * share for weight, share in zip(raw, shares, strict=True))
    return [weight / mean for weight in raw]


def measure(scorer: SpanScorer, reviewed: list[Reviewed]) -> dict[str, float]:
    """Token AUROC of "some error here" and of "something good here", over the tokens of all answers together."""
    scorer.head.eval()
    found = scorer.score_many([one.item for one in reviewed])
    figures = {}
    for name, mood in (("auroc_bad", 0), ("auroc_good", 2)):
        pairs = [
            (token["good"] if mood else token["bad"], target[mood] >= 0.5)
            for one, tokens in zip(reviewed, found, strict=True)
            for token, target in zip(tokens or (), one.row.targets or (), strict=False)
            if token["text"].strip()
        ]
        value = engine.measures.auroc([score for score, _ in pairs], [truth for _, truth in pairs])
        if value is not None:
            figures[name] = value
    return figures


def show_some(run: RunContext, scorer: SpanScorer, reviewed: list[Reviewed], *, step: int, n: int = 5) -> None:
    """A few held-out answers with the model's scores, for the run's page."""
    chosen = reviewed[:n]
    for one, tokens in zip(chosen, scorer.score_many([one.item for one in chosen]), strict=True):
        if tokens:
            run.sample(
                step,
                answer=one.row.name,
                text=one.item["text"],
                reward=engine.scoring.reward(tokens),
                tokens=[[token["start"], token["end"], round(token["score"], 4)] for token in tokens],
            )


def _fits(one: Reviewed, config: Config) -> bool:
    return len(one.row.ids) <= config.max_tokens


def _budget(config: Config) -> Budget:
    return engine.packs.Budget(config.micro_batch_tokens, config.max_tokens)


RECIPE = Recipe(
    name="span_reward_model",
    title="Span reward model",
    paper="Text2Grad (arXiv 2505.22338), stage 1; see also Fine-Grained RLHF (arXiv 2306.01693)",
    summary="Learns from marked phrases to say, word by word, what is bad and good in an answer it has never seen.",
    consumes=("SpanCritique",),
    needs=(),
    produces="span_reward_model",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "epochs": 3,
            "lr": 1e-5,
            "head_lr": 1e-4,
            "rank": 16,
            "max_tokens": 2048,
            "passage_tokens": 1024,
        },
        "laptop": {  # the base is read once and stays as it is: a minute for some hundred answers, and no worse on few
            "epochs": 8,
            "batch_size": 8,
            "rank": 0,
            "depth": 0.67,
            "echo": False,
            "passage_tokens": 160,
            "max_tokens": 768,
            "precision": "auto",
        },
    },
    train=train,
)
