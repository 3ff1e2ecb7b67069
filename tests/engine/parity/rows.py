"""The rows that both sides are given, and ours as rows of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.packs import Row
from training.engine.tokens import RenderedChat, render_chat


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers, and how far apart they are."""

    question: str
    chosen: str
    rejected: str
    margin: float = 0.0

    @property
    def prompt(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}]


# Unequal lengths; an answer of the stop token alone; one answer that begins like the other; one that is cut.
PAIRS = [
    Pair("Where is my parcel?", "It left the depot on Monday, it should be with you soon.", "I do not know.", 0.5),
    Pair("What do repairs cost?", "Nothing.", "Nothing within two years; afterwards we tell you the cost.", 0.0),
    Pair("Hello, is anybody there? I wrote on Monday and on Tuesday.", "I am sorry to hear that.", "", 1.0),
    Pair("Is it open?", "Until six, from Monday to Thursday, and in the morning on the other days.", "No.", 0.25),
]
MAX_LENGTH = 52  # tokens; cuts the longest answer of PAIRS, as a test asserts


def chat(tokenizer: Any, pair: Pair, answer: str) -> RenderedChat:
    return render_chat(tokenizer, pair.prompt, response=answer)


def row_of(name: str, chat: RenderedChat, *, length: int = MAX_LENGTH, **more: Any) -> Row:
    """The answer's tokens trained, what is beyond `length` cut off."""
    return Row(name, chat.ids[:length], chat.completion_mask[:length], **more)


def pair_rows(tokenizer: Any, pairs: Sequence[Pair] = PAIRS, *, length: int = MAX_LENGTH) -> list[list[Row]]:
    """For each pair its chosen and its rejected row: units that are computed in one pack."""
    return [
        [
            row_of(f"{number} chosen", chat(tokenizer, pair, pair.chosen), length=length),
            row_of(f"{number} rejected", chat(tokenizer, pair, pair.rejected), length=length),
        ]
        for number, pair in enumerate(pairs)
    ]
