"""Answers that people have reviewed, as rows with a target for each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training import engine
from training.recipes.context import RecipeError, RunContext

if TYPE_CHECKING:
    from training.engine.packs import Row
    from training.engine.scoring import Item, SpanScorer


@dataclass(frozen=True)
class Reviewed:
    """An answer that people have looked at, as a row to train on."""

    row: Row
    item: Item
    prompt: str


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
            row=engine.scoring.row_of(
                scorer.head,
                scorer.reading,
                chat,
                item,
                name=f"answer {record['response_id']}",
                targets=targets_of(record, chat.response_offsets, labels),
            ),
            item=item,
            prompt=str(record.get("prompt_id") or record["messages"]),
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


def keep_what_fits(
    run: RunContext, reviewed: list[Reviewed], *, max_tokens: int, max_left_out: float
) -> list[Reviewed]:
    """The answers that can be learned from; those that are too long are counted and listed by record."""
    if not reviewed:
        raise RecipeError(
            "data.empty",
            "The snapshot holds no reviewed answers in its train split, so there is nothing to learn from.",
            "Mark some answers (or submit them without marks) and make a new snapshot.",
        )
    kept = [one for one in reviewed if len(one.row.ids) <= max_tokens]
    left_out = [one.row for one in reviewed if not len(one.row.ids) <= max_tokens]
    if left_out:
        names = ", ".join(f"{row.name} ({len(row.ids)} tokens)" for row in left_out[:20])
        more = f" and {len(left_out) - 20} more" if len(left_out) > 20 else ""
        run.log(f"{len(left_out)} answers are longer than {max_tokens} tokens: {names}{more}.", level="warning")
    if len(left_out) > max_left_out * len(reviewed):
        raise RecipeError(
            "data.too_long",
            f"{len(left_out)} of {len(reviewed)} answers are longer than {max_tokens} tokens with their prompt.",
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
