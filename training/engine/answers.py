"""A stored answer as a row: as its tokens were sampled, where that is known and they are this tokenizer's, else as the
chat template writes it. The prompt's part is what a sampler is given, token for token, in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from training.engine.packs import Pack, Row
from training.engine.scoring import as_asked, prompt_ids
from training.engine.tokens import render_chat, stop_ids


def sampled_as(tokenizer: Any, text: str, ids: Sequence[int] | None) -> list[int] | None:
    """The ids, where they are what this tokenizer writes `text` with; None where they are of another, or missing.

    A stop token at the end is not in the text; an answer that was cut off has none.
    """
    if not ids or max(ids) >= len(tokenizer) or min(ids) < 0:
        return None
    body = ids[:-1] if ids[-1] in stop_ids(tokenizer) else ids
    written = tokenizer.decode(list(body), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return list(ids) if written == text else None


def answer_row(
    tokenizer: Any,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    context: Sequence[Mapping[str, Any]],
    *,
    text: str,
    ids: Sequence[int] | None = None,
    passage_tokens: int = 0,
    of_row: Mapping[str, float] | None = None,
) -> Row:
    """Prompt and answer; the answer's tokens, its stop token with them, are the trained ones.

    `ids` are the answer's own tokens, used as they are. Raises TemplateRefused where the chat template cannot be used.
    """
    if ids is not None:
        before = prompt_ids(tokenizer, messages, context, passage_tokens=passage_tokens)
        learned = [False] * len(before) + [True] * len(ids)
        return Row(name=name, ids=[*before, *ids], trained=learned, of_row=of_row or {})
    chat = render_chat(tokenizer, as_asked(tokenizer, messages, context, passage_tokens), response=text)
    return Row(name=name, ids=chat.ids, trained=chat.completion_mask, of_row=of_row or {})


def pairs_of(pack: Pack) -> tuple[Tensor, Tensor]:
    """The rows that stand first and second in each unit of a pack of pairs: two int64 [P]."""
    table = torch.tensor([list(unit) for unit in pack.units], dtype=torch.int64, device=pack.ids.device).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def prompt_of(row: Row) -> list[int]:
    """What stands before the answer in a row."""
    return list(row.ids[: list(row.trained).index(True)]) if True in row.trained else list(row.ids)


def completion_of(row: Row) -> list[int]:
    """The answer's tokens in a row."""
    return [token for token, trained in zip(row.ids, row.trained, strict=True) if trained]


def swapped(prompt: Row, answer: Row) -> Row:
    """The answer of one row to the prompt of another."""
    before, after = prompt_of(prompt), completion_of(answer)
    learned = [False] * len(before) + [True] * len(after)
    return Row(name=f"{answer.name} to {prompt.name}", ids=[*before, *after], trained=learned)
