"""Every filter that a key may use finds its rows by an index: few pages are read, however many rows there are."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.annotation.keyed import asking, make_answer, make_reaction

ANSWERS, REACTIONS = 30_000, 100_000
PAGES = 400  # of 8 kB: a page of 50 rows, with their prompts, and what leads to them
BULK = """
INSERT INTO annotation_response (id, project_id, prompt_id, text, thinking, origin, model, sampling, external_id,
    conversation, metadata, external_user, language, created_at)
SELECT uuidv7((n - %(answers)s) * interval '1 second'), project_id, prompt_id, 'An answer', '', 'model',
    'm-' || n %% 3, '{}', 'bulk-' || n, 'c-' || n / 4, '{}', 'u-' || n %% 5000, 'en',
    now() + (n - %(answers)s) * interval '1 second'
FROM annotation_response, generate_series(1, %(answers)s) n WHERE id = %(seed)s;
INSERT INTO annotation_reaction (id, lineage, version, project_id, origin, agent, kind_id, response_id,
    response_external_id, external_user, event_at, text, metadata, end_reason, prefill_outcome, created_at)
SELECT id, id, 1, project_id, 'human', 'key:x', kind_id, response_id, '', 'u-' || n %% 5000, now(), '', '{}', '', '',
    uuid_extract_timestamp(id)
FROM (
    SELECT uuidv7((n - %(reactions)s) * interval '1 second') AS id, n, %(project)s::uuid AS project_id,
        (SELECT id FROM annotation_reactionkind WHERE project_id = %(project)s AND key = 'shown') AS kind_id,
        (ARRAY(SELECT id FROM annotation_response WHERE project_id = %(project)s LIMIT 1000))[1 + n %% 1000]
            AS response_id
    FROM generate_series(1, %(reactions)s) n
) made
"""
VERSION = "018f0000-0000-7000-8000-000000000001"


@pytest.fixture
def many(desk):
    """Many rows of common values; of every filter one rare value, on the oldest rows: the hardest to come by."""
    from annotation.models import Rating, ReactionKind

    project = desk.cast.project
    ReactionKind.objects.create(project=project, key="report", name="Report", polarity=-1)
    old = (UUID(int=((int(time.time()) - 200_000) * 1000 << 80) + n) for n in range(100))
    about = {"model": "rare", "model_version": VERSION, "external_user": "rare", "conversation": "rare"}
    rare = make_answer(project, id=next(old), external_id="rare", language="tlh", **about)
    make_answer(project, id=next(old), external_id="child", parent=rare)
    make_answer(project, id=next(old), external_id="tested", test=True)
    taps = [
        {"kind": "report", "external_user": "rare", "external_id": "rare-tap"},
        {"kind": "like", "external_user": "ended", "external_id": "x"},
        {"kind": "like", "external_user": "ended", "external_id": "y", "retracts": True},
        {"kind": "like", "external_user": "w", "external_id": "tested-tap", "test": True},
    ]
    for tap in taps:
        make_reaction(project, tap.pop("kind"), id=next(old), response=rare, **tap)
    make_reaction(project, "like", id=next(old), response_external_id="not yet", external_user="v", external_id="z")
    Rating.objects.create(
        id=next(old), project=project, response=rare, dimension="tone", value=1, external_user="rare", agent="key:x"
    )
    values = {"answers": ANSWERS, "reactions": REACTIONS, "seed": rare.pk, "project": project.pk}
    with connection.cursor() as cursor:
        for statement in BULK.split(";\n"):
            cursor.execute(statement, values)
        cursor.execute("ANALYZE")
    return project


def hours_ago(hours: int) -> str:
    return (timezone.now() - timedelta(hours=hours)).isoformat()


LISTS = [
    ("responses", {}),
    ("responses", {"order": "asc"}),
    ("responses", {"model": "rare"}),
    ("responses", {"model_version": VERSION}),
    ("responses", {"user": "rare"}),
    ("responses", {"conversation": "rare"}),
    ("responses", {"language": "tlh"}),
    ("responses", {"parent": "rare"}),
    ("responses", {"parent": "not here"}),
    ("responses", {"external_id": "rare"}),
    ("responses", {"since": 1}),
    ("responses", {"until": 7, "since": 8}),
    ("reactions", {}),
    ("reactions", {"order": "asc"}),
    ("reactions", {"kind": "report"}),
    ("reactions", {"user": "rare"}),
    ("reactions", {"response": "rare"}),
    ("reactions", {"response": "not yet"}),
    ("reactions", {"state": "ended"}),
    ("reactions", {"state": "all"}),
    ("reactions", {"since": 1}),
    ("reactions", {"until": 7, "since": 8}),
    ("records", {}),
    ("records", {"order": "asc"}),
    ("records", {"kind": "reaction"}),
    ("records", {"user": "rare"}),
    ("records", {"response": "rare"}),
    ("records", {"state": "ended"}),
    ("records", {"since": 1}),
    ("responses/rare", {}),
    ("responses/bulk-100", {}),
    ("reactions/rare-tap", {}),
]


def reads_of(sql: str) -> tuple[int, str]:
    """How many pages a query reads, and its plan."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql)
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], json.dumps(plan)


def test_every_filter_reads_few_pages(many):
    live, test = asking(many), asking(many, test=True)
    slow = []
    of_test = [(path, {"test": 1}) for path in ("responses", "reactions", "records")]
    for path, params in [*LISTS, *of_test]:
        wanted = {name: hours_ago(value) if name in ("since", "until") else value for name, value in params.items()}
        asks = test if wanted.pop("test", None) else live
        with CaptureQueriesContext(connection) as asked:
            got = asks.get(path, **wanted)
        assert got.status_code == 200, got.text
        expected = params.get("parent") != "not here"
        assert bool(got.json().get("items", True)) == expected, f"{path} {params} finds nothing to read"
        for query in asked.captured_queries:
            if "annotation_" in query["sql"]:
                pages, plan = reads_of(query["sql"])
                if pages > PAGES:
                    slow.append(f"{path} {params}: {pages} pages\n{query['sql'][:400]}\n{plan[:1000]}")
    assert not slow, "\n\n".join(slow)
