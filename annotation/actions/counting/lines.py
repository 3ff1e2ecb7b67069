"""The lines of the Live page: a row for each reaction that counts, with what the page filters by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from annotation.actions.counting.cells import MODEL, SLICES

# Those that came before their answer stand there without a model until it comes.
OF = """
    FROM unnest(%(ids)s::uuid[]) AS one(id)
    JOIN annotation_reaction e ON e.id = one.id AND e.ended_at IS NULL
"""
DROP = """
    DELETE FROM annotation_liveevent l USING unnest(%(ids)s::uuid[]) AS one(id)
    WHERE l.reaction_id = one.id
    AND NOT EXISTS (SELECT FROM annotation_reaction e WHERE e.id = one.id AND e.ended_at IS NULL)
"""
PUT = f"""
    INSERT INTO annotation_liveevent AS l
        (reaction_id, project_id, test, tap, at, kind_id, external_user, response_id, model)
    SELECT e.id, e.project_id, e.test, k.key <> 'shown', e.event_at, e.kind_id, e.external_user, e.response_id, {MODEL}
    {OF} JOIN annotation_reactionkind k ON k.id = e.kind_id LEFT JOIN annotation_response r ON r.id = e.response_id
    ORDER BY e.id
    ON CONFLICT (reaction_id) DO UPDATE SET response_id = excluded.response_id, model = excluded.model
    WHERE (l.response_id, l.model) IS DISTINCT FROM (excluded.response_id, excluded.model)
"""
TOLD = f"""
    SELECT e.id, e.project_id, e.test, e.event_at, told.key AS name, told.value
    {OF} JOIN annotation_response r ON r.id = e.response_id
    LEFT JOIN annotation_intakesettings s ON s.project_id = e.project_id
    CROSS JOIN LATERAL ({SLICES}) l CROSS JOIN LATERAL jsonb_each_text(l.slices) told
"""
DROP_SLICES = f"""
    WITH told AS MATERIALIZED ({TOLD})
    DELETE FROM annotation_liveslice l USING unnest(%(ids)s::uuid[]) AS one(id)
    WHERE l.reaction_id = one.id
    AND NOT EXISTS (SELECT FROM told WHERE (told.id, told.name, told.value) = (l.reaction_id, l.name, l.value))
"""
PUT_SLICES = f"""
    INSERT INTO annotation_liveslice (reaction_id, project_id, test, at, name, value)
    SELECT t.id, t.project_id, t.test, t.event_at, t.name, t.value FROM ({TOLD}) t ORDER BY t.id, t.name
    ON CONFLICT (reaction_id, name) DO NOTHING
"""


def show(cursor: Any, ids: Sequence[UUID], *, again: bool = False) -> None:
    """Bring the lines of these reactions up to date. `again`: their slices may have changed."""
    if not ids:
        return
    about = {"ids": list(ids)}
    cursor.execute(DROP, about)
    cursor.execute(PUT, about)
    if again:
        cursor.execute(DROP_SLICES, about)
    else:
        cursor.execute(f"DELETE FROM annotation_liveslice l USING ({GONE}) g WHERE l.reaction_id = g.id", about)
    cursor.execute(PUT_SLICES, about)


GONE = """
    SELECT one.id FROM unnest(%(ids)s::uuid[]) AS one(id)
    WHERE NOT EXISTS (SELECT FROM annotation_reaction e WHERE e.id = one.id AND e.ended_at IS NULL)
"""
