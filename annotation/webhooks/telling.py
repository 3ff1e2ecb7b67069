"""What the actions tell: records of people and programs, as they are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from annotation.models import FeedbackRecord
from annotation.models.webhooks import Event
from annotation.webhooks.outbox import emit_many, hooks_for

RECORDS_AT_ONCE = 1000


def records_created(rows: Sequence[Any]) -> None:
    """Tell of new records, in the transaction that writes them. One cheap question where nobody listens."""
    by_place: dict[Any, list[FeedbackRecord]] = defaultdict(list)
    for row in rows:
        if isinstance(row, FeedbackRecord):
            by_place[row.project_id, row.test].append(row)
    for (project_id, test), found in by_place.items():
        if not hooks_for(project_id=project_id, event=Event.RECORD_CREATED, test=test).exists():
            continue
        from annotation.queries.records import BY_MODEL
        from annotation.webhooks.payloads import record

        shown = [row for row in found if type(row) in BY_MODEL]
        for start in range(0, len(shown), RECORDS_AT_ONCE):
            items = [(str(row.pk), record(row)) for row in shown[start : start + RECORDS_AT_ONCE]]
            emit_many(project_id=project_id, event=Event.RECORD_CREATED, items=items, test=test)
