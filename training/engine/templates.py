"""The check of a chat template when a base model is registered: what would go wrong in training is refused here, with
its reason; what Redpen can handle but people should know is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.chats import (
    DAY,
    Message,
    NotPrefixStable,
    RenderedChat,
    TemplateRefused,
    render_chat,
    render_conversation,
)

USER: Message = {"role": "user", "content": "Hello there."}
ANSWER: Message = {"role": "assistant", "content": "Good day."}
AGAIN: Message = {"role": "user", "content": "How are you?"}
SYSTEM: Message = {"role": "system", "content": "Be brief and kind."}


@dataclass(frozen=True)
class TemplateReport:
    """What was found out about a chat template."""

    refused: str | None  # why it cannot be trained on
    notes: tuple[str, ...] = ()  # what people should know, in sentences
    example: RenderedChat | None = None  # for the coloured mask on the page (`chats.mask_segments`)


def examine_template(tokenizer: Any) -> TemplateReport:
    """Try this tokenizer's template on small conversations."""
    try:
        example = render_chat(tokenizer, [USER], response="Good day.")
        render_chat(tokenizer, [USER, ANSWER, AGAIN], response="Well, thank you.")
        render_chat(tokenizer, [USER], response="")
    except TemplateRefused as refusal:
        return TemplateReport(str(refusal))
    source = str(tokenizer.chat_template)
    found = [
        (
            lambda: not _whole(tokenizer),
            "This template trims spaces off the ends of an answer. Training keeps them, as the model wrote them.",
        ),
        (
            lambda: not _keeps(tokenizer, [SYSTEM, USER], str(SYSTEM["content"]), alone=True),
            "This template has no system role: a system message is put at the head of the first user's message.",
        ),
        (
            lambda: "strftime_now" in source,
            f"This template writes today's date into the prompt. Redpen always gives it {DAY}, so that what "
            "is trained is what is asked, on any day.",
        ),
        (
            lambda: "enable_thinking" in source,
            "This model can think before it answers. Redpen asks it to answer without thinking, in training and in "
            "sampling alike.",
        ),
        (
            lambda: not _is_prefix_stable(tokenizer),
            "This template writes earlier answers differently once a conversation goes on, so each answer of a "
            "conversation becomes a row of its own.",
        ),
    ]
    return TemplateReport(None, tuple(note for holds, note in found if holds()), example)


def check_template(tokenizer: Any) -> str | None:
    """Why this tokenizer's chat template cannot be used, or None. Asked once, when a base model is registered."""
    return examine_template(tokenizer).refused


def _is_prefix_stable(tokenizer: Any) -> bool:
    try:
        render_conversation(tokenizer, [USER, ANSWER, AGAIN, {**ANSWER, "content": "Well, thank you."}])
    except NotPrefixStable:
        return False
    return True


def _whole(tokenizer: Any) -> bool:
    spaced = {**ANSWER, "content": f" {ANSWER['content']} \n"}
    return _keeps(tokenizer, [USER, spaced], str(spaced["content"]))


def _keeps(tokenizer: Any, messages: Sequence[Message], content: str, *, alone: bool = False) -> bool:
    """Whether the template itself writes this content as it is."""
    apply: Callable[..., Any] = tokenizer.apply_chat_template
    try:
        text = str(apply([dict(one) for one in messages], tokenize=False, add_generation_prompt=alone))
    except Exception:  # a program of the model's author: raising is its way to say no
        return False
    return content in text
