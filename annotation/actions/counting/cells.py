"""Exposures and the cells of rates: what was counted for a user and an answer is compared with what should be.

A pair is counted from its rows alone, so that neither the order of events nor how often one looks matters. The
exposure remembers what it was counted as; the difference goes into the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from annotation.actions.standing import Pair

MODEL = "coalesce(nullif(r.model, ''), r.model_version::text, '')"
# Whether an exposure does not count, over r (the answer) and p.external_user: the user is left out, or has counted with
# as many answers of this model as one user may (annotation/honesty).
LEFT_OUT = f"""EXISTS (
        SELECT FROM annotation_productuser u
        WHERE u.project_id = r.project_id AND u.test = r.test AND u.name = p.external_user
        AND (u.left_out OR r.id > (u.caps ->> {MODEL})::uuid)
    )"""

# What an answer is told apart by: {name: value}, from r (the answer) and s.slices (the metadata keys of the project).
SLICES = """
    SELECT coalesce(jsonb_object_agg(one.name, one.value), '{}') AS slices FROM (
        SELECT 'language' AS name, r.language::text AS value WHERE r.language <> ''
        UNION ALL
        SELECT 'model_version', r.model_version::text WHERE r.model_version IS NOT NULL
        UNION ALL
        SELECT key, left(r.metadata ->> key, 100) FROM unnest(s.slices) AS key
        WHERE key NOT IN ('', 'language', 'model_version') AND r.metadata ->> key <> ''
            AND jsonb_typeof(r.metadata -> key) IN ('string', 'number', 'boolean')
    ) one
"""
COUNT = f"""
WITH pair AS MATERIALIZED (
    SELECT DISTINCT * FROM unnest(%(responses)s::uuid[], %(users)s::text[]) AS p(response_id, external_user)
    WHERE external_user <> ''
), before AS MATERIALIZED (
    SELECT p.response_id, p.external_user, x.project_id, x.test, x.left_out, x.at, x.model, x.slices, x.kinds
    FROM pair p JOIN annotation_exposure x USING (response_id, external_user)
), after AS MATERIALIZED (
    SELECT p.response_id, p.external_user, r.project_id, r.test, {LEFT_OUT} AS left_out,
        date_trunc('hour', e.at, 'UTC') AS at, {MODEL} AS model, l.slices, coalesce(e.kinds, '{{}}') AS kinds
    FROM pair p
    JOIN annotation_response r ON r.id = p.response_id
    LEFT JOIN annotation_intakesettings s ON s.project_id = r.project_id
    CROSS JOIN LATERAL (
        -- A tap tells that the answer was seen, also one that its user took back. What was taken back by its name was
        -- never so.
        SELECT min(e.event_at) AS at,
            array_agg(DISTINCT e.kind_id) FILTER (WHERE e.ended_at IS NULL AND k.key <> 'shown') AS kinds
        FROM annotation_reaction e JOIN annotation_reactionkind k ON k.id = e.kind_id
        WHERE e.response_id = p.response_id AND e.external_user = p.external_user
        AND (e.ended_at IS NULL OR (k.key <> 'shown' AND (
            e.retracts OR NOT EXISTS (SELECT FROM annotation_takenback b WHERE b.event = e.dedup)
        )))
    ) e
    CROSS JOIN LATERAL ({SLICES}) l
    WHERE e.at IS NOT NULL
), seen AS (
    SELECT -1 AS sign, x.* FROM before x UNION ALL SELECT 1, y.* FROM after y
), changed AS MATERIALIZED (
    -- who counts as before stands there twice, alike; by sorting, because a join of both without hashing is quadratic
    SELECT * FROM (
        SELECT c.*, max(sign) OVER (PARTITION BY response_id, external_user) AS latest,
            count(*) OVER (
                PARTITION BY response_id, external_user, project_id, test, left_out, at, model, slices, kinds
            ) AS alike
        FROM seen c
    ) c WHERE alike = 1
), gone AS (
    DELETE FROM annotation_exposure x USING changed c
    WHERE (x.response_id, x.external_user) = (c.response_id, c.external_user) AND c.latest = -1
), put AS (
    INSERT INTO annotation_exposure
        (response_id, external_user, project_id, test, left_out, at, model, slices, kinds)
    SELECT response_id, external_user, project_id, test, left_out, at, model, slices, kinds
    FROM changed WHERE sign = 1 ORDER BY response_id, external_user
    ON CONFLICT (response_id, external_user) DO UPDATE SET
        project_id = excluded.project_id, test = excluded.test, left_out = excluded.left_out, at = excluded.at,
        model = excluded.model, slices = excluded.slices, kinds = excluded.kinds
), cell AS (
    INSERT INTO annotation_ratecell AS c (project_id, test, grain, slice, at, left_out, model, value, kind_id, n)
    SELECT project_id, test, grain, slice, at, left_out, model, value, kind_id, n
    FROM ({{cells}}) d WHERE n <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    ON CONFLICT (project_id, test, grain, slice, at, left_out, model, value, kind_id)
    DO UPDATE SET n = c.n + excluded.n
)
SELECT count(DISTINCT (response_id, external_user)) FROM changed
"""
# The cells that rows of exposures stand in; `sign` counts them in or out.
CELLS = """
    SELECT x.project_id, x.test, g.grain, s.name AS slice, g.at, x.left_out, x.model, s.value, k.kind_id,
        sum(x.sign)::int AS n
    FROM {exposures} x
    CROSS JOIN LATERAL (VALUES ('hour', x.at), ('day', date_trunc('day', x.at, 'UTC'))) AS g(grain, at)
    CROSS JOIN LATERAL (
        SELECT '' AS name, '' AS value UNION ALL SELECT key, value FROM jsonb_each_text(x.slices)
    ) s
    CROSS JOIN LATERAL unnest(x.kinds || NULL::uuid) AS k(kind_id)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""
COUNT = COUNT.replace("{cells}", CELLS.format(exposures="changed"))

AT_ONCE = 20_000


def recount(cursor: Any, pairs: Sequence[Pair]) -> int:
    """Count these users' doings on these answers as their rows say; how many had been counted otherwise.

    The caller holds the lock of the pass.
    """
    changed = 0
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        cursor.execute(COUNT, {"responses": [one[0] for one in some], "users": [one[1] for one in some]})
        changed += cursor.fetchone()[0]
    return changed
