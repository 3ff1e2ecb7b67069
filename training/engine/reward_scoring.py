"""A trained reward model that gives any answer one number: the head's score at the answer's last token.

How an answer is shown to it (its passages, its length) is written into the artifact's `redpen.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from training.engine.answers import answer_row, prompt_of
from training.engine.heads import ScoreHead, row_scores
from training.engine.lending import Lent, lend
from training.engine.objectives import ordered
from training.engine.packs import Row, micro_batches
from training.engine.policy import Policy
from training.engine.tokens import TemplateRefused


class Judged(TypedDict):
    """An answer to be scored: its text, or (`ids`) the very tokens that were sampled."""

    messages: Sequence[Mapping[str, Any]]
    context: Sequence[Mapping[str, Any]]
    text: NotRequired[str]
    ids: NotRequired[Sequence[int]]


class RewardScorer:
    """A reward model, loaded."""

    def __init__(self, policy: Policy | Lent, head: ScoreHead, *, passage_tokens: int, max_tokens: int) -> None:
        self.policy = policy
        self.head = head
        self.passage_tokens = passage_tokens
        self.max_tokens = max_tokens  # of prompt and answer together; longer ones have no score

    @classmethod
    def load(cls, folder: Path | str, *, base: Path | str | None = None, beside: Policy | None = None) -> RewardScorer:
        """Read an artifact; `base` overrides the place of the base model that it was trained on. With a policy to stand
        `beside` it shares that one's copy of the base, where both have the same.
        """
        folder = Path(folder)
        card = json.loads((folder / "redpen.json").read_text())
        adapter = folder if (folder / "adapter_config.json").exists() else None
        base, precision = base or card["base"], card.get("precision", "fp32")
        lent = lend(beside, adapter, base=base, precision=precision) if beside is not None else None
        policy = lent or Policy.open(base, adapter, precision=precision)
        head = ScoreHead.load(folder / "head.safetensors").to(policy.device)
        return cls(policy, head, **card["reading"])

    def row(self, name: str, item: Judged) -> Row:
        """The answer as this model reads it."""
        ids = item.get("ids")
        return answer_row(
            self.policy.tokenizer,
            name,
            item["messages"],
            item["context"],
            text=item.get("text", ""),
            ids=ids,
            passage_tokens=self.passage_tokens,
        )

    def score_many(self, items: Iterable[Judged], *, tokens: int = 4096) -> list[float | None]:
        """One number for each answer, in their order; None for one that is too long, empty, or cannot be rendered.

        Neighbours that answer the same prompt are read together, the prompt once.
        """
        rows, count = [], 0
        for place, item in enumerate(items):
            count = place + 1
            if not (item["ids"] if "ids" in item else item.get("text", "").strip()):
                continue
            try:
                row = self.row(str(place), item)
            except TemplateRefused:
                continue
            if len(row.ids) <= self.max_tokens:
                rows.append(row)
        found: list[float | None] = [None] * count
        for name, score in self.score_rows(rows, tokens=tokens).items():
            found[int(name)] = score
        return found

    def score_rows(self, rows: Sequence[Row], *, tokens: int = 4096) -> dict[str, float]:
        """The score of each row, by its name."""
        budget = max(tokens, self.max_tokens)
        self.head.eval()
        found: dict[str, float] = {}
        with self.policy.scoring() as model:
            for pack in micro_batches(_together(rows, budget), tokens=budget, device=self.policy.device):
                scores = row_scores(model, self.head, pack)[:, 0]
                found |= {row.name: score for row, score in zip(pack.rows, scores.tolist(), strict=True)}
        return found


class Cuts(nn.Module):
    """The borders between the steps of an ordinal scale, trained beside the scores. They begin one e-fold apart,
    around 0.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 2:
            raise ValueError("A scale has two steps or more.")
        self.raw = nn.Parameter(torch.full((steps - 1,), math.log(math.e - 1)))  # softplus of it is 1
        with torch.no_grad():
            self.raw[0] = -(steps - 2) / 2

    def forward(self) -> Tensor:
        """Increasing, float32 [steps - 1]."""
        return ordered(self.raw)


def _together(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Neighbours with one prompt as one unit, as many as surely fit the budget."""
    units: list[list[Row]] = []
    for _, group in groupby(rows, key=prompt_of):
        unit: list[Row] = []
        for row in group:
            if unit and sum(len(one.ids) for one in unit) + len(row.ids) > budget:
                units.append(unit)
                unit = []
            unit.append(row)
        units.append(unit)
    return units
