"""What became of what was sent: counted in memory, written every few seconds, shown to whoever develops the product."""

from __future__ import annotations

from collections import Counter

from psycopg_pool import AsyncConnectionPool

from annotation.intake.directory import Key
from annotation.intake.shapes import Result
from annotation.intake.taking import BatchReply
from redpen.accounts.errors import RedpenError

ADD = """
    INSERT INTO annotation_intakecount (project_id, test, hour, operation, outcome, code, count)
    SELECT c.project_id, c.test, date_trunc('hour', now()), c.operation, c.outcome, c.code, c.count
    FROM unnest(%s::uuid[], %s::bool[], %s::text[], %s::text[], %s::text[], %s::bigint[])
        AS c (project_id, test, operation, outcome, code, count)
    JOIN accounts_project p ON p.id = c.project_id
    ORDER BY 1, 2, 4, 5, 6
    ON CONFLICT (project_id, test, hour, operation, outcome, code)
    DO UPDATE SET count = annotation_intakecount.count + excluded.count
"""
Place = tuple[str, bool, str, str, str]


class Tally:
    def __init__(self) -> None:
        self.counts: Counter[Place] = Counter()

    def add(self, key: Key, operation: str, outcome: str, code: str = "", count: int = 1) -> None:
        self.counts[key.project, key.test, operation, outcome, code[:60]] += count

    def reply(self, key: Key, operation: str, reply: Result | BatchReply) -> None:
        if isinstance(reply, Result):
            return self.add(key, operation, reply.status)
        self.add(key, operation, "stored", count=reply.counts["stored"])
        self.add(key, operation, "repeated", count=reply.counts["repeated"])
        for (status, code), count in reply.problems.items():
            self.add(key, operation, "limited" if status == "retry" else "refused", code, count)
        return None

    def error(self, key: Key, operation: str, error: RedpenError, items: int) -> None:
        """A request that was refused as a whole: all its items, or one where it was not taken apart."""
        outcome = "limited" if error.status in (429, 503) else "refused"
        self.add(key, operation, outcome, error.code, items)

    async def write(self, pool: AsyncConnectionPool) -> None:
        """Add what was counted to the table; what could not be written is kept for the next time."""
        counts = {place: count for place, count in self.counts.items() if count}
        self.counts.clear()
        if not counts:
            return
        columns = [list(column) for column in zip(*counts, strict=True)]
        try:
            async with pool.connection() as connection:
                await connection.execute(ADD, [*columns, list(counts.values())])
        except BaseException:
            self.counts.update(counts)
            raise
