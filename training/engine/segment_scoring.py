"""A trained segment reward model: for each category of error, whether each segment of an answer is free of it.

One backbone reads the answer; the verdict on a segment is read at the token that holds its last character, because a
causal model has seen a segment only at its end. How an answer is cut and shown is decided here, once, for training and
for scoring alike, and written into the artifact's `redpen.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.engine.heads import TokenHead, token_scores
from training.engine.lending import Lent, lend
from training.engine.packs import Budget, Pack, Row, micro_batches
from training.engine.policy import Policy
from training.engine.scoring import Item, Reading, card_of, show
from training.engine.segments import ERR, OK, Segment, end_tokens, segmenter
from training.engine.tokens import TemplateRefused

NOT_HERE = -1.0  # a token at which no judged segment ends
CLASSES = (OK, ERR)  # in this order to the objective; the head's own order is read from its names


@dataclass(frozen=True, kw_only=True)
class Category:
    """A kind of error that has a head of its own."""

    name: str
    labels: tuple[str, ...]  # of people's marks, as they are written; "*" is every bad mark
    segments: str = "clause"  # how answers are cut: sentence, clause, words:4
    facts: bool = False  # about facts: it reads the passages, and short marks count


@dataclass(frozen=True)
class Judged:
    """A segment of an answer and what the model thinks of it."""

    start: int
    end: int
    ok: float | None  # p(OK); None where it was cut off, because answer and prompt are longer than the model reads

    @property
    def sign(self) -> float:
        """+1 where OK is likelier than ERR, -1 where it is not, 0 where it was cut off."""
        return 0.0 if self.ok is None else 1.0 if self.ok > 0.5 else -1.0


@dataclass(frozen=True)
class Cut:
    """An answer as one category reads it."""

    row: Row | None  # None where nothing of the answer is left to read
    segments: list[Segment]
    ends: list[int | None]  # of each segment the answer's token that ends it, from 0; None where it was cut off


class SegmentScorer:
    """A segment reward model, loaded."""

    def __init__(
        self, policy: Policy | Lent, head: TokenHead, *, categories: Sequence[Category], reading: Reading
    ) -> None:
        self.policy = policy
        self.head = head
        self.categories = list(categories)
        self.reading = reading  # its passages are for categories about facts alone
        self.columns = columns_of(head.outputs, [one.name for one in categories])

    @classmethod
    def load(cls, folder: Path | str, *, base: Path | str | None = None, beside: Policy | None = None) -> SegmentScorer:
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
        categories = [Category(**{**one, "labels": tuple(one["labels"])}) for one in card["categories"]]
        return cls(policy, head, categories=categories, reading=Reading(**card["reading"]))

    def card(self) -> dict[str, Any]:
        """What `redpen.json` says of how answers are cut and shown."""
        return {"categories": [asdict(one) for one in self.categories], "reading": card_of(self.reading)}

    def cuts(self, name: str, item: Item) -> list[Cut]:
        """The answer as each category reads it. Rows know their category; what two of them read alike is computed once
        where they are one unit of a pack. Raises TemplateRefused where the chat template cannot be used.
        """
        found = []
        for number, category in enumerate(self.categories):
            reading = self.reading if category.facts else replace(self.reading, passage_tokens=0)
            chat = show(self.policy.tokenizer, reading, item)
            segments = segmenter(category.segments)(item["text"])
            trained = chat.completion_mask[: reading.max_tokens]
            ends = [
                None if token is None or token >= sum(trained) else token
                for token in end_tokens(item["text"], segments, chat.response_offsets)
            ]
            row = None
            if any(end is not None for end in ends):
                row = Row(
                    name=f"{name} {number}",
                    ids=chat.ids[: reading.max_tokens],
                    trained=trained,
                    segments=numbers_of(ends, sum(trained)),
                    of_row={"category": float(number)},
                )
            found.append(Cut(row, segments, ends))
        return found

    def scores(self, pack: Pack, *, hidden: Tensor | None = None) -> Tensor:
        """float32 [N, 2] at the pack's answers' tokens: OK and ERR of the category that each row is of."""
        both = token_scores(self.policy.model, self.head, pack, hidden=hidden)
        columns = torch.tensor(self.columns, device=both.device)[pack.by_row("category").long()]
        return both.gather(1, pack.ragged.spread(columns))

    def score_many(self, items: Iterable[Item], *, tokens: int = 4096) -> list[dict[str, list[Judged]] | None]:
        """For each answer, in their order, its segments by category; None where it cannot be rendered."""
        cut: list[list[Cut] | None] = []
        for place, item in enumerate(items):
            try:
                cut.append(self.cuts(str(place), item))
            except TemplateRefused:
                cut.append(None)
        units = [rows for one in cut if one and (rows := [part.row for part in one if part.row])]
        likely: dict[str, list[float]] = {}
        self.head.eval()
        with self.policy.scoring():
            budget = Budget(tokens, max(tokens, len(self.categories) * self.reading.max_tokens))
            for pack in micro_batches(units, tokens=budget, device=self.policy.device):
                ok = torch.softmax(self.scores(pack), -1)[:, 0]
                lengths = pack.ragged.lengths().int().tolist()
                likely |= {row.name: of.tolist() for row, of in zip(pack.rows, ok.split(lengths), strict=True)}
        return [None if one is None else self._spell(one, likely) for one in cut]

    def _spell(self, cuts: Sequence[Cut], likely: Mapping[str, list[float]]) -> dict[str, list[Judged]]:
        return {
            category.name: [
                Judged(start, end, likely[cut.row.name][token] if cut.row and token is not None else None)
                for (start, end), token in zip(cut.segments, cut.ends, strict=True)
            ]
            for category, cut in zip(self.categories, cuts, strict=True)
        }


def outputs_of(categories: Sequence[Category]) -> list[str]:
    """The names of a head's outputs: two for each category."""
    return [f"{category.name}:{kind}" for category in categories for kind in CLASSES]


def columns_of(outputs: Sequence[str], categories: Sequence[str]) -> list[list[int]]:
    """Where a head has OK and ERR of each category, by their names: [K, 2]. Raises ValueError where one is missing."""
    wanted = [[f"{name}:{kind}" for kind in CLASSES] for name in categories]
    if missing := [one for pair in wanted for one in pair if one not in outputs]:
        raise ValueError(f"This head has no output {missing[0]}; it has {', '.join(outputs)}.")
    return [[list(outputs).index(one) for one in pair] for pair in wanted]


def targets_of(cut: Cut, verdicts: Sequence[str | None], tokens: int) -> list[float]:
    """The class of each of the answer's tokens: 0 OK or 1 ERR at the end of a judged segment, NOT_HERE elsewhere. Where
    segments share a token the worst counts.
    """
    found = [NOT_HERE] * tokens
    for end, verdict in zip(cut.ends, verdicts, strict=True):
        if end is not None and verdict is not None:
            found[end] = max(found[end], float(CLASSES.index(verdict)))
    return found


def numbers_of(ends: Sequence[int | None], tokens: int) -> list[int]:
    """For each of the answer's tokens the number of the segment that it stands in; the last one's beyond the ends."""
    kept = [end for end in ends if end is not None]
    found, at = [], 0
    for token in range(tokens):
        while at + 1 < len(kept) and token > kept[at]:
            at += 1
        found.append(at)
    return found
