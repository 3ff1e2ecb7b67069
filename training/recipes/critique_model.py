"""A critique model: it says in words what is right and wrong in an answer, then quotes the phrases that this is about.

Paper: Text2Grad (arXiv 2505.22338), stage 1 in its own form: a causal language model that writes, no regression head.

    z = {"textual_feedback": words, "good_spans": [quotes], "poor_spans": [quotes]}     after (task, question, answer)
    loss = - sum_j log p(z_j | x, y, z_<j) / tokens of z of the whole optimiser step, the stop token with them

The words come before the quotes: they are the chain of thought that makes the quotes right. What is learned from: every
person's marks on an answer with the words they gave (on the phrase, or on the whole answer), each person one critique;
a reviewed answer without marks is one without quotes.

Where we differ: when it writes, a quote can only be a part of the answer (`engine.quoting`), so that few are lost; the
rest are searched for as the paper does; what cannot be read is no verdict, never a mild praise of every word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from training import engine
from training.recipes.base import Recipe, RecipeConfig, option, pack_tokens
from training.recipes.context import RecipeError, RunContext
from training.recipes.learning import listed
from training.recipes.steps import steps

if TYPE_CHECKING:
    from training.engine.critique_writing import Asking, CritiqueWriter, Written
    from training.engine.objectives import Loss
    from training.engine.packs import Budget, Pack, Row
    from training.engine.scoring import Item


class Config(RecipeConfig):
    """Options of critique_model."""

    epochs: int = option(3, "how often every critique is read", source="Text2Grad, RM training: 3", ge=1, le=50)
    batch_size: int = option(16, "critiques that one step learns from", unit="critiques", ge=1, le=1024)
    lr: float = option(2e-4, "learning rate of the adapter", source="ours; the paper's 1e-5 is for 8B", gt=0, le=0.1)
    rank: int = option(16, "rank of the adapter", source="Text2Grad", ge=1, le=256)
    dropout: float = option(0.0, "dropout in the adapter", source="Text2Grad: 0.05", ge=0, lt=1)
    weight_decay: float = option(0.0, "decay of the adapter's weights", ge=0, le=1)
    guide: Literal["full", "none"] = option(
        "full", "ask with the task in words, or (for models too small to read it) with question and answer alone"
    )
    passage_tokens: int = option(
        256,
        "how much of the prompt's passages is shown: their best sentences; 0 shows none",
        unit="tokens",
        ge=0,
        le=8192,
    )
    max_tokens: int = option(1536, "longer rows are left out, counted and listed", unit="tokens", ge=16, le=32768)
    max_left_out: float = option(0.2, "refuse to start when a larger share of the critiques is left out", ge=0, le=1)
    max_new_tokens: int = option(300, "longest critique with its quotes", unit="tokens", source="500", ge=16, le=4096)
    words: int = option(200, "tokens that the words may take before their end is set", unit="tokens", ge=1, le=4096)
    quotes: int = option(6, "phrases of each kind, at most", source="paper: few", ge=1, le=64)
    measured: int = option(32, "held-out answers that it criticises at the end, to be measured", ge=0, le=10_000)
    micro_batch_tokens: int = pack_tokens()

    @property
    def asking(self) -> Asking:
        """How critiques are asked for, in training and afterwards."""
        return engine.critique_writing.Asking(
            guide=self.guide,
            passage_tokens=self.passage_tokens,
            max_tokens=self.max_tokens,
            max_new_tokens=self.max_new_tokens,
            words=self.words,
            quotes=self.quotes,
        )

    @property
    def budget(self) -> Budget:
        """Tokens of a pack."""
        return engine.packs.Budget(self.micro_batch_tokens, self.max_tokens)


@dataclass(frozen=True)
class Example:
    """One person's critique of an answer, as a row to learn from."""

    row: Row
    item: Item
    marks: Sequence[Mapping[str, Any]]
    words: str


def train(run: RunContext, config: Config) -> None:
    """Learn from the train split, watch dev while it runs; criticise answers of test (or dev) at the end."""
    policy = engine.policy.Policy.load(
        run.base_model, lora=engine.policy.Lora(rank=config.rank, dropout=config.dropout), seed=run.seed
    )
    data = {split: prepare(run, config, policy.tokenizer, split) for split in ("train", "dev", "test")}
    if not any(one.marks for one in data["train"]):
        raise RecipeError(
            "data.no_marks",
            f"None of the {len(data['train'])} critiques in the train split has a phrase marked.",
            "Mark phrases in some answers, say why, and make a new snapshot.",
        )
    run.log(f"Learning from {len(data['train'])} critiques; {len(data['dev'])} (dev), {len(data['test'])} (test).")
    rows = [one.row for one in data["train"]]
    batches = engine.loop.Batches(rows, size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=len(batches), weight_decay=config.weight_decay)

    def objective(pack: Pack) -> Loss:
        return engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)

    def evaluate() -> dict[str, float]:
        return {"dev_loss": mean_loss(run, policy, config, data["dev"])}

    for step in steps(
        run,
        loop,
        batches,
        parts={"policy": policy},
        evaluate=evaluate if data["dev"] else None,
        every=engine.loop.steps_of(len(rows), size=config.batch_size, epochs=1),
    ):
        policy.model.train()
        loop.forward_backward(run.heed(engine.packs.micro_batches(step.batch, tokens=config.budget)), objective)
        step.report(**loop.optim_step())

    figures: dict[str, float] = {}
    for split in ("dev", "test"):
        if data[split]:
            figures[f"{split}_loss"] = mean_loss(run, policy, config, data[split])
    split = "test" if data["test"] else "dev"
    writer = engine.critique_writing.CritiqueWriter(policy, config.asking)
    held_out = once_each(data[split])[: config.measured]
    if held_out:
        written = writer.write_many([one.item for one in held_out], heed=run.check_stop)
        figures |= {f"{split}_{name}": value for name, value in measure(writer, held_out, written).items()}
        run.metrics(len(batches), len(batches), **figures)
        if broken := sum(one is None for one in written):
            run.log(
                f"{broken} of {len(written)} critiques of held-out answers broke off before their end, and nothing can "
                f"be read of them: raise max_new_tokens ({config.max_new_tokens}) or lower words and quotes.",
                level="warning",
            )
        show_some(run, held_out, written, step=len(batches))
    policy.save(run.artifact_path)
    run.artifact(
        kind="critique_model",
        base=str(run.base_model),
        asking=engine.critique_writing.card_of(config.asking),
        metrics={**figures, "critiques": len(rows)},
    )


def prepare(run: RunContext, config: Config, tokenizer: Any, split: str) -> list[Example]:
    """Every person's critique of every answer of a split; those that are too long are counted and listed."""
    found, left_out = [], []
    for name, record, marks, words in critiques(run, split):
        item: Item = {"messages": record["messages"], "context": record.get("context") or [], "text": record["text"]}
        target = engine.critiques.written(engine.critiques.of_marks(marks, words))
        try:
            asked = engine.critique_writing.asked(tokenizer, config.asking, item)
            chat = engine.tokens.render_chat(tokenizer, asked, response=target)
        except engine.tokens.TemplateRefused as refusal:
            raise RecipeError("base_model.template", str(refusal), "Choose another base model.") from refusal
        if len(chat.ids) > config.max_tokens:
            left_out.append(f"{name} ({len(chat.ids)} tokens)")
            continue
        row = engine.packs.Row(name=name, ids=chat.ids, trained=chat.completion_mask)
        found.append(Example(row, item, marks, engine.critiques.of_marks(marks, words).words))
    if left_out:
        run.log(
            f"{len(left_out)} critiques ({split}) are longer than {config.max_tokens} tokens: {listed(left_out)}.",
            level="warning",
        )
    if split == "train" and len(left_out) > config.max_left_out * (len(found) + len(left_out)):
        raise RecipeError(
            "data.too_long",
            f"{len(left_out)} of {len(found) + len(left_out)} critiques are longer than {config.max_tokens} tokens.",
            "Raise max_tokens, lower passage_tokens, or allow a larger max_left_out.",
        )
    return found


def critiques(run: RunContext, split: str) -> Iterator[tuple[str, Mapping[str, Any], list[Mapping[str, Any]], str]]:
    """Name, record, marks and words on the whole, of each person who looked at an answer."""
    said: dict[tuple[str, str], str] = {}
    for record in run.rows(split, kind="verdict"):
        if record.get("words"):
            said[str(record["response_id"]), str(record.get("author"))] = record["words"]
    for record in run.rows(split, kind="response"):
        marks = record.get("spans") or []
        people = {str(mark.get("author")) for mark in marks} | {str(one) for one in record.get("reviewers") or ()}
        if not people and record.get("reviewed", True):
            people = {"nobody"}
        for person in sorted(people):
            own = [mark for mark in marks if str(mark.get("author")) == person]
            answer = str(record["response_id"])
            yield f"answer {answer} by {person}", record, own, said.get((answer, person), "")


def once_each(examples: Sequence[Example]) -> list[Example]:
    """One example of each answer."""
    found: dict[tuple[str, str], Example] = {}
    for one in examples:
        found.setdefault((str(one.item["messages"]), one.item["text"]), one)
    return list(found.values())


def mean_loss(run: RunContext, policy: Any, config: Config, examples: Sequence[Example]) -> float:
    """Nats a token of held-out critiques."""
    policy.model.eval()
    total = count = 0.0
    for pack in run.heed(engine.packs.micro_batches([one.row for one in examples], tokens=config.budget)):
        values = engine.logprobs.completion_logprobs(policy.model, pack).values.detach()
        total, count = total - float(values.sum()), count + len(values)
    return total / max(1.0, count)


def measure(writer: CritiqueWriter, examples: Sequence[Example], written: Sequence[Written | None]) -> dict[str, float]:
    """Precision, recall and F1 of its marks on tokens, for bad and for good ones, where people marked any; how much its
    words overlap with theirs (ROUGE-L); shares without a verdict, and quotes that were lost.
    """
    tokenizer = writer.policy.tokenizer
    pairs: list[tuple[float, float]] = []
    for one, found in zip(examples, written, strict=True):
        if found is None:
            continue
        text = one.item["text"]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = [engine.marks.of_people(one.marks), list(found.located.spans)]
        truth, mine = (engine.marks.rewards_of(tokenizer, ids, text, spans) for spans in theirs)
        pairs += zip(truth, mine, strict=True)
    heard = [(one, found) for one, found in zip(examples, written, strict=True) if found is not None]
    figures = {"unparsed": 1 - len(heard) / max(1, len(examples))}
    figures["quotes_lost"] = float(sum(found.located.lost for _, found in heard))
    if heard:
        overlaps = [engine.critiques.overlap(found.critique.words, one.words) for one, found in heard]
        figures["words_overlap"] = sum(overlaps) / len(overlaps)
    for name, sign in (("bad", -1), ("good", 1)):
        truths, hits = ([sign * pair[k] > 0 for pair in pairs] for k in (0, 1))
        if any(truths):
            both = sum(a and b for a, b in zip(truths, hits, strict=True))
            precision, recall = both / max(1, sum(hits)), both / sum(truths)
            figures |= {f"precision_{name}": precision, f"recall_{name}": recall}
            figures[f"f1_{name}"] = 2 * precision * recall / (precision + recall) if both else 0.0
    return figures


def show_some(
    run: RunContext, examples: Sequence[Example], written: Sequence[Written | None], *, step: int, n: int = 5
) -> None:
    """A few held-out answers with its marks and words, for the run's page."""
    for one, found in list(zip(examples, written, strict=True))[:n]:
        if found is not None:
            run.sample(
                step,
                answer=one.row.name,
                question=engine.passages.question_of(one.item["messages"]),
                text=one.item["text"],
                critique=found.critique.words,
                by_people=one.words,
                tokens=[[span.start, span.end, span.score] for span in apart(found.located.spans)],
            )


def apart(spans: Sequence[Any]) -> list[Any]:
    """Spans of which none reaches into another: what overlaps one before it is left out, a poor one comes first."""
    kept: list[Any] = []
    for span in sorted(spans, key=lambda one: (one.score, one.start)):
        if all(span.end <= one.start or one.end <= span.start for one in kept):
            kept.append(span)
    return sorted(kept, key=lambda one: one.start)


RECIPE = Recipe(
    name="critique_model",
    title="Critique model",
    paper="Text2Grad (arXiv 2505.22338), stage 1: the reward model that writes a critique and then its spans",
    summary="Learns to say in words what is right and wrong in an answer, and then to quote the phrases it means. What "
    "it quotes can reward or blame their tokens.",
    consumes=("SpanCritique", "Critique"),
    needs=(),
    produces="critique_model",
    Config=Config,
    presets={
        "paper": {"micro_batch_tokens": 8192, "lr": 1e-5, "dropout": 0.05, "max_new_tokens": 500, "words": 400},
        "laptop": {
            "epochs": 3,
            "batch_size": 8,
            "guide": "none",
            "passage_tokens": 160,
            "max_tokens": 1024,
            "max_new_tokens": 200,
            "words": 120,
            "measured": 16,
        },
    },
    train=train,
)
