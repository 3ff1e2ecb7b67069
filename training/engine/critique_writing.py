"""A trained critique model: it writes words on an answer, then the phrases that they are about, and these are marks.

How it is asked is decided here, once, for training and for use alike: it is written into the artifact's `redpen.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from training.engine.critiques import GOOD, POOR, WORDS, Critique, Located, located, parsed
from training.engine.lending import Lent, lend
from training.engine.passages import passages_text, question_of
from training.engine.policy import Policy
from training.engine.quoting import Quoting
from training.engine.rollouts import Own, Prompt, Sampling, sample_with
from training.engine.scoring import Item, _measure
from training.engine.tokens import render_chat

GUIDE = (
    "You review an answer. Good phrases are exact phrases of it that clearly make it better; poor ones are inaccurate, "
    "redundant, beside the question or badly worded. Judge accuracy, relevance, clarity and completeness. First say in "
    "words what is right and wrong, then quote few, short, meaningful phrases, letter by letter, each backed by your "
    f'words.\nAnswer as JSON: {{"{WORDS}": string, "{GOOD}": [string, ...], "{POOR}": [string, ...]}}\n\n'
)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a critique is asked for."""

    guide: Literal["full", "none"] = "full"  # the task in words, or the question and the answer alone
    passage_tokens: int = 256  # how much of the prompt's passages is shown: the best sentences; 0 shows none
    max_tokens: int = 1536  # longer rows are left out, and longer answers have no verdict
    max_new_tokens: int = 300  # of a critique with its quotes
    words: int = 200  # tokens of a critique's words
    quotes: int = 6  # phrases of each kind, at most


def asked(tokenizer: Any, asking: Asking, item: Item) -> list[dict[str, Any]]:
    """The chat that a critique answers."""
    question, text = question_of(item["messages"]), item["text"]
    passages = ""
    if asking.passage_tokens and item["context"]:
        passages = passages_text(
            f"{question}\n{text}", item["context"], budget=asking.passage_tokens, measure=_measure(tokenizer)
        )
    told = [f"Passages: {passages}"] if passages else []
    told += [f"Question: {question}", f"Answer: {text}"]
    guide = GUIDE if asking.guide == "full" else ""
    return [{"role": "user", "content": guide + "\n".join(told)}]


@dataclass(frozen=True)
class Written:
    """What the model wrote of an answer."""

    critique: Critique
    located: Located


class CritiqueWriter:
    """A critique model, loaded."""

    def __init__(self, policy: Policy | Lent, asking: Asking) -> None:
        self.policy, self.asking = policy, asking

    @classmethod
    def load(
        cls, folder: Path | str, *, base: Path | str | None = None, beside: Policy | None = None
    ) -> CritiqueWriter:
        """Read an artifact; `base` overrides the place of its base model. With a policy to stand `beside` it shares
        that one's copy of the base, where both have the same.
        """
        folder = Path(folder)
        card = json.loads((folder / "redpen.json").read_text())
        base = base or card["base"]
        lent = lend(beside, folder, base=base) if beside is not None else None
        return cls(lent or Policy.open(base, folder), Asking(**card["asking"]))

    def write_many(
        self,
        items: Sequence[Item],
        *,
        temperature: float = 0.0,
        seed: int = 0,
        rows: int = 64,
        heed: Callable[[], object] = lambda: None,
    ) -> list[Written | None]:
        """A critique of each answer, in their order, its quotes the answer's own words; None where there is no verdict:
        the answer is too long, or the critique was cut off before its quotes were whole.
        """
        tokenizer, asking = self.policy.tokenizer, self.asking
        prompts: list[Prompt] = []
        places: list[int] = []
        for place, item in enumerate(items):
            ids = render_chat(tokenizer, asked(tokenizer, asking, item), response=None).ids
            if len(ids) + asking.max_new_tokens <= asking.max_tokens:
                prompts.append(Prompt(ids, walk=self._walk(item["text"])))
                places.append(place)
        sampling = Sampling(max_tokens=asking.max_new_tokens, temperature=temperature)
        found: list[Written | None] = [None] * len(items)
        with self.policy.scoring():
            drawn = sample_with(Own(self.policy, rows=rows, heed=heed), prompts, 1, sampling=sampling, seed=seed)
        for place, one in zip(places, drawn, strict=True):
            critique = parsed(one.text) if one.finished else None
            if critique is not None:
                found[place] = Written(critique, located(items[place]["text"], critique))
        return found

    def _walk(self, text: str) -> Callable[[], Quoting]:
        return lambda: Quoting(self.policy.tokenizer, text, words=self.asking.words, quotes=self.asking.quotes)


def card_of(asking: Asking) -> Mapping[str, Any]:
    """As it stands in `redpen.json`."""
    return asdict(asking)
