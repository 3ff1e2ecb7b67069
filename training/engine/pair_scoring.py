"""A trained preference model: it reads a prompt with two answers and says how sure it is that the first is the better.

Both orders are read, and s = (z(a, b) - z(b, a)) / 2: which answer stood first cannot matter, p(a, b) = 1 - p(b, a) by
construction, and an answer beside itself is a tie. s need not be a difference of two scores, so that preferences that
go in circles can be held. How a pair is shown (its words, the passages) is written into the artifact's `redpen.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from training.engine.heads import ScoreHead, row_scores
from training.engine.lending import Lent, lend
from training.engine.packs import Row, micro_batches
from training.engine.policy import Policy
from training.engine.scoring import as_asked
from training.engine.tokens import TemplateRefused, render_chat

BETWEEN = "Another answer:"


@dataclass(frozen=True, kw_only=True)
class PairReading:
    """How two answers are shown: the first as the prompt's answer, the second as that of a turn that says `between`."""

    passage_tokens: int = 256  # how much of the prompt's passages is shown: the best sentences; 0 shows none
    max_tokens: int = 1024  # longer rows are left out
    between: str = BETWEEN


class Pair(TypedDict):
    """Two answers to one prompt."""

    messages: Sequence[Mapping[str, Any]]
    context: Sequence[Mapping[str, Any]]
    first: str
    second: str


@dataclass(frozen=True)
class Opinion:
    """What the model says of two answers: z in the order of asking, and in the other."""

    forwards: float
    backwards: float

    @property
    def score(self) -> float:
        """s, the log-odds that the first is the better."""
        return (self.forwards - self.backwards) / 2

    @property
    def chance(self) -> float:
        """sigmoid(s)."""
        return 1 / (1 + math.exp(-self.score)) if self.score > -700 else 0.0

    @property
    def swapped(self) -> bool:
        """Whether the two orders disagree: the same place wins, whichever answer stands in it."""
        return self.forwards * self.backwards > 0


def pair_row(tokenizer: Any, reading: PairReading, name: str, pair: Pair, **fields: Any) -> Row:
    """The two answers in this order; the second one's tokens are the trained ones. Raises TemplateRefused where the
    chat template cannot be used.
    """
    told = as_asked(tokenizer, pair["messages"], pair["context"], reading.passage_tokens)
    told += [{"role": "assistant", "content": pair["first"]}, {"role": "user", "content": reading.between}]
    chat = render_chat(tokenizer, told, response=pair["second"])
    return Row(name=name, ids=chat.ids, trained=chat.completion_mask, **fields)


def both_orders(tokenizer: Any, reading: PairReading, name: str, pair: Pair, **fields: Any) -> list[Row]:
    """The unit that is read of a pair: as it is given, and the other way round."""
    turned: Pair = {**pair, "first": pair["second"], "second": pair["first"]}
    orders = (("", pair), (", the other way round", turned))
    return [pair_row(tokenizer, reading, f"{name}{words}", one, **fields) for words, one in orders]


class PairScorer:
    """A preference model, loaded."""

    def __init__(self, policy: Policy | Lent, head: ScoreHead, *, reading: PairReading) -> None:
        self.policy = policy
        self.head = head
        self.reading = reading

    @classmethod
    def load(cls, folder: Path | str, *, base: Path | str | None = None, beside: Policy | None = None) -> PairScorer:
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
        return cls(policy, head, reading=PairReading(**card["reading"]))

    def card(self) -> dict[str, Any]:
        """What `load` needs to know besides the weights."""
        return {"reading": asdict(self.reading)}

    def compare_many(self, pairs: Iterable[Pair], *, tokens: int = 4096) -> list[Opinion | None]:
        """One opinion for each pair, in their order; None where an answer has no words, or the two are too long or
        cannot be rendered. Neighbours with one prompt are read together, what they share once.
        """
        told = list(pairs)
        rows: dict[int, list[Row]] = {}
        for place, pair in enumerate(told):
            if not (pair["first"].strip() and pair["second"].strip()):
                continue
            try:
                both = both_orders(self.policy.tokenizer, self.reading, str(place), pair)
            except TemplateRefused:
                continue
            if max(len(row.ids) for row in both) <= self.reading.max_tokens:
                rows[place] = [
                    Row(name=f"{place} {order}", ids=row.ids, trained=row.trained) for order, row in enumerate(both)
                ]
        budget = max(tokens, 2 * self.reading.max_tokens)
        units: list[list[Row]] = []
        last: int | None = None
        for place, both in rows.items():
            together = last is not None and told[last]["messages"] == told[place]["messages"]
            if together and sum(len(row.ids) for row in (*units[-1], *both)) <= budget:
                units[-1] += both
            else:
                units.append(list(both))
            last = place
        logits = self._logits(units, budget)
        return [
            Opinion(logits[f"{place} 0"], logits[f"{place} 1"]) if place in rows else None for place in range(len(told))
        ]

    def _logits(self, units: Sequence[Sequence[Row]], budget: int) -> dict[str, float]:
        self.head.eval()
        found: dict[str, float] = {}
        with self.policy.scoring() as model:
            for pack in micro_batches(units, tokens=budget, device=self.policy.device):
                scores = row_scores(model, self.head, pack)[:, 0]
                found |= {row.name: score for row, score in zip(pack.rows, scores.tolist(), strict=True)}
        return found
