"""Rows to train on from what is stored: ids in, ids out. What was sampled is never turned into text and back, because
text may be read as other tokens than those it was written with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.engine.chats import RenderedChat, RenderedConversation, common_prefix
from training.engine.packs import Row


class PromptsDiffer(ValueError):
    """Answers that are to be compared do not answer the same prompt; the message names them."""


def row_of_chat(name: str, chat: RenderedChat | RenderedConversation, **fields: Any) -> Row:
    """A rendered chat or conversation as a row; `fields` are further ones of the row."""
    return Row(name=name, ids=chat.ids, trained=chat.completion_mask, **fields)


def row_from_ids(
    name: str,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    *,
    logprobs: Sequence[float] | None = None,
    written: Sequence[bool] | None = None,
    of_row: Mapping[str, float] | None = None,
) -> Row:
    """A row of stored prompt ids and the ids that were sampled after them, stop token included where there was one.

    `logprobs` are the sampler's, one for each trained token, and become `of_tokens["old"]`. In an episode `written`
    says which of the completion's tokens the model wrote; what its environment said is not trained. Raises ValueError
    where the counts do not fit.
    """
    mask = list(written) if written is not None else [True] * len(completion_ids)
    if len(mask) != len(completion_ids):
        raise ValueError(f"{name}: {len(completion_ids)} tokens of the completion but a mask of {len(mask)}.")
    if logprobs is not None and len(logprobs) != sum(mask):
        raise ValueError(f"{name}: {len(logprobs)} log-probabilities for {sum(mask)} sampled tokens.")
    return Row(
        name=name,
        ids=[*prompt_ids, *completion_ids],
        trained=[False] * len(prompt_ids) + mask,
        of_tokens={"old": list(logprobs)} if logprobs is not None else {},
        of_row=dict(of_row or {}),
    )


def comparison(rows: Sequence[Row]) -> list[Row]:
    """Answers to one prompt as a unit (a pair, a ranking, a group); raise PromptsDiffer naming the row whose prompt is
    another one than the first's.

    A prompt is what stands before the first trained token. One that is cut off or rendered differently would make the
    answers' log-probabilities incomparable without anybody noticing.
    """
    prompts = [list(row.ids[: row.trained.index(True)]) if True in row.trained else None for row in rows]
    known = next(((place, prompt) for place, prompt in enumerate(prompts) if prompt is not None), None)
    for row, prompt in zip(rows, prompts, strict=True):
        if known is None or prompt is None or prompt == known[1]:
            continue
        place = common_prefix(prompt, known[1])
        raise PromptsDiffer(
            f"{row.name} and {rows[known[0]].name} are to be compared, but their prompts differ from token {place} on "
            f"({len(prompt)} and {len(known[1])} tokens)."
        )
    return list(rows)
