"""The rows of a snapshot, streamed out of Postgres in constant memory.

Only live records count whose assignment is submitted, or that have none. An answer that somebody reviewed and found
nothing in is a row too: it teaches what good looks like. The split is the prompt's own, fixed for the project's life.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db import connection

from redpen.accounts.models import Project
from training.snapshots import judgements
from training.snapshots.live import LEFT_OUT, LIVE, NO_TEST, SAID, answer_of, author_of, prompt_of
from training.snapshots.query import RowKind, SnapshotQuery

CHUNK = 200  # rows of a server-side cursor held at a time

MARKS = f"""
    SELECT s.*, l.key AS label_key FROM annotation_spancritique s LEFT JOIN annotation_label l ON l.id = s.label_id
    WHERE s.part = 'text' AND {LIVE.format(x="s")}
"""
REVIEWS = """
    SELECT a.id, a.user_id, a.agent, t.response_id
    FROM annotation_assignment a JOIN annotation_task t ON t.id = a.task_id
    WHERE a.project_id = %(project)s AND a.state = 'submitted' AND a.submitted_at <= %(until)s AND t.kind = 'spans'
    AND (%(origins)s::text[] IS NULL
        OR (CASE WHEN a.user_id IS NULL THEN 'program' ELSE 'human' END) = ANY(%(origins)s))
    AND (%(campaigns)s::uuid[] IS NULL OR t.campaign_id = ANY(%(campaigns)s))
"""
# Which responses make a row: those with a mark and those that were reviewed.
CHOSEN = f"""
    SELECT response_id FROM ({MARKS}) marked UNION SELECT response_id FROM ({REVIEWS}) reviewed
"""

SQL: dict[RowKind, str] = {
    "response": f"""
        SELECT p.split, p.id, p.messages, p.context, r.id, r.text, r.token_ids, r.token_logprobs,
            (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', m.id, 'start', m.start, 'end', m."end", 'quote', m.quote, 'sentiment', m.sentiment,
                'severity', m.severity, 'label', m.label_key, 'critique', m.critique, 'replacement', m.replacement,
                'author', {author_of("m")}, 'origin', m.origin
             ) ORDER BY m.start, m."end", m.id), '[]') FROM ({MARKS} AND s.response_id = r.id) m),
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', v.id, 'author', coalesce(v.user_id::text, v.agent))
                ORDER BY v.id), '[]') FROM ({REVIEWS} AND t.response_id = r.id) v)
        FROM annotation_response r JOIN annotation_prompt p ON p.id = r.prompt_id
        WHERE r.project_id = %(project)s AND {NO_TEST.format(x="r")} AND r.id IN ({CHOSEN})
        ORDER BY r.id""",
    "preference": f"""
        SELECT p.split, p.id, p.messages, p.context, f.id, a.id, a.text, a.token_ids, b.id, b.text, b.token_ids,
            f.choice, f.strength, f.reason, f.dimension, {author_of("f")}, f.origin
        FROM annotation_preference f JOIN annotation_prompt p ON p.id = f.prompt_id
        JOIN annotation_response a ON a.id = f.response_a_id JOIN annotation_response b ON b.id = f.response_b_id
        WHERE {LIVE.format(x="f")} AND {NO_TEST.format(x="p")}
        ORDER BY f.id""",
    "prompt": f"""
        SELECT p.split, p.id, p.messages, p.context FROM annotation_prompt p
        WHERE p.project_id = %(project)s AND p.created_at <= %(until)s AND {NO_TEST.format(x="p")}
        ORDER BY p.id""",
    **judgements.SQL,
}

COUNTS: dict[RowKind, str] = {
    "response": f"""
        SELECT p.split, count(*) FROM annotation_response r JOIN annotation_prompt p ON p.id = r.prompt_id
        WHERE r.project_id = %(project)s AND {NO_TEST.format(x="r")} AND r.id IN ({CHOSEN}) GROUP BY 1""",
    "preference": f"""
        SELECT p.split, count(*) FROM annotation_preference f JOIN annotation_prompt p ON p.id = f.prompt_id
        WHERE {LIVE.format(x="f")} AND {NO_TEST.format(x="p")} GROUP BY 1""",
    "prompt": f"""
        SELECT p.split, count(*) FROM annotation_prompt p
        WHERE p.project_id = %(project)s AND p.created_at <= %(until)s AND {NO_TEST.format(x="p")} GROUP BY 1""",
    **judgements.COUNTS,
}
LABEL_COUNTS = f"""
    SELECT coalesce(m.label_key, ''), m.sentiment, count(*) FROM ({MARKS}) m GROUP BY 1, 2 ORDER BY 3 DESC, 1"""
# The records that a query would hold, were their users believed.
TABLES: dict[RowKind, str] = {"response": "spancritique", "verdict": "critique"} | {
    kind: kind for kind in ("preference", "ranking", "choice", "rating", "reaction", "rewrite")
}
LEFT_OUT_OF = f"""
    SELECT x.external_user, count(*) FROM annotation_{{table}} x
    WHERE {SAID.format(x="x")} AND {LEFT_OUT.format(x="x")} GROUP BY 1"""
LABELS = """
    SELECT l.id, l.key, l.name, l.sentiment FROM annotation_label l JOIN annotation_labelset t ON t.id = l.label_set_id
    WHERE l.project_id = %(project)s AND l.created_at <= %(until)s ORDER BY t.id, l.position, l.id"""


def parameters(project: Project, query: SnapshotQuery) -> dict[str, Any]:
    """What the statements above are run with; the query must be frozen."""
    assert query.until is not None
    return {
        "project": project.pk,
        "until": query.until,
        "origins": list(query.origins) or None,
        "campaigns": list(query.campaigns) or None,
        "test": query.test,
        # what was frozen before users were judged has no such field, and stays what it was
        "leave_out": bool(query.leave_out),
    }


def left_out(project: Project, query: SnapshotQuery) -> dict[str, Any]:
    """How many users are not believed whose records would be in it, and how many records; {} where none are."""
    if not query.leave_out:
        return {}
    users: set[str] = set()
    records: Counter[str] = Counter()
    with connection.cursor() as cursor:
        for kind in query.kinds:
            if kind in TABLES:
                cursor.execute(LEFT_OUT_OF.format(table=TABLES[kind]), parameters(project, query))
                for user, count in cursor.fetchall():
                    users.add(user)
                    records[kind] += count
    return {"users": len(users), "records": dict(records)} if users else {}


def stream(project: Project, query: SnapshotQuery) -> Iterator[dict[str, Any]]:
    """Every row of the query, kind by kind, each in the order in which its records were made."""
    for kind in query.kinds:
        with connection.chunked_cursor() as cursor:
            cursor.execute(SQL[kind], parameters(project, query))
            while rows := cursor.fetchmany(CHUNK):
                for values in rows:
                    yield SHAPES[kind](*values)


def _response(split, prompt, messages, context, response, text, token_ids, logprobs, marks, reviews) -> dict[str, Any]:
    spans, reviews = json.loads(marks), json.loads(reviews)
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "response",
        **answer_of(response, text, token_ids),
        **({"token_logprobs": logprobs} if token_ids and logprobs else {}),  # whether it is still a policy's own
        "spans": spans,
        "records": [span["id"] for span in spans],
        "reviewed": bool(reviews),
        "reviewers": sorted({review["author"] for review in reviews} | {span["author"] for span in spans}),
        "assignments": [review["id"] for review in reviews],
    }


def _preference(split, prompt, messages, context, record, *compared) -> dict[str, Any]:
    a, b, (choice, strength, reason, dimension, author, origin) = compared[:3], compared[3:6], compared[6:]
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "preference",
        "a": answer_of(*a),
        "b": answer_of(*b),
        "choice": choice,
        "strength": strength,
        "reason": reason,
        "dimension": dimension,
        "author": author,
        "origin": origin,
        "records": [str(record)],
    }


SHAPES = {"response": _response, "preference": _preference, "prompt": prompt_of, **judgements.SHAPES}


def canonical(row: dict[str, Any]) -> str:
    """A row as one line of JSON, the same for the same records whoever writes it."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def row_hash(line: str) -> bytes:
    return hashlib.sha256(line.encode()).digest()


def labels(project: Project, query: SnapshotQuery) -> list[dict[str, Any]]:
    """The project's labels; where two sets use one key, the first speaks for both."""
    with connection.cursor() as cursor:
        cursor.execute(LABELS, parameters(project, query))
        found: dict[str, dict[str, Any]] = {}
        for id, key, name, sentiment in cursor.fetchall():
            found.setdefault(key, {"id": str(id), "key": key, "name": name, "sentiment": sentiment})
    return list(found.values())


class Tally:
    """What is counted while rows go by: rows by kind and split, records by kind, marks by label."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}
        self.records: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.clean = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows.setdefault(row["kind"], Counter())[row["split"]] += 1
        if row["kind"] == "response":
            self.records["span"] += len(row["spans"])
            self.labels.update(span["label"] or "" for span in row["spans"])
            self.clean += not row["spans"]
        elif row["records"]:
            self.records[row["kind"]] += len(row["records"])

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": {kind: dict(splits) for kind, splits in self.rows.items()},
            "records": dict(self.records),
            "labels": dict(self.labels.most_common()),
            "clean": self.clean,
        }
