"""The HTTP of the hot path, as a bare ASGI application: keys, bodies, replies, CORS. Anything else falls through."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from psycopg_pool import AsyncConnectionPool

from annotation.intake import answers, events, taking_back
from annotation.intake.directory import Directory, Key
from annotation.intake.limits import Buckets, Limits
from annotation.intake.problems import StillRunning, WrongKey, WrongOrigin, as_problem, misfit, unreadable
from annotation.intake.reading import CallerLeft, Ledger, check_depth, check_numbers, is_lines, read_body
from annotation.intake.replies import TAKE_BACK, encoder, preflight, respond, respond_error
from annotation.intake.shapes import BatchResult, ReactionIn, ResponseIn, Result
from annotation.intake.tally import Tally
from annotation.intake.writer import Connector, Job, Keyed, Row, Writer
from redpen.accounts.errors import Broken, Invalid, RedpenError, TooLarge, TooMany, Unavailable

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UPKEEP_SECONDS = 5
PART = 500  # items that are checked between two looks at other requests


@dataclass(frozen=True)
class Operation:
    """One kind of thing that is sent here."""

    name: str
    scope: str
    decode: Callable[[Any], Any]
    check: Callable[..., Awaitable[Row]]
    store: Callable[..., Awaitable[None]]


OPERATIONS = {
    "/api/v1/responses": Operation(
        "responses", "responses.write", msgspec.json.Decoder(ResponseIn).decode, answers.check, answers.store
    ),
    "/api/v1/reactions": Operation(
        "reactions", "reactions.write", msgspec.json.Decoder(ReactionIn).decode, events.check, events.store
    ),
}


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way. `items` is how many things it brings, as far as is known."""

    operation: Operation
    key: Key
    scope: Scope
    headers: dict[bytes, bytes]
    body: bytes = b""
    items: int = 1


split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Intake:
    """Wraps the application that answers everything else."""

    def __init__(self, beyond: Application, settings_dict: Callable[[], dict[str, Any]]) -> None:
        self.beyond, self.settings_dict = beyond, settings_dict
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """In the running loop, on the first request: nothing is connected before it is needed."""
        self.loop = asyncio.get_running_loop()
        self.limits = Limits()
        self.ledger = Ledger(self.limits.waiting_bytes * 2)
        self.buckets = Buckets()
        self.tally = Tally()
        self.running: set[tuple[str, bool, str, str]] = set()
        self.connect = Connector(self.settings_dict())
        self.pool = AsyncConnectionPool(
            kwargs=self.connect.about,
            min_size=1,
            max_size=4,
            timeout=5,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )
        await self.pool.open(wait=False)
        self.directory = Directory(self.pool)
        self.writers = {
            operation.name: Writer(self.connect, operation.store, self.limits, self.limits.writers)
            for operation in OPERATIONS.values()
        }
        for writer in self.writers.values():
            writer.start()
        self.upkeep = asyncio.create_task(self._keep_up(), name="intake-upkeep")

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            try:
                await self.tally.write(self.pool)
                await self.directory.note_use()
            except Exception as error:
                log.warning("intake.not_noted", extra={"error": type(error).__name__})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.beyond(scope, receive, send)
        path, method = scope["path"], scope["method"]
        operation = OPERATIONS.get(path)
        takes_back = operation is None and method in ("DELETE", "OPTIONS") and path.startswith(TAKE_BACK)
        if takes_back or (operation is not None and method in ("POST", "OPTIONS")):
            if method == "OPTIONS":
                return await preflight(scope, send)
            if self.loop is not asyncio.get_running_loop():
                await self.start()
            return await self._answer(scope, receive, send, operation)
        return await self.beyond(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, operation: Operation | None) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin")
        try:
            if operation is None:
                key = await self._key(scope, headers, "reactions.write")
                name = unquote(scope["path"][len(TAKE_BACK) :])
                reply: Any = await taking_back.take_back(self.pool, key, name)
                await respond(send, 200, encoder.encode(reply), origin)
            else:
                key = await self._key(scope, headers, operation.scope)
                reply, status = await self._receive(operation, key, scope, receive, headers)
                await respond(send, status, encoder.encode(reply), origin)
        except CallerLeft:
            return
        except RedpenError as error:
            await respond_error(send, error, origin)
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.startswith("psycopg"):
                log.warning("intake.no_database", extra={"error": type(error).__name__})
                words = "The database does not answer just now. Send it again shortly."
                await respond_error(send, Unavailable(words, retry_after=1), origin)
            else:
                log.exception("intake.broken")
                await respond_error(send, Broken("This is a fault of ours. Send it again; nothing is doubled."), origin)

    async def _receive(
        self, operation: Operation, key: Key, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> tuple[Result | BatchResult, int]:
        """Read the body and take it in; what becomes of it is counted."""
        dropped = headers.get(b"redpen-dropped", b"")
        if dropped.isdigit() and len(dropped) < 10:
            self.tally.add(key, operation.name, "dropped", count=int(dropped))
        request = Request(operation, key, scope, headers)
        held = 0
        try:
            request.body = await read_body(receive, headers, self.limits, self.ledger)
            held = len(request.body)
            reply, status = await self._take(request)
        except RedpenError as error:
            self.tally.error(key, operation.name, error, request.items)
            raise
        finally:
            self.ledger.held -= held
        self.tally.reply(key, operation.name, reply)
        return reply, status

    async def _key(self, scope: Scope, headers: dict[bytes, bytes], needs: str) -> Key:
        """The key of a request; raises WrongKey, ScopeMissing, or WrongOrigin for a page that may not use it."""
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        by_query = not token and b"key=" in scope["query_string"]
        if by_query:
            token = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        elif kind.lower() != "bearer" or not token:
            raise WrongKey("Send a key: `Authorization: Bearer rp_...`. The project's settings make one.")
        key = await self.directory.key(token.strip(), needs)
        if by_query and not key.public:
            raise WrongKey(
                "Only a public key may stand in an address. Send this one as `Authorization: Bearer rp_...`."
            )
        if key.public:
            origin = headers.get(b"origin", b"").decode("latin-1")
            if origin not in key.origins:
                whose = origin[:80] or "nowhere"
                raise WrongOrigin(f"Pages of {whose} may not use this key. Add the origin in the project's settings.")
        return key

    def _meter(self, scope: Scope, key: Key, count: int) -> None:
        if not key.per_minute:
            return
        address = (scope.get("client") or ("",))[0] if key.public else ""
        wait = self.buckets.wait((key.id, address), count, key.per_minute)
        if wait:
            seconds = math.ceil(wait)
            words = f"This key takes {key.per_minute} records a minute. Send it again in {seconds} s."
            raise TooMany(words, retry_after=seconds)

    async def _take(self, request: Request) -> tuple[Result | BatchResult, int]:
        key = request.key
        keyed = keyed_request(request.operation, key, request.headers, request.body)
        if keyed is None:
            return await self._take_items(request, None)
        running = (key.project, key.test, keyed.operation, keyed.key)
        if running in self.running:
            raise StillRunning("The first request under this Idempotency-Key is still running. Ask again in a moment.")
        self.running.add(running)
        try:
            return await self._take_items(request, keyed)
        finally:
            self.running.discard(running)

    async def _take_items(self, request: Request, keyed: Keyed | None) -> tuple[Result | BatchResult, int]:
        operation, key, body = request.operation, request.key, request.body
        lines = is_lines(request.headers)
        if not lines and body.lstrip(b" \t\r\n")[:1] != b"[":
            self._meter(request.scope, key, 1)
            return await self._take_one(operation, key, body, keyed)
        items: list[Any] = [line for line in body.split(b"\n") if line.strip()] if lines else self._split(body)
        request.items = len(items)
        most = self.limits.line_items if lines else self.limits.batch_items
        if len(items) > most:
            how = "lines of NDJSON" if lines else "items in one array; NDJSON takes more"
            raise TooLarge(f"There are {len(items)} items; this takes {most} {how}.", data={"most_items": most})
        self._meter(request.scope, key, len(items))
        return await self._take_many(operation, key, items, keyed)

    def _split(self, body: bytes) -> list[Any]:
        try:
            return split_array(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(error) from None

    async def _take_one(self, operation: Operation, key: Key, body: bytes, keyed: Keyed | None) -> tuple[Result, int]:
        row = await self._check(operation, key, body, keyed.key if keyed else None)
        job = Job(project=key.project, rows=(row,), size=len(row.json), keyed=keyed)
        await self.writers[operation.name].write(job)
        result = row.result
        assert result is not None
        if result.problem is not None:
            raise Refused(result)
        return result, 201 if result.status == "stored" else 200

    async def _take_many(
        self, operation: Operation, key: Key, items: Sequence[Any], keyed: Keyed | None
    ) -> tuple[BatchResult, int]:
        results: list[Result | Row] = []
        waiting: list[tuple[Job, asyncio.Task[None]]] = []
        writer = self.writers[operation.name]
        for start in range(0, len(items), PART):
            rows: list[Row] = []
            for place, item in enumerate(items[start : start + PART], start):
                try:
                    row = await self._check(operation, key, item, f"{keyed.key}/{place}" if keyed else None)
                except RedpenError as error:
                    results.append(Result("refused", problem=as_problem(error)))
                else:
                    rows.append(row)
                    results.append(row)
            if rows:
                job = Job(project=key.project, rows=rows, size=sum(len(row.json) for row in rows), keyed=keyed)
                waiting.append((job, asyncio.create_task(writer.write(job))))
            if len(waiting) >= 4:  # what is ahead of the commits stays small, and others get their turn
                await asyncio.wait([waiting[-4][1]])
            elif len(items) > PART:
                await asyncio.sleep(0)
        failures = await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
        self._hear_failures(waiting, failures)
        fates = [fate.result if isinstance(fate, Row) else fate for fate in results]
        counts = {"stored": 0, "repeated": 0, "refused": 0, "retry": 0}
        for fate in fates:
            counts[fate.status] += 1  # type: ignore[union-attr]
        whole = counts["refused"] == counts["retry"] == 0
        return BatchResult(**counts, results=fates), 200 if whole else 207  # type: ignore[arg-type]

    def _hear_failures(self, waiting: Sequence[tuple[Job, Any]], failures: Sequence[BaseException | None]) -> None:
        """Items of a part that was not written are to be sent again; where no part was, the whole request failed."""
        failed = [error for error in failures if error is not None]
        for error in failed:
            if not isinstance(error, RedpenError) or (len(failed) == len(failures)) or isinstance(error, Invalid):
                raise error
        for (job, _), error in zip(waiting, failures, strict=True):
            if isinstance(error, RedpenError):
                problem = as_problem(error)
                for row in job.rows:
                    row.result = Result("retry", external_id=row.external_id, problem=problem)

    async def _check(self, operation: Operation, key: Key, item: Any, name: str | None) -> Row:
        if len(item) > self.limits.item_bytes:
            most = self.limits.item_bytes // 1024
            raise TooLarge(
                f"One item has at most {most} kB, not {len(item) // 1024}.", data={"most_bytes": most * 1024}
            )
        try:
            decoded = operation.decode(item)
            check_numbers(item)
            check_depth(item)
        except msgspec.ValidationError as error:
            raise misfit(error) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(error) from None
        return await operation.check(decoded, key, self.directory, name=name)


class Refused(RedpenError):
    """A lone item's result, as the error that it is."""

    def __init__(self, result: Result) -> None:
        problem = result.problem
        assert problem is not None
        faults = [msgspec.to_builtins(fault) for fault in problem.problems]
        super().__init__(problem.detail, code=problem.code, problems=faults)
        self.status, self.title = problem.status, problem.title


def keyed_request(operation: Operation, key: Key, headers: dict[bytes, bytes], body: bytes) -> Keyed | None:
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    name = given.decode("latin-1")
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise Invalid("Idempotency-Key has 1 to 100 printable characters.", code="idempotency.bad_key")
    digest = md5(body, usedforsecurity=False).hexdigest()
    uuid = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
    return Keyed(operation=operation.name, key=name, body=uuid, test=key.test)
