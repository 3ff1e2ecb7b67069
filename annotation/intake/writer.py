"""Group commit: what many callers bring within a moment is written by one statement and made durable by one commit.

There is no timer. A writer takes all that waits, writes it, and takes what came meanwhile: a lone request is written at
once, and the groups grow with the load. Projects take turns, so that a flood of one does not stand in another's way:
while several send, groups are small, and one connection writes for those only that have little on its way; the other
writes for the rest.

A group that Postgres refuses is halved until the row at fault stands alone; the others are stored. A caller who leaves
does not stop the commit, because it runs in the writer's task and not in the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import AsyncConnection

from annotation.intake.limits import Limits
from annotation.intake.problems import as_problem
from annotation.intake.shapes import Result
from annotation.intake.turns import LIGHT
from redpen.accounts.errors import Invalid, RedpenError, TooMany, Unavailable

log = logging.getLogger(__name__)

GROUP_ROWS = 2000
GROUP_BYTES = 4 * 1024 * 1024
TURN_ROWS = 500  # of one project before the next one's turn
SHARED_ROWS = 200  # of a group while several projects send
ATTEMPTS = 4


@dataclass(slots=True, eq=False)
class Row:
    """One item, checked: `json` is what the statement reads; `name` is how the statement names its fate."""

    name: str
    json: bytes
    source: tuple[str, str, bool, str]  # key, project, test, agent
    external_id: str | None
    content: str
    redacted: int = 0
    result: Result | None = None


@dataclass(slots=True, eq=False)
class Job:
    """What one request (or a part of a long one) brings. The future gives nothing; the rows have their results."""

    project: str
    rows: Sequence[Row]
    size: int
    done: asyncio.Future[None] = field(init=False)
    keyed: Keyed | None = None


@dataclass(frozen=True, slots=True)
class Keyed:
    """That the request came under an Idempotency-Key, with the digest of its body."""

    operation: str
    key: str
    body: str
    test: bool


Store = Callable[[AsyncConnection, Sequence[Row]], Awaitable[None]]


class Writer:
    """One queue and a few connections. `store` writes rows in one transaction and gives each its result."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection]],
        store: Store,
        limits: Limits,
        writers: int,
        shared: Callable[[], bool] = lambda: False,
    ) -> None:
        self.connect, self.store, self.limits, self.writers, self.shared = connect, store, limits, writers, shared
        self.queues: OrderedDict[str, deque[Job]] = OrderedDict()
        self.sizes: dict[str, int] = {}
        self.open: dict[str, int] = {}  # rows of a project between `put` and their commit
        self.waiting_bytes = 0
        self.work, self.light_work = asyncio.Event(), asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.tasks = [
            asyncio.create_task(self._run(express=n == 1 if self.writers > 1 else None), name=f"intake-writer-{n}")
            for n in range(self.writers)
        ]

    async def write(self, job: Job) -> None:
        """Return when the job's rows have their results. Raises as `put` does."""
        self.put(job)
        await asyncio.shield(job.done)

    def put(self, job: Job) -> None:
        """Let the job wait for its commit; `job.done` is done after that, or has an Unavailable.

        Raises TooMany or Unavailable when too much waits already.
        """
        if self.waiting_bytes + job.size > self.limits.waiting_bytes:
            raise Unavailable("Too much waits to be written. Send it again shortly.", retry_after=1)
        if self.sizes.get(job.project, 0) + job.size > self.limits.waiting_bytes // 2:
            raise TooMany("This project sends more than can be written. Send it again, more slowly.", retry_after=1)
        job.done = asyncio.get_running_loop().create_future()
        self.queues.setdefault(job.project, deque()).append(job)
        self.sizes[job.project] = self.sizes.get(job.project, 0) + job.size
        self.waiting_bytes += job.size
        open_rows = self.open[job.project] = self.open.get(job.project, 0) + len(job.rows)
        self.work.set()
        if open_rows <= LIGHT or not self.shared():
            self.light_work.set()

    def _take(self, *, express: bool | None = None) -> list[Job]:
        """What goes into the next group: each project's oldest jobs, in turns.

        While several projects send, a group is small, and holds jobs of projects that have little on its way
        (`express`), of the others (not `express`), or of all, the small ones first (None).
        """
        shared = self.shared()
        most, turn_rows = (SHARED_ROWS, SHARED_ROWS // 2) if shared else (GROUP_ROWS, TURN_ROWS)
        projects = deque(self.queues)
        if shared:
            light = [project for project in projects if self.open[project] <= LIGHT]
            heavy = [project for project in projects if self.open[project] > LIGHT]
            projects = deque(light + heavy if express is None else light if express else heavy)
        taken: list[Job] = []
        rows = size = 0
        while projects and rows < most and size < GROUP_BYTES:
            project = projects.popleft()
            queue = self.queues[project]
            turn = 0
            while queue and turn < turn_rows and rows < most and size < GROUP_BYTES:
                job = queue.popleft()
                taken.append(job)
                turn += len(job.rows)
                rows += len(job.rows)
                size += job.size
                self.sizes[project] -= job.size
                self.waiting_bytes -= job.size
            if queue:
                self.queues.move_to_end(project)
                projects.append(project)
            else:
                del self.queues[project], self.sizes[project]
        if not self.queues:
            self.work.clear()
            self.light_work.clear()
        return taken

    def _close(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            left = self.open[job.project] - len(job.rows)
            if left:
                self.open[job.project] = left
            else:
                del self.open[job.project]

    async def _run(self, *, express: bool | None) -> None:
        connection: AsyncConnection | None = None
        work, others = (self.light_work, self.work) if express else (self.work, self.light_work)
        while True:
            await work.wait()
            jobs = self._take(express=express)
            if not jobs:
                work.clear()
                if self.queues:
                    others.set()  # what waits is theirs
                continue
            try:
                if connection is None or connection.closed:
                    connection = await self.connect()
                await self._write_group(connection, jobs)
            except Exception as error:  # these callers hear of it, the writer lives on
                if not isinstance(error, psycopg.Error):
                    log.exception("intake.broken")
                else:
                    log.warning("intake.not_written", extra={"error": type(error).__name__, "jobs": len(jobs)})
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(
                            Unavailable("The database does not answer just now. Send it again shortly.", retry_after=1)
                        )
                        job.done.exception()  # seen, even when the caller has left
                if connection is not None:
                    await connection.close()
                connection = None
            finally:
                self._close(jobs)

    async def _write_group(self, connection: AsyncConnection, jobs: Sequence[Job]) -> None:
        if any(job.keyed for job in jobs):
            jobs = await self._claim_keys(connection, jobs)
            if not jobs:
                return
        await self._write([row for job in jobs for row in job.rows], connection)
        for job in jobs:
            if not job.done.done():
                job.done.set_result(None)

    async def _write(self, rows: Sequence[Row], connection: AsyncConnection) -> None:
        for attempt in range(ATTEMPTS):
            try:
                return await self.store(connection, rows)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == ATTEMPTS - 1:
                    raise
            except psycopg.Error as error:
                if connection.closed or (error.sqlstate or "08")[:2] in ("08", "25", "53", "57", "58", "XX"):
                    raise  # not the rows' fault
                if len(rows) == 1:
                    log.warning("intake.row_refused", extra={"sqlstate": error.sqlstate})
                    words = "The database refuses this item; what it holds cannot be stored."
                    rows[0].result = Result(
                        status="refused", problem=as_problem(Invalid(words, code="item.unstorable"))
                    )
                    return None
                middle = len(rows) // 2
                await self._write(rows[:middle], connection)
                return await self._write(rows[middle:], connection)
        return None

    async def _claim_keys(self, connection: AsyncConnection, jobs: Sequence[Job]) -> list[Job]:
        """Write the Idempotency-Keys down; those that stood for another body are refused. Gives the jobs that go on.

        A commit of its own: should the items then fail, the same body under the same key writes them the next time.
        """
        go_on = []
        for job in jobs:
            keyed = job.keyed
            if keyed is not None:
                values = [job.project, keyed.test, keyed.operation, keyed.key, keyed.body]
                found = await (await connection.execute(CLAIM, values)).fetchone()
                if found is not None and found[0] != keyed.body:
                    job.done.set_exception(other_body(keyed.key))
                    job.done.exception()
                    continue
            go_on.append(job)
        return go_on


CLAIM = """
    WITH mine (project_id, test, operation, key, body) AS (VALUES (%s::uuid, %s::bool, %s, %s, %s::uuid)), new AS (
        INSERT INTO annotation_keyedrequest (id, project_id, test, operation, key, body)
        SELECT uuidv7(), * FROM mine ON CONFLICT (project_id, test, operation, key) DO NOTHING RETURNING body
    )
    SELECT body::text FROM new UNION ALL
    SELECT k.body::text FROM annotation_keyedrequest k JOIN mine USING (project_id, test, operation, key)
"""


def other_body(key: str) -> RedpenError:
    words = f"The Idempotency-Key '{key[:60]}' has already brought another body. Use a new key for a new request."
    return Invalid(words, code="idempotency.other_content", data={"key": key})


class Connector:
    """Connections to Django's database, for writing: a commit that returned is on disk."""

    def __init__(self, settings_dict: dict[str, Any]) -> None:
        about = {
            "host": settings_dict["HOST"],
            "port": settings_dict["PORT"],
            "dbname": settings_dict["NAME"],
            "user": settings_dict["USER"],
            "password": settings_dict["PASSWORD"],
        }
        ssl = {name: value for name, value in settings_dict.get("OPTIONS", {}).items() if name.startswith("ssl")}
        self.about: dict[str, Any] = {name: value for name, value in about.items() if value} | {
            **ssl,
            "autocommit": True,
            "prepare_threshold": 0,
            "connect_timeout": 5,
            "application_name": "redpen intake",
            "options": "-c synchronous_commit=on -c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s",
        }

    async def __call__(self) -> AsyncConnection:
        return await AsyncConnection.connect(**self.about)
