"""The HTTP of the hot path, as a bare ASGI application: keys, bodies, replies, CORS. Anything else falls through."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from hashlib import md5
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from psycopg_pool import AsyncConnectionPool

from annotation.intake import answers, events, taking_back
from annotation.intake.directory import Directory, Key
from annotation.intake.limits import Buckets, Limits
from annotation.intake.problems import StillRunning, WrongKey, WrongOrigin
from annotation.intake.reading import CallerLeft, Ledger, begins_array, is_lines, lines_in, read_body, split_array
from annotation.intake.replies import TAKE_BACK, encoder, preflight, respond, respond_error
from annotation.intake.shapes import ReactionIn, ResponseIn, Result
from annotation.intake.taking import BatchReply, Operation, Taker
from annotation.intake.tally import Tally
from annotation.intake.turns import Turns
from annotation.intake.writer import Connector, Keyed, Writer
from redpen.accounts.errors import Broken, Invalid, RedpenError, TooLarge, TooMany, Unavailable

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UPKEEP_SECONDS = 5
MOST_REQUESTS = 1000  # of a project at the same time
COUNTED = 20_000  # lines between two looks at other requests


OPERATIONS = {
    "/api/v1/responses": Operation(
        "responses",
        "responses.write",
        msgspec.json.Decoder(ResponseIn).decode,
        answers.check,
        answers.store,
        is_free=lambda answer: True,
    ),
    "/api/v1/reactions": Operation(
        "reactions",
        "reactions.write",
        msgspec.json.Decoder(ReactionIn).decode,
        events.check,
        events.store,
        is_free=lambda reaction: bool(reaction.metadata),
    ),
}


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way. `items` is how many things it brings, as far as is known."""

    operation: Operation
    key: Key
    scope: Scope
    headers: dict[bytes, bytes]
    body: bytes | bytearray = b""
    items: int = 1


class Intake:
    """Wraps the application that answers everything else."""

    def __init__(self, beyond: Application, settings_dict: Callable[[], dict[str, Any]]) -> None:
        self.beyond, self.settings_dict = beyond, settings_dict
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """In the running loop, on the first request: nothing is connected before it is needed."""
        self.loop = asyncio.get_running_loop()
        gc.collect()
        gc.freeze()  # half a million objects of Django and its like: not to be looked through in the middle of requests
        self.limits = Limits()
        self.ledger = Ledger(self.limits.waiting_bytes * 2)
        self.buckets = Buckets()
        self.tally = Tally()
        self.turns = Turns()
        self.present: Counter[str] = Counter()  # requests of each project
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
            operation.name: Writer(
                self.connect, operation.store, self.limits, self.limits.writers, lambda: self.turns.shared
            )
            for operation in OPERATIONS.values()
        }
        self.taker = Taker(self.limits, self.directory, self.turns, self.writers)
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
                await respond(send, 200, [encoder.encode(reply)], origin)
            else:
                key = await self._key(scope, headers, operation.scope)
                reply, status = await self._receive(operation, key, scope, receive, headers)
                body = reply.body() if isinstance(reply, BatchReply) else [encoder.encode(reply)]
                await respond(send, status, body, origin)
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
    ) -> tuple[Result | BatchReply, int]:
        """Read the body and take it in; what becomes of it is counted."""
        dropped = headers.get(b"redpen-dropped", b"")
        if dropped.isdigit() and len(dropped) < 10:
            self.tally.add(key, operation.name, "dropped", count=int(dropped))
        request = Request(operation, key, scope, headers)
        self.turns.note(key.project)
        self.present[key.project] += 1
        held = 0
        try:
            if self.present[key.project] > MOST_REQUESTS:
                words = f"This project has {MOST_REQUESTS} requests under way. Send it again when some are answered."
                raise TooMany(words, retry_after=1)
            request.body = await read_body(receive, headers, self.limits, self.ledger, self.turns, key.project)
            held = len(request.body)
            reply, status = await self._take(request)
        except RedpenError as error:
            self.tally.error(key, operation.name, error, request.items)
            raise
        finally:
            self.ledger.held -= held
            self.present[key.project] -= 1
            if not self.present[key.project]:
                del self.present[key.project]
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

    async def _take(self, request: Request) -> tuple[Result | BatchReply, int]:
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

    async def _take_items(self, request: Request, keyed: Keyed | None) -> tuple[Result | BatchReply, int]:
        operation, key, body = request.operation, request.key, request.body
        if is_lines(request.headers):
            request.items = await self._count_lines(key, body)
            items: Iterator[Any] = lines_in(body)
        elif begins_array(body):
            split = await split_array(body, self.limits.batch_items, self.turns, key.project)
            request.items, items = len(split), iter(split)
            self._refuse_more(request.items, self.limits.batch_items, "items in one array; NDJSON takes more")
        else:
            self._meter(request.scope, key, 1)
            return await self.taker.one(operation, key, body, keyed)
        self._meter(request.scope, key, request.items)
        reply = await self.taker.many(operation, key, items, keyed)
        return reply, reply.status

    async def _count_lines(self, key: Key, body: bytes | bytearray) -> int:
        count, lines = 0, lines_in(body)
        while True:
            await self.turns.take(key.project)
            some = sum(1 for _ in islice(lines, COUNTED))
            self.turns.give()
            count += some
            self._refuse_more(count, self.limits.line_items, "lines of NDJSON")
            if some < COUNTED:
                return count

    def _refuse_more(self, count: int, most: int, how: str) -> None:
        if count > most:
            raise TooLarge(f"There are {count} items; this takes {most} {how}.", data={"most_items": most})


def keyed_request(operation: Operation, key: Key, headers: dict[bytes, bytes], body: bytes | bytearray) -> Keyed | None:
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    name = given.decode("latin-1")
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise Invalid("Idempotency-Key has 1 to 100 printable characters.", code="idempotency.bad_key")
    digest = md5(body, usedforsecurity=False).hexdigest()
    uuid = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
    return Keyed(operation=operation.name, key=name, body=uuid, test=key.test)
