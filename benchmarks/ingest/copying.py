"""What Postgres itself reaches with such rows: COPY, bare and through a staging table into the reactions."""

import time
from collections.abc import Iterator
from hashlib import md5
from uuid import UUID

import psycopg

from annotation.events import named_event
from benchmarks.ingest.ours import Ours

STAGING = """
    CREATE TEMPORARY TABLE staging (kind uuid, response text, who text, name text, at timestamptz, retracts bool,
        text text, metadata jsonb, dedup uuid, content uuid)
"""
STAGED = "kind, response, who, name, at, retracts, text, metadata, dedup, content"
INSERT = """
    INSERT INTO annotation_reaction (id, lineage, version, project_id, test, origin, agent, kind_id, response_id,
        response_external_id, external_user, external_id, event_at, retracts, end_reason, text, metadata, dedup,
        content, prefill_outcome)
    SELECT n.id, n.id, 1, n.project_id, false, 'human', 'copy', n.kind, n.response_id, n.response, n.who, n.name, n.at,
        n.retracts, '', n.text, n.metadata, n.dedup, n.content, ''
    FROM (
        SELECT i.*, uuidv7() AS id, %(project)s::uuid AS project_id, r.id AS response_id
        FROM staging i
        LEFT JOIN annotation_response r ON r.project_id = %(project)s AND NOT r.test AND r.external_id = i.response
        ORDER BY i.dedup
    ) n
    ON CONFLICT (dedup) DO NOTHING
"""
WHOLE = """
    id, lineage, version, project_id, test, origin, agent, kind_id, response_id, response_external_id, external_user,
    external_id, event_at, retracts, end_reason, text, metadata, dedup, content, prefill_outcome
"""


class Copying:
    """One connection to our own database; every measure writes new rows and counts until after COMMIT."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self.connection = psycopg.connect(ours.database, autocommit=True)
        self.connection.execute(STAGING)
        self.project = self._one("SELECT id FROM accounts_project WHERE slug = 'bench'")
        kind = "SELECT id FROM annotation_reactionkind WHERE project_id = %s AND key = 'like'"
        self.kind = self._one(kind, [self.project])
        self.answers = dict(
            self.connection.execute("SELECT external_id, id FROM annotation_response WHERE NOT test").fetchall()
        )
        self.connection.execute("CREATE TABLE bench_heap (LIKE annotation_reaction INCLUDING DEFAULTS)")
        self.connection.execute("CREATE TABLE bench_indexed (LIKE annotation_reaction INCLUDING ALL)")

    def _one(self, query: str, values: list[object] | None = None) -> UUID:
        found = self.connection.execute(query, values).fetchone()  # type: ignore[arg-type]
        assert found is not None
        return found[0]

    def _lines(self, numbers: Iterator[int], rows: int) -> list[tuple[str, str, UUID, str, str]]:
        made = []
        for _ in range(rows):
            item = self.ours.one(next(numbers))
            id, response, user = str(item["id"]), str(item["response"]), str(item["user"])
            content = md5(id.encode(), usedforsecurity=False).hexdigest()
            made.append((id, response, named_event(self.project, False, id), user, content))
        return made

    def staged(self, numbers: Iterator[int], rows: int, *, a_transaction: int) -> float:
        """Rows a second through the staging table, `a_transaction` at a time."""
        at = "2026-11-29T03:00:00Z"
        parts = []
        lines = self._lines(numbers, rows)
        for start in range(0, rows, a_transaction):
            text = "".join(
                f"{self.kind}\t{response}\t{user}\t{id}\t{at}\tf\t\t{{}}\t{dedup}\t{content}\n"
                for id, response, dedup, user, content in lines[start : start + a_transaction]
            )
            parts.append(text.encode())
        began = time.perf_counter()
        for part in parts:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                with cursor.copy(f"COPY staging ({STAGED}) FROM STDIN") as copy:  # type: ignore[arg-type]
                    copy.write(part)
                cursor.execute(INSERT, {"project": self.project})
                if cursor.rowcount != min(a_transaction, rows):
                    raise SystemExit(f"COPY and INSERT stored {cursor.rowcount} rows")
                cursor.execute("TRUNCATE staging")
        return rows / (time.perf_counter() - began)

    def bare(self, numbers: Iterator[int], rows: int, table: str) -> float:
        """Rows a second by one COPY into a table that has the shape of the reactions; ids are made beforehand."""
        at = "2026-11-29T03:00:00Z"
        ids = [id for (id,) in self.connection.execute("SELECT uuidv7() FROM generate_series(1, %s)", [rows])]
        text = "".join(
            f"{new}\t{new}\t1\t{self.project}\tf\thuman\tcopy\t{self.kind}\t{self.answers[response]}\t{response}\t"
            f"{user}\t{id}\t{at}\tf\t\t\t{{}}\t{dedup}\t{content}\t\n"
            for new, (id, response, dedup, user, content) in zip(ids, self._lines(numbers, rows), strict=True)
        ).encode()
        began = time.perf_counter()
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} ({WHOLE}) FROM STDIN") as copy:  # type: ignore[arg-type]
            copy.write(text)
        seconds = time.perf_counter() - began
        self.connection.execute(f"TRUNCATE {table}")  # type: ignore[arg-type]
        return rows / seconds

    def close(self) -> None:
        self.connection.execute("DROP TABLE bench_heap, bench_indexed")
        self.connection.close()
