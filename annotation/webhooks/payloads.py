"""What receivers are told, event by event: the shapes of the API."""

from __future__ import annotations

from typing import Any

from annotation.api import shapes
from annotation.models import FeedbackRecord, Reaction, Response


def response(row: Response) -> dict[str, Any]:
    """Of `response.created`."""
    return {
        **shapes.full_response(row),
        "user": row.external_user,
        "language": row.language,
        "written_at": shapes.when(row.written_at),
    }


def reaction(row: Reaction) -> dict[str, Any]:
    """Of `reaction.created`. Needs select_related("kind")."""
    return {
        "id": str(row.pk),
        "external_id": row.external_id,
        "response": shapes.key(row.response_id),
        "response_external_id": row.response_external_id or None,
        "kind": row.kind.key,
        "polarity": row.kind.polarity,
        "user": row.external_user,
        "at": shapes.when(row.event_at),
        "retract": row.retracts,
        "text": row.text,
        "spans": row.spans or [],
        "metadata": row.metadata,
        "created_at": shapes.when(row.created_at),
    }


def record(row: FeedbackRecord) -> dict[str, Any]:
    """Of `record.created`: as the endpoint /records tells it."""
    from annotation.api.records import shape  # which imports the actions that tell us

    return {**shape(row), "user": row.external_user}
