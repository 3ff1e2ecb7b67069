"""How the counting gives way: while much comes in, the cores belong to who writes and reads; figures may be late.

Counting a reaction costs Postgres several times what storing it does. So the passes rest after each, many times as
long as it took while the intake is busy, and hardly when it is calm again. How late figures become is bounded: from
LATEST on the rests are as long as the passes.
"""

from __future__ import annotations

import time
from typing import Any

BUSY = 500.0  # reactions a second that are stored while one looks
BUSY_REST, CALM_REST, LATE_REST = 9.0, 0.25, 1.0  # times the length of the pass
LATEST = 300.0  # seconds between a reaction's arrival and its counting
UNJUDGED = 900.0  # seconds between a reaction's arrival and the judging of its user, where that waits for a flood's end
LOOK = 2.5  # seconds: a connection tells the statistics what it stored once a second at most

# Both are figures that Postgres keeps anyway: no table is read for the first, one row for the second.
ARRIVED = "SELECT pg_stat_get_tuples_inserted('annotation_reaction'::regclass)"
OLDEST = """
    SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM annotation_reaction
    WHERE xact >= coalesce((SELECT done FROM annotation_countingcursor WHERE id = 1), 0) ORDER BY xact LIMIT 1
"""
OLDEST_UNJUDGED = OLDEST.replace("annotation_countingcursor", "annotation_honestycursor")


class Pace:
    """Watches what comes in between its calls. `rest` sleeps for as long as the moment asks for."""

    def __init__(self, cursor: Any) -> None:
        self.arrived, self.at = arrived(cursor), time.monotonic()
        self.busy = True  # until one knows

    def rest(self, cursor: Any, took: float) -> None:
        """After a pass of `took` seconds that did not come to the end. No transaction may be open."""
        now, stored = time.monotonic(), arrived(cursor)
        if now - self.at >= LOOK:
            self.busy = stored - self.arrived > BUSY * (now - self.at)
            self.arrived, self.at = stored, now
        time.sleep(took * (self._busy_rest(cursor) if self.busy else CALM_REST))

    def _busy_rest(self, cursor: Any) -> float:
        cursor.execute(OLDEST)
        found = cursor.fetchone()
        if found is None:  # only answers are left
            return CALM_REST
        return LATE_REST if found[0] > LATEST else BUSY_REST


def may_judge(cursor: Any) -> bool:
    """Whether users may be judged now: in a flood only where nobody was for UNJUDGED seconds.

    It looks for LOOK seconds. No transaction may be open.
    """
    before = arrived(cursor)
    time.sleep(LOOK)
    if arrived(cursor) - before <= BUSY * LOOK:
        return True
    cursor.execute(OLDEST_UNJUDGED)
    found = cursor.fetchone()
    return found is not None and found[0] > UNJUDGED


def arrived(cursor: Any) -> int:
    """Reactions ever stored, as Postgres' statistics have it: a second or two late."""
    cursor.execute(ARRIVED)
    return int(cursor.fetchone()[0])
