"""What all rows of a snapshot have in common: which records count, the prompt's columns, an answer's columns."""

from __future__ import annotations

import json
from typing import Any

# What test keys sent counts only where it is asked for.
NO_TEST = "(%(test)s OR NOT {x}.test)"
# A product's user who is not believed at that moment (annotation/honesty); nothing of theirs is ever deleted.
LEFT_OUT = """
    ({x}.external_user <> '' AND EXISTS (
        SELECT 1 FROM annotation_leftout o
        WHERE o.project_id = {x}.project_id AND o.test = {x}.test AND o.name = {x}.external_user
        AND o.since <= %(until)s AND (o.ended_at IS NULL OR o.ended_at > %(until)s)))
"""
# A record `x` counts: made by then, not ended by then, and handed in (or never assigned).
SAID = """
    {x}.project_id = %(project)s AND {x}.created_at <= %(until)s AND ({x}.ended_at IS NULL OR {x}.ended_at > %(until)s)
    AND (%(test)s OR NOT {x}.test)
    AND (%(origins)s::text[] IS NULL OR {x}.origin = ANY(%(origins)s))
    AND ({x}.assignment_id IS NULL OR EXISTS (
        SELECT 1 FROM annotation_assignment a
        WHERE a.id = {x}.assignment_id AND a.state = 'submitted' AND a.submitted_at <= %(until)s))
    AND (%(campaigns)s::uuid[] IS NULL OR EXISTS (
        SELECT 1 FROM annotation_campaignversion v
        WHERE v.id = {x}.campaign_version_id AND v.campaign_id = ANY(%(campaigns)s)))
"""
# The same, of those who are believed, or of everybody where that is wanted.
LIVE = f"{SAID} AND NOT (%(leave_out)s AND {LEFT_OUT})"


def author_of(x: str) -> str:
    """Whose words a record is, as SQL: a person's id, a product's user, or the name of a program."""
    user = f"CASE WHEN {x}.external_user <> '' THEN 'user:' || {x}.external_user ELSE {x}.agent END"
    return f"coalesce({x}.author_id::text, {user})"


def prompt_of(split: str, prompt: Any, messages: str, context: str) -> dict[str, Any]:
    """The columns that every row begins with."""
    return {
        "split": split,
        "kind": "prompt",
        "prompt_id": str(prompt),
        "messages": json.loads(messages),
        "context": json.loads(context),
        "records": [],
    }


def answer_of(response: Any, text: str, token_ids: list[int] | None) -> dict[str, Any]:
    """An answer; with its tokens where our engine sampled it, so that it is never tokenised again."""
    return {"response_id": str(response), "text": text, **({"token_ids": token_ids} if token_ids else {})}
