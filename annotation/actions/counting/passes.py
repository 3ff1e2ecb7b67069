"""One pass: from the cursor to the newest transaction behind which nothing is still being written.

Every row of the intake carries the number of the transaction that wrote it (`xact`). A pass takes the rows from its
cursor up to `pg_snapshot_xmin`, the oldest transaction still going on: all of them are committed, and nothing smaller
can ever come. So nothing is missed, in whatever order commits happen. Counting is by comparison (cells.py), so that a
row that is seen twice counts once.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from annotation.actions.counting import cells, joining, lines, phrases
from annotation.actions.counting.pace import Pace
from annotation.actions.standing import SETTLE_AND_COUNT
from annotation.models import Reaction, Response
from annotation.webhooks import payloads
from annotation.webhooks.outbox import emit_many, listening

log = logging.getLogger(__name__)

LOCK = 0x52656470656E  # "Redpen": one pass at a time
RESTS = LOCK + 1  # held by who counts gently, also while it rests: the next one must not use the pause
ROWS = 5_000  # of each table in one pass: under a second, so that it can give way
ENDLESS = 2**63 - 1
TABLES = ("annotation_reaction", "annotation_response", "annotation_takenback")


@dataclass
class Pass:
    """What one pass did. `more` is true where it stopped before the end, to be short."""

    rows: int = 0
    joined: int = 0
    ended: int = 0
    recounted: int = 0
    misplaced: int = 0
    more: bool = False
    until: int = 0


@dataclass
class Counted:
    """What several passes did."""

    passes: list[Pass] = field(default_factory=list)

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.passes)


def count(*, most: int = 20) -> Counted:
    """Pass after pass until all is counted that may be; nothing where somebody else is at it."""
    return _count(most, None)


def count_gently(*, most: int = 20) -> Counted:
    """`count`, with a rest after each pass (pace.py); nothing where somebody else counts or rests.

    Who counts what a flood leaves behind must not take Postgres from those who write and read meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [RESTS])
        if not cursor.fetchone()[0]:
            return Counted()
        try:
            return _count(most, Pace(cursor))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [RESTS])


def _count(most: int, pace: Pace | None) -> Counted:
    done = Counted()
    while len(done.passes) < most:
        began = time.monotonic()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
            if not cursor.fetchone()[0]:
                return done
            one = run(cursor)
        done.passes.append(one)
        if not one.more:
            break
        if pace is not None:
            with connection.cursor() as cursor:
                pace.rest(cursor, time.monotonic() - began)
    return done


def catch_up() -> Counted:
    """Count all that can be seen at this moment, what this transaction has written included.

    Unlike `count` it does not wait for older transactions: what is visible behind them is counted now, and looked at
    once more by a later pass.
    """
    done = Counted()
    start = None
    while True:
        with locked() as cursor:
            one = run(cursor, start=start, everything=True)
        done.passes.append(one)
        if not one.more:
            return done
        start = one.until


@contextmanager
def locked() -> Iterator[Any]:
    """A transaction in which no pass goes on."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        tune(cursor)
        yield cursor


def tune(cursor: Any) -> None:
    """Some thousand rows of large tables are looked up by their keys, whatever the planner believes of arrays."""
    cursor.execute("SET LOCAL jit = off; SET LOCAL enable_seqscan = off")


def untune(cursor: Any) -> None:
    """For whoever called us inside their own transaction."""
    cursor.execute("SET LOCAL jit TO DEFAULT; SET LOCAL enable_seqscan TO DEFAULT")


def run(cursor: Any, *, start: int | None = None, everything: bool = False) -> Pass:
    """One pass. The caller holds the lock."""
    tune(cursor)
    cursor.execute(
        "INSERT INTO annotation_countingcursor (id, done, misplaced) VALUES (1, 0, 0) ON CONFLICT DO NOTHING"
    )
    cursor.execute("SELECT done FROM annotation_countingcursor WHERE id = 1")
    done = cursor.fetchone()[0]
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    horizon = cursor.fetchone()[0]
    if done > horizon:
        moved_house(cursor, done)
        done = 0
    begin = done if start is None else start
    until, rows, more = bounds(cursor, begin, ENDLESS if everything else horizon)
    here = Pass(rows=rows, more=more, until=until)
    if rows:
        # what lies behind the cursor's next place comes by again: it is told then, and not twice
        told = {"from": max(begin, done), "until": min(until, horizon)}
        work(cursor, {"from": begin, "until": until}, here, told=told)
    if rows:
        cursor.execute(
            "UPDATE annotation_countingcursor SET done = greatest(done, %s), counted_at = clock_timestamp(), "
            "misplaced = misplaced + %s WHERE id = 1",
            [min(until, horizon), here.misplaced],
        )
    untune(cursor)
    return here


def bounds(cursor: Any, begin: int, horizon: int) -> tuple[int, int, bool]:
    """Up to which transaction this pass goes, how many rows that is at least, and whether more come after it.

    A transaction is never cut in two, however many rows it wrote.
    """
    until, rows, more = horizon, 0, False
    for table in TABLES:
        cursor.execute(
            f"SELECT count(*), max(xact) FROM (SELECT xact FROM {table} WHERE xact >= %s AND xact < %s "
            "ORDER BY xact LIMIT %s) t",
            [begin, horizon, ROWS],
        )
        found, last = cursor.fetchone()
        rows += found
        if found == ROWS:
            until, more = min(until, last + 1), True
    return until, rows, more


TOUCHED = """
    SELECT e.id, e.response_id, e.external_user, e.spans IS NOT NULL FROM annotation_reaction e
    WHERE e.xact >= %(from)s AND e.xact < %(until)s
    UNION
    SELECT e.id, e.response_id, e.external_user, e.spans IS NOT NULL
    FROM annotation_response r JOIN annotation_reaction e ON e.response_id = r.id
    WHERE r.xact >= %(from)s AND r.xact < %(until)s
    UNION
    SELECT e.id, e.response_id, e.external_user, e.spans IS NOT NULL
    FROM annotation_takenback b JOIN annotation_reaction e ON e.dedup = b.event
    WHERE b.xact >= %(from)s AND b.xact < %(until)s
    UNION
    SELECT e.id, e.response_id, e.external_user, e.spans IS NOT NULL
    FROM unnest(%(joined)s::uuid[]) AS one(id) JOIN annotation_reaction e USING (id)
"""
# Events of nobody in particular, and those whose answer has not come, end by their own names alone.
END_NAMED = """
    WITH doomed AS (
        SELECT e.id FROM annotation_reaction e JOIN unnest(%(ids)s::uuid[]) AS one(id) USING (id)
        WHERE e.ended_at IS NULL AND EXISTS (SELECT FROM annotation_takenback b WHERE b.event = e.dedup)
        ORDER BY e.id FOR UPDATE OF e
    )
    UPDATE annotation_reaction e SET ended_at = now(), end_reason = 'retracted' FROM doomed
    WHERE e.id = doomed.id AND e.ended_at IS NULL RETURNING e.id
"""


def work(cursor: Any, window: dict[str, int], here: Pass, *, told: dict[str, int]) -> None:
    joined = joining.join(cursor, window)
    here.joined = len(joined)
    tell(cursor, told)
    cursor.execute(TOUCHED, {**window, "joined": joined})
    touched = cursor.fetchall()
    fresh = {row[0] for row in touched}
    ended, recounted, misplaced = follow(cursor, touched, fresh=fresh)
    here.ended, here.recounted, here.misplaced = ended, recounted, misplaced


def follow(
    cursor: Any, touched: Sequence[tuple[UUID, UUID | None, str, bool]], *, fresh: set[UUID], again: bool = False
) -> tuple[int, int, int]:
    """All that follows from these reactions (id, answer, user, whether they have phrases).

    How many ended, pairs that count otherwise now, phrases that do not stand in their answers.
    """
    ids = {row[0] for row in touched}
    pairs = sorted({(response, user) for _, response, user, _ in touched if response is not None and user})
    alone = sorted(id for id, response, user, _ in touched if response is None or not user)
    ended: set[UUID] = set()
    for start in range(0, len(pairs), cells.AT_ONCE):
        some = pairs[start : start + cells.AT_ONCE]
        cursor.execute(SETTLE_AND_COUNT, {"responses": [one[0] for one in some], "users": [one[1] for one in some]})
        ended |= {row[0] for row in cursor.fetchall()}
    if alone:
        cursor.execute(END_NAMED, {"ids": alone})
        ended |= {row[0] for row in cursor.fetchall()}
    every = sorted(ids | ended)
    misplaced = phrases.mark([row[0] for row in touched if row[3]] + sorted(ended), fresh=fresh)
    lines.show(cursor, every, again=again)
    return len(ended), cells.recount(cursor, pairs), misplaced


def tell(cursor: Any, window: dict[str, int]) -> None:
    """Webhooks hear of what came in this window and still counts; their rows are committed with the cursor."""
    wanted = listening("reaction.created", "response.created")
    if not wanted:
        return
    # A live row keeps the number of the transaction that inserted it, so it comes by once; so does a retraction.
    by: dict[tuple[UUID, bool, str], list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    newer = {"xact__gte": window["from"], "xact__lt": window["until"]}
    projects = {project for project, _, _ in wanted}
    rows = Reaction.objects.filter(**newer, project__in=projects).select_related("kind").order_by("id")
    for row in rows.iterator():
        if (row.ended_at is None or row.retracts) and (row.project_id, row.test, "reaction.created") in wanted:
            by[row.project_id, row.test, "reaction.created"].append((str(row.pk), payloads.reaction(row)))
    answers = Response.objects.filter(**newer, project__in=projects).select_related("prompt").order_by("id")
    for answer in answers.iterator():
        if (answer.project_id, answer.test, "response.created") in wanted:
            by[answer.project_id, answer.test, "response.created"].append((str(answer.pk), payloads.response(answer)))
    for (project, test, event), items in by.items():
        emit_many(project_id=project, event=event, items=items, test=test)


def moved_house(cursor: Any, done: int) -> None:
    """The database was restored into another cluster, whose transactions are numbered anew.

    What was counted gets a number before all others, what was not one of now, and the cursor begins again.
    """
    log.warning("counting.moved_house", extra={"done": done})
    for table in TABLES:
        cursor.execute(f"UPDATE {table} SET xact = 0 WHERE xact > 0 AND xact < %s", [done])
        cursor.execute(f"UPDATE {table} SET xact = pg_current_xact_id()::text::bigint WHERE xact >= %s", [done])
    cursor.execute("UPDATE annotation_countingcursor SET done = 1 WHERE id = 1")
