"""Which events still count. The rules only ever end events, so the order in which they came does not matter.

A tap no longer counts when

- it was taken back by its name (TakenBack), or
- the same user took back this kind of tap on this answer, then or later (an event that `retracts`), or
- it has no name of the caller's, and the same user tapped the same again later: without names, the latest is it.

Whoever has no name (`external_user` empty) could be anybody: their events count each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

Pair = tuple[UUID, str]  # answer, user

SETTLE = """
WITH pair AS (
    SELECT DISTINCT * FROM unnest(%(responses)s::uuid[], %(users)s::text[]) AS p(response_id, external_user)
), void AS (
    SELECT e.id, CASE
        WHEN EXISTS (SELECT FROM annotation_takenback b WHERE b.event = e.dedup) THEN 'retracted'
        WHEN e.external_user <> '' AND EXISTS (
            SELECT FROM annotation_reaction r
            WHERE r.response_id = e.response_id AND r.external_user = e.external_user AND r.kind_id = e.kind_id
            AND r.retracts AND r.event_at >= e.event_at
        ) THEN 'retracted'
        WHEN e.external_user <> '' AND e.external_id IS NULL AND EXISTS (
            SELECT FROM annotation_reaction r
            WHERE r.response_id = e.response_id AND r.external_user = e.external_user AND r.kind_id = e.kind_id
            AND r.external_id IS NULL AND NOT r.retracts AND (r.event_at, r.dedup) > (e.event_at, e.dedup)
        ) THEN 'superseded'
    END AS reason
    FROM pair JOIN annotation_reaction e USING (response_id, external_user)
    WHERE e.ended_at IS NULL
), doomed AS (
    -- locked in one order, so that two who settle the same answers wait and do not deadlock
    SELECT e.id, v.reason FROM annotation_reaction e JOIN void v USING (id)
    WHERE v.reason IS NOT NULL ORDER BY e.id FOR UPDATE OF e
)
UPDATE annotation_reaction e SET ended_at = now(), end_reason = doomed.reason{changed}
FROM doomed WHERE e.id = doomed.id AND e.ended_at IS NULL
"""
# The counting pass counts what it ends itself; what others end must come to it, by the number of their transaction.
SETTLE_AND_COUNT = SETTLE.replace("{changed}", "") + "RETURNING e.id"
SETTLE = SETTLE.replace("{changed}", ", xact = pg_current_xact_id()::text::bigint")


def settle(pairs: Sequence[Pair], *, cursor: Any = None) -> int:
    """End what no longer counts of these users on these answers. Gives how many events ended."""
    if not pairs:
        return 0
    values = {"responses": [pair[0] for pair in pairs], "users": [pair[1] for pair in pairs]}
    if cursor is not None:
        cursor.execute(SETTLE, values)
        return cursor.rowcount
    with connection.cursor() as own:
        own.execute(SETTLE, values)
        return own.rowcount
