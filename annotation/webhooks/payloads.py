"""What receivers are told, event by event: what a key would read of the same rows (docs/api.md)."""

from __future__ import annotations

from typing import Any

from annotation.api import keyed_shapes
from annotation.models import FeedbackRecord, Reaction, Response


def response(row: Response) -> dict[str, Any]:
    """Of `response.created`. Needs select_related("prompt")."""
    return keyed_shapes.answer(row)


def reaction(row: Reaction) -> dict[str, Any]:
    """Of `reaction.created`. Needs select_related("kind")."""
    return keyed_shapes.reaction(row)


def record(row: FeedbackRecord) -> dict[str, Any]:
    """Of `record.created`. No person of the project is named."""
    return keyed_shapes.record(row)
