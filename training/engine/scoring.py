"""A trained span reward model that scores any answer, token by token.

How a row is shown to the model (passages, echo) is decided here, once, for training and for scoring alike: it is
written into the artifact's `redpen.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch

from training.engine.evidence import evidence, phrases, places_of
from training.engine.heads import TokenHead, sentiment, token_scores
from training.engine.lending import Lent, lend
from training.engine.packs import Row, micro_batches
from training.engine.passages import passages_text, question_of, sentences, with_passages
from training.engine.policy import Policy
from training.engine.tokens import RenderedChat, render_chat

ECHO = (
    "The question was: {question}\n"
    "Read the answer again. Which of its phrases are wrong, or do not answer the question?"
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How an answer is shown to the classifier."""

    echo: bool = True  # the answer is read twice and the second reading is classified
    passage_tokens: int = 256  # how much of the prompt's passages is shown: the best sentences; 0 shows none
    max_tokens: int = 1024  # longer rows are left out


class TokenScore(TypedDict):
    """What the model thinks of one token of the answer."""

    start: int
    end: int
    text: str
    good: float
    bad: float
    score: float
    labels: dict[str, float]


class Item(TypedDict):
    """An answer to be scored."""

    messages: Sequence[Mapping[str, Any]]
    context: Sequence[Mapping[str, Any]]
    text: str


def show(tokenizer: Any, reading: Reading, item: Item) -> RenderedChat:
    """The conversation that the classifier reads; its completion is what is classified."""
    messages, text = item["messages"], item["text"]
    passages = ""
    if reading.passage_tokens and item["context"]:
        passages = passages_text(
            f"{question_of(messages)}\n{text}",
            item["context"],
            budget=reading.passage_tokens,
            measure=_measure(tokenizer),
        )
    told = with_passages(messages, passages)
    if reading.echo:
        told += [
            {"role": "assistant", "content": text},
            {"role": "user", "content": ECHO.format(question=question_of(messages))},
        ]
    return render_chat(tokenizer, told, response=text)


def row_of(
    head: TokenHead,
    reading: Reading,
    chat: RenderedChat,
    item: Item,
    *,
    name: str,
    targets: Sequence[Sequence[float]] | None = None,
) -> Row:
    """An answer as a row to be read, with all that the head reads beside its states. The stop token stands in the last
    sentence. An answer that is shown without passages is given no evidence of them.
    """
    text = chat.text[chat.response_start : chat.response_end]
    offsets = [*chat.response_offsets, (len(text), len(text))][: sum(chat.completion_mask)]
    of_tokens: dict[str, Any] = {}
    if head.phrases:
        of_tokens["phrases"] = places_of(phrases(text), offsets)
    if head.evidence:
        of_tokens["evidence"] = evidence(
            item["messages"], item["context"] if reading.passage_tokens else (), text, offsets
        )
    return Row(
        name=name,
        ids=chat.ids,
        trained=chat.completion_mask,
        targets=targets,
        segments=places_of(sentences(text), offsets),
        of_tokens=of_tokens,
    )


def prompt_ids(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
    *,
    passage_tokens: int,
) -> list[int]:
    """A prompt as a policy is given it, generation prompt included; passages are chosen by the question alone."""
    return render_chat(tokenizer, as_asked(tokenizer, messages, context, passage_tokens), response=None).ids


def as_asked(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
    passage_tokens: int,
) -> list[dict[str, Any]]:
    """The conversation with the prompt's passages in it, as a policy is asked."""
    passages = ""
    if passage_tokens and context:
        passages = passages_text(question_of(messages), context, budget=passage_tokens, measure=_measure(tokenizer))
    return with_passages(messages, passages)


def _measure(tokenizer: Any) -> Callable[[str], int]:
    return lambda piece: len(tokenizer(piece, add_special_tokens=False)["input_ids"])


class TooLongToScore(ValueError):
    """The answer with its prompt is longer than the model was trained on."""


class SpanScorer:
    """A span reward model, loaded."""

    def __init__(self, policy: Policy | Lent, head: TokenHead, *, labels: Sequence[str], reading: Reading) -> None:
        self.policy = policy
        self.head = head
        self.labels = list(labels)
        self.reading = reading

    @classmethod
    def load(cls, folder: Path | str, *, base: Path | str | None = None, beside: Policy | None = None) -> SpanScorer:
        """Read an artifact; `base` overrides the place of the base model that it was trained on. With a policy to stand
        `beside` it shares that one's copy of the base, where both have the same.
        """
        folder = Path(folder)
        card = json.loads((folder / "redpen.json").read_text())
        adapter = folder if (folder / "adapter_config.json").exists() else None
        base, how = base or card["base"], {"precision": card.get("precision", "fp32"), "depth": card.get("depth", 1.0)}
        lent = lend(beside, adapter, base=base, **how) if beside is not None else None
        policy = lent or Policy.open(base, adapter, **how)
        head = TokenHead.load(folder / "head.safetensors").to(policy.device)
        return cls(policy, head, labels=[label["key"] for label in card["labels"]], reading=Reading(**card["reading"]))

    def score(
        self, messages: Sequence[Mapping[str, Any]], context: Sequence[Mapping[str, Any]], text: str
    ) -> list[TokenScore]:
        """One entry for each token of `text`; raise TooLongToScore where it does not fit."""
        (found,) = self.score_many([{"messages": messages, "context": context, "text": text}])
        if found is None:
            raise TooLongToScore(
                f"The prompt and the answer are longer than the {self.reading.max_tokens} tokens that this model reads."
            )
        return found

    def score_many(self, items: Iterable[Item], *, tokens: int = 4096) -> list[list[TokenScore] | None]:
        """Scores of many answers, in their order; None for one that is too long (or cannot be rendered)."""
        items = list(items)
        shown = [show(self.policy.tokenizer, self.reading, item) for item in items]
        rows = [
            row_of(self.head, self.reading, chat, item, name=str(index))
            for index, (chat, item) in enumerate(zip(shown, items, strict=True))
            if len(chat.ids) <= self.reading.max_tokens
        ]
        found: list[list[TokenScore] | None] = [None] * len(shown)
        with self.policy.scoring() as model:
            for pack in micro_batches(rows, tokens=max(tokens, self.reading.max_tokens), device=self.policy.device):
                scores = token_scores(model, self.head, pack)
                moods, labels = sentiment(scores), torch.sigmoid(scores[:, 3:])
                for index, row in enumerate(pack.rows):
                    of_row = pack.row_of == index
                    found[int(row.name)] = self._spell(shown[int(row.name)], moods[of_row], labels[of_row])
        return found

    def _spell(self, chat: RenderedChat, moods: torch.Tensor, labels: torch.Tensor) -> list[TokenScore]:
        text = chat.text[chat.response_start : chat.response_end]
        return [
            TokenScore(
                start=start,
                end=end,
                text=text[start:end],
                good=mood[2],
                bad=mood[0],
                score=mood[2] - mood[0],
                labels=dict(zip(self.labels, of_labels, strict=True)),
            )
            for (start, end), mood, of_labels in zip(
                chat.response_offsets, moods.tolist(), labels.tolist(), strict=False
            )
        ]


Reduction = Literal["mean", "phrases"]
SEEN = 0.1  # a token whose score is nearer to 0 than this is part of no phrase


def reward(scores: Sequence[TokenScore], *, reduction: Reduction = "mean") -> float:
    """One number from a span reward model; 0 for an empty answer.

    mean: over the answer's tokens, of p(good) - p(bad). phrases: each run of neighbouring tokens of one sign counts
    with its strongest token, so that a long phrase weighs as much as a short one, and a gap (one token) as much as
    both.
    """
    values = [token["score"] for token in scores]
    if reduction == "mean":
        return sum(values) / len(values) if values else 0.0
    total = strongest = 0.0
    for value in [*values, 0.0]:
        kept = value if abs(value) > SEEN else 0.0
        if strongest and kept * strongest <= 0:
            total += strongest
            strongest = 0.0
        if abs(kept) > abs(strongest):
            strongest = kept
    return total


def disjoint(scores: Sequence[TokenScore]) -> list[TokenScore]:
    """The same scores with no character in two of them: tokens that are parts of one character (an emoji, say) become
    one entry with their mean, as a page needs them.
    """
    found: list[TokenScore] = []
    together: list[TokenScore] = []
    for token in [*scores, None]:
        if together and (token is None or token["start"] >= max(one["end"] for one in together)):
            found.append(_mean(together))
            together = []
        if token is not None:
            together.append(token)
    return found


def _mean(tokens: Sequence[TokenScore]) -> TokenScore:
    if len(tokens) == 1:
        return tokens[0]
    last = max(tokens, key=lambda token: token["end"])
    text = tokens[0]["text"]
    for before, token in pairwise(tokens):
        text += token["text"][max(0, before["end"] - token["start"]) :]
    n = len(tokens)
    return TokenScore(
        start=tokens[0]["start"],
        end=last["end"],
        text=text,
        good=sum(token["good"] for token in tokens) / n,
        bad=sum(token["bad"] for token in tokens) / n,
        score=sum(token["score"] for token in tokens) / n,
        labels={label: sum(token["labels"][label] for token in tokens) / n for label in tokens[0]["labels"]},
    )


def card_of(reading: Reading) -> dict[str, Any]:
    """The reading as it stands in `redpen.json`."""
    return asdict(reading)
