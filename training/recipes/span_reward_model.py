"""A span reward model: which phrases of an answer are bad or good, learned from people's marks.

Paper: Text2Grad (arXiv 2505.22338), its stage 1 in the small local form: no text is generated, no quote can fail. A
causal language model with an adapter reads question, passages and answer; a head classifies every token of the answer
as bad, neutral or good, and says for each of the project's labels whether it applies.

Where we differ: the critique's words are not modelled; people's marks carry offsets, so nothing is searched for; the
head sees the means of the token's sentence and phrase beside the token, and what can be read off question, passages and
answer without a model (evidence); the base may stay as it is (rank 0), and its upper layers, which are about the next
word, may be left out (depth); then the classifier may be fitted to the end, held back as far as cross-validation says
(fit): on few answers that was better than an adapter (docs/recipes.md). With `echo` the answer is read
twice and the second reading is classified, so that a causal model has seen what comes after (mechanism 8). Where the
paper is silent: how passages that are too long are shown (their sentences closest to question and answer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.context import RecipeError, RunContext
from training.recipes.reviewed import Reviewed, balance, keep_what_fits, prepare
from training.recipes.steps import steps

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.fitting import Tried
    from training.engine.heads import TokenHead
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack
    from training.engine.policy import Policy
    from training.engine.scoring import SpanScorer

ALONE = 0.01  # the penalty where there is but one prompt, so that nothing can be held out
SCALED = 64  # answers whose scores tell the mean and deviation that the artifact holds


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
    phrases: bool = option(
        False, "and by its phrase's: sentences cut at commas and the like and before joining words", source="ours"
    )
    evidence: bool = option(
        False,
        "and by where it stands and which words its sentence shares with question, passages and the rest",
        source="ours",
    )
    fit: Literal["steps", "exact"] = option(
        "steps",
        "how the classifier learns: with the adapter, step by step; or exact, on a base that stays as it is: its best "
        "weights under a penalty that fourfold cross-validation over the prompts chooses",
        source="ours",
    )
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
    label_weight: float = option(
        1.0, "weight of the labels beside the sentiment; fitted exactly, each label stands alone", ge=0, le=10
    )
    precision: Literal["fp32", "bf16", "auto"] = option(
        "fp32", "of the frozen base; auto takes bf16 where this machine is faster in it; what is trained is fp32"
    )
    micro_batch_tokens: int = pack_tokens()


def train(run: RunContext, config: Config) -> None:
    """Learn from the snapshot's train split; measure on dev while it runs and on test at the end."""
    if config.fit == "exact" and config.rank:
        raise RecipeError(
            "config.fit",
            "An adapter is learned step by step, so nothing can be fitted exactly beside it.",
            "Set rank to 0, or fit to steps.",
        )
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
        policy.model.config.hidden_size,
        outputs,
        pooled=config.pooled,
        phrases=config.phrases,
        evidence=len(engine.evidence.NAMES) if config.evidence else 0,
        dropout=config.dropout,
    ).to(policy.device)
    scorer = engine.scoring.SpanScorer(policy, head, labels=outputs[3:], reading=reading)

    splits = {split: list(prepare(run, scorer, labels, split)) for split in ("train", "dev", "test")}
    learned = keep_what_fits(run, splits["train"], max_tokens=config.max_tokens, max_left_out=config.max_left_out)
    measured = {
        split: [one for one in splits[split] if len(one.row.ids) <= config.max_tokens] for split in ("dev", "test")
    }
    class_weights = balance([one.row for one in learned], config.balance)
    run.log(
        f"Learning from {len(learned)} answers; "
        f"measuring on {len(measured['dev'])} (dev) and {len(measured['test'])} (test)."
    )

    if config.evidence:
        head.standardise(_evidence(policy, learned))
    read = {}  # a base without an adapter is read once, not in every epoch
    if not config.rank:
        packs = engine.packs.micro_batches([one.row for one in learned], tokens=_budget(config))
        read = engine.heads.known_states(policy.model, run.heed(packs))
        run.log("The base has read all answers once; the classifier learns from what it saw.")

    def cost(scores: Tensor, targets: Tensor) -> engine.objectives.Loss:
        return engine.objectives.token_classification(
            scores, targets, class_weights=class_weights, label_weight=config.label_weight
        )

    def objective(pack: engine.packs.Pack) -> engine.objectives.Loss:
        hidden = engine.packs.join([read[row.name] for row in pack.rows]) if read else None
        return cost(engine.heads.token_scores(policy.model, head, pack, hidden=hidden), pack.flat("targets"))

    figures: dict[str, float] = {}

    def evaluate() -> dict[str, float]:
        figures.update({f"dev_{name}": value for name, value in measure(scorer, measured["dev"]).items()})
        policy.model.train()
        head.train()
        return figures

    if config.fit == "exact":
        total = fit_exactly(run, scorer, learned, read, cost, evaluate if measured["dev"] else None)
    else:
        total = learn_in_steps(run, policy, head, config, learned, objective, evaluate if measured["dev"] else None)
    if measured["dev"] and not figures:  # an earlier attempt had come to the end of the training
        evaluate()
    if measured["test"]:
        figures |= {f"test_{name}": value for name, value in measure(scorer, measured["test"]).items()}
    if figures:
        run.metrics(total, total, **figures)
    show_some(run, scorer, measured["test"] or measured["dev"], step=total)
    policy.save(run.artifact_path)
    head.save(run.artifact_path / "head.safetensors")
    run.artifact(
        kind="span_reward_model",
        base=str(run.base_model),
        labels=labels,
        reading=engine.scoring.card_of(reading),
        precision=precision,
        depth=config.depth,
        scores=spreads(scorer, learned[:SCALED]),
        metrics={**figures, "answers": len(learned)},
    )


def spreads(scorer: SpanScorer, learned: Sequence[Reviewed]) -> dict[str, dict[str, float]]:
    """Mean and deviation of the one number that the scores of these answers become, for each way to reduce them."""
    scored = [tokens for tokens in scorer.score_many([one.item for one in learned]) if tokens]
    return {
        how: engine.rewards.spread_of([engine.scoring.reward(tokens, reduction=how) for tokens in scored])
        for how in get_args(engine.scoring.Reduction)
    }


def learn_in_steps(
    run: RunContext,
    policy: Policy,
    head: TokenHead,
    config: Config,
    learned: list[Reviewed],
    objective: Callable[[Pack], Loss],
    evaluate: Callable[[], dict[str, float]] | None,
) -> int:
    """Adapter and classifier by gradient steps; returns their number."""
    rows = [one.row for one in learned]
    batches = engine.loop.Batches(rows, size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(
        [
            *([{"params": policy.parameters, "lr": config.lr}] if config.rank else []),
            {"params": list(head.parameters()), "lr": config.head_lr},
        ],
        lr=config.lr,
        steps=len(batches),
        weight_decay=config.weight_decay,
    )
    policy.model.train()
    head.train()
    for step in steps(
        run,
        loop,
        batches,
        parts={"policy": policy, "head": head},
        evaluate=evaluate,
        every=engine.loop.steps_of(len(learned), size=config.batch_size, epochs=1) if config.rank else 0,
    ):
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=_budget(config))), objective)
        step.report(**loop.optim_step())
    return len(batches)


def fit_exactly(
    run: RunContext,
    scorer: SpanScorer,
    learned: list[Reviewed],
    read: Mapping[str, Tensor],
    cost: Callable[[Tensor, Tensor], Loss],
    evaluate: Callable[[], dict[str, float]] | None,
) -> int:
    """The classifier's best weights on known states, bad, neutral and good first, then label by label; returns the
    number of the last step: a penalty tried is one, and so is the end.
    """
    head = scorer.head
    head.eval()
    examples = []
    for one in learned:
        pack = engine.packs.lay_out([one.row], device=scorer.policy.device)
        inputs = head.inputs(read[one.row.name], **engine.heads.beside(head, pack)).detach()
        examples.append(engine.fitting.Example(one.prompt, inputs, pack.flat("targets")))
    # No output shares a weight with another, so each is held back as it needs: bad, neutral and good by one penalty,
    # every label by its own. With one for all, what is frequent would decide for what is rare.
    parts = {"": slice(3), **{label: slice(3 + at, 4 + at) for at, label in enumerate(scorer.labels)}}
    total, step = len(parts) * len(engine.fitting.PENALTIES) + 1, 0
    figures = {}
    for label, outputs in parts.items():
        of_part = [one.of(outputs) for one in examples]
        objective = engine.objectives.any_of if label else cost
        tried: list[Tried] = []
        if len({one.prompt for one in learned}) > 1:
            for found in run.heed(engine.fitting.choose_penalty(head, of_part, objective, seed=run.seed)):
                tried.append(found)
                name = f"held_out_loss/{label}" if label else "held_out_loss"
                run.metrics(step + len(tried), total, **{"penalty": found.penalty, name: found.loss})
        penalty = engine.fitting.best(tried).penalty if tried else ALONE
        loss = engine.fitting.fit(head, of_part, objective, penalty=penalty, outputs=outputs)
        figures |= {"loss": loss} if not label else {}
        run.log(f"{label or 'Good or bad'}: held back by a penalty of {penalty:g}, of {len(tried)} that were tried.")
        step += len(engine.fitting.PENALTIES)
    run.metrics(total, total, **figures, **(evaluate() if evaluate else {}))
    return total


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
                question=engine.passages.question_of(one.item["messages"]),
                text=one.item["text"],
                reward=engine.scoring.reward(tokens),
                tokens=[[token["start"], token["end"], round(token["score"], 4)] for token in tokens],
            )


def _evidence(policy: Policy, learned: list[Reviewed]) -> Tensor:
    """The figures of all tokens that are learned from, float32 [N, evidence]."""
    import torch

    rows = [figures for one in learned for figures in one.row.of_tokens["evidence"]]
    return torch.tensor(rows, dtype=torch.float32, device=policy.device)


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
            "fit": "exact",
            "phrases": True,
            "evidence": True,
            "depth": 0.67,
            "echo": False,
            "passage_tokens": 160,
            "max_tokens": 768,
            "precision": "auto",
        },
    },
    train=train,
)
