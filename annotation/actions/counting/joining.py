"""Joining what came apart: reactions to their answers, answers to the ones that they refine.

Either side may come first. Whichever is in the window of a pass, the other is looked up by its name.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

WINDOW = "xact >= %(from)s AND xact < %(until)s"

PARENTS = f"""
    UPDATE annotation_response child SET parent_id = found.parent_id
    FROM (
        SELECT c.id, p.id AS parent_id
        FROM annotation_response c JOIN annotation_response p
            ON p.project_id = c.project_id AND p.test = c.test AND p.external_id = c.parent_external_id
        WHERE c.{WINDOW.replace("AND ", "AND c.")} AND c.parent_external_id <> '' AND c.parent_id IS NULL
        UNION
        SELECT c.id, p.id
        FROM annotation_response p JOIN annotation_response c
            ON c.project_id = p.project_id AND c.test = p.test AND c.parent_external_id = p.external_id
            AND c.parent_external_id <> '' AND c.parent_id IS NULL
        WHERE p.{WINDOW.replace("AND ", "AND p.")} AND p.external_id IS NOT NULL
    ) found
    WHERE child.id = found.id AND child.id <> found.parent_id AND child.parent_id IS NULL
"""
REACTIONS = f"""
    WITH found AS (
        SELECT e.id, r.id AS response_id
        FROM annotation_reaction e JOIN annotation_response r
            ON r.project_id = e.project_id AND r.test = e.test AND r.external_id = e.response_external_id
        WHERE e.{WINDOW.replace("AND ", "AND e.")} AND e.response_id IS NULL
        UNION
        SELECT e.id, r.id
        FROM annotation_response r JOIN annotation_reaction e
            ON e.project_id = r.project_id AND e.response_external_id = r.external_id AND e.test = r.test
            AND e.response_id IS NULL
        WHERE r.{WINDOW.replace("AND ", "AND r.")} AND r.external_id IS NOT NULL
    ), locked AS (
        -- in one order with all others who lock reactions
        SELECT e.id, f.response_id FROM annotation_reaction e JOIN found f USING (id)
        WHERE e.response_id IS NULL ORDER BY e.id FOR UPDATE OF e
    )
    UPDATE annotation_reaction e SET response_id = locked.response_id
    FROM locked WHERE e.id = locked.id AND e.response_id IS NULL
    RETURNING e.id
"""


def join(cursor: Any, window: dict[str, int]) -> list[UUID]:
    """The reactions that found their answer; parents are found on the way."""
    cursor.execute(PARENTS, window)
    cursor.execute(REACTIONS, window)
    return [row[0] for row in cursor.fetchall()]
