"""A product's quarter as rows: answers of five model versions, who was shown them, what they tapped. SQL makes it.

Versions follow each other, so that the older ones have no recent answers: a page filtered by one of those must not
search through everything newer. Also used by the tests of query plans, smaller.
"""

from __future__ import annotations

from typing import Any

DAYS = 90
MODELS = 5
# what a user who is shown an answer does with it, and how often
TAPS = {"like": 0.3, "dislike": 0.16, "copy": 0.12, "love": 0.06, "regenerate": 0.02}

PROMPTS = """
INSERT INTO annotation_prompt (id, project_id, messages, context, metadata, content_hash, split, test)
SELECT uuidv7(), %(project)s, jsonb_build_array(jsonb_build_object('role', 'user', 'content', 'Question ' || n)), '[]',
    '{}', md5(n::text || %(project)s), 'train', false
FROM generate_series(1, %(prompts)s) n
"""
# `age` runs from the oldest answer (DAYS ago) to now; a version takes over from the one before within some days
ANSWERS = """
INSERT INTO annotation_response (
    id, project_id, prompt_id, text, thinking, origin, model, sampling, external_id, conversation, turn, external_user,
    parent_external_id, language, written_at, created_at, metadata, test
)
SELECT uuidv7(-age), %(project)s, p.ids[1 + n %% cardinality(p.ids)],
    repeat('The lamp shines at night, and nobody knows who built it. ', 10) || n, '', 'model',
    'writer-' || least(%(models)s, 1 + floor((n + random() * %(answers)s * 0.08) * %(models)s / %(answers)s)::int),
    '{}',
    'a-' || n, 'c-' || n / 4, n %% 4, 'user-' || n %% %(users)s, '',
    (ARRAY['en','en','en','en','en','en','de','de','fr','es'])[1 + floor(random() * 10)::int], now() - age, now() - age,
    jsonb_build_object('plan', (ARRAY['free','free','free','pro','pro','team'])[1 + floor(random() * 6)::int]), false
FROM (
    SELECT n, make_interval(secs => (%(answers)s - n) * %(days)s * 86400.0 / %(answers)s) AS age
    FROM generate_series(%(from)s, %(until)s) n
) one, (SELECT array_agg(id) AS ids FROM annotation_prompt WHERE project_id = %(project)s) p
"""
EVENTS = """
INSERT INTO annotation_reaction (
    id, lineage, version, project_id, test, origin, agent, kind_id, response_id, response_external_id, external_user,
    event_at, created_at, retracts, text, metadata, prefill_outcome, end_reason
)
SELECT id, id, 1, %(project)s, false, 'human', 'key:bench', kind, response, name, who, at, at, false,
    CASE WHEN tap = 'dislike' AND random() < 0.1 THEN 'That is not what I asked for.' ELSE '' END, '{}', '', ''
FROM (
    SELECT uuidv7(shown.at - now() + make_interval(secs => tap.after)) AS id, k.id AS kind, shown.response, shown.name,
        shown.who, shown.at + make_interval(secs => tap.after) AS at, tap.tap
    FROM (
        SELECT r.id AS response, r.external_id AS name, r.written_at + make_interval(secs => 5 + u) AS at,
            'user-' || (hashtext(r.id::text) & 65535) * (u + 1) %% %(users)s AS who, u
        FROM annotation_response r, generate_series(0, 2) u
        WHERE r.project_id = %(project)s AND r.external_id = ANY(%(names)s)
    ) shown
    CROSS JOIN LATERAL (
        SELECT 'shown' AS tap, 0 AS after
        UNION ALL
        SELECT tap, 30 + place
        FROM unnest(%(taps)s::text[], %(shares)s::float[]) WITH ORDINALITY AS t(tap, share, place)
        WHERE (hashtext(shown.name || tap || shown.u) & 1048575) / 1048576.0 < share
    ) tap
    JOIN annotation_reactionkind k ON k.project_id = %(project)s AND k.key = tap.tap
) one
ON CONFLICT DO NOTHING
"""


def fill(connection: Any, project: Any, *, reactions: int, at_once: int = 4000, tell: Any = lambda line: None) -> int:
    """About so many reactions to a fifth as many answers, in transactions of `at_once` answers. How many they are."""
    answers = max(at_once // 4, round(reactions / (3 * (1 + sum(TAPS.values())))))
    about = {
        "project": str(project),
        "prompts": max(20, answers // 100),
        "answers": answers,
        "models": MODELS,
        "days": DAYS,
        "users": max(50, answers // 10),
        "taps": list(TAPS),
        "shares": list(TAPS.values()),
    }
    made = 0
    with connection.cursor() as cursor:
        cursor.execute(PROMPTS, about)
        for start in range(1, answers + 1, at_once):
            until = min(answers, start + at_once - 1)
            cursor.execute(ANSWERS, {**about, "from": start, "until": until})
            cursor.execute(EVENTS, {**about, "names": [f"a-{n}" for n in range(start, until + 1)]})
            made += cursor.rowcount
            tell(f"{made:,} reactions")
    return made
