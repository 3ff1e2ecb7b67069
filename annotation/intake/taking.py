"""From a body to rows that are committed, and to a reply: one item, or many in parts."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from annotation.intake.directory import Directory, Key
from annotation.intake.limits import Limits
from annotation.intake.problems import as_problem, misfit, unreadable
from annotation.intake.reading import check_depth, check_numbers
from annotation.intake.replies import encoder
from annotation.intake.shapes import Result
from annotation.intake.turns import LIGHT, Turns
from annotation.intake.writer import Job, Keyed, Row, Writer
from redpen.accounts.errors import Invalid, RedpenError, TooLarge

PART, SHARED_PART = 500, 200  # rows that go to the writer together
SLICE, SHARED_SLICE = 250, 40  # items that are checked between two looks at other requests
AHEAD = 4  # parts of one request that may wait for their commit


@dataclass(frozen=True)
class Operation:
    """One kind of thing that is sent here."""

    name: str
    scope: str
    decode: Callable[[Any], Any]
    check: Callable[..., Awaitable[Row]]
    store: Callable[..., Awaitable[None]]
    # whether there is JSON of the caller's own shape in it, whose depth and numbers no type bounds
    is_free: Callable[[Any], bool]


class Refused(RedpenError):
    """A lone item's result, as the error that it is."""

    def __init__(self, result: Result) -> None:
        problem = result.problem
        assert problem is not None
        faults = [msgspec.to_builtins(fault) for fault in problem.problems]
        super().__init__(problem.detail, code=problem.code, problems=faults)
        self.status, self.title = problem.status, problem.title


@dataclass(slots=True, eq=False)
class Part:
    """Some of a request's items, in their order: what was refused at once, and rows on their way."""

    fates: list[Result | Row] = field(default_factory=list)
    job: Job | None = None
    error: RedpenError | None = None  # that kept its rows from being written


@dataclass(slots=True, eq=False)
class BatchReply:
    """A BatchResult (annotation.intake.shapes) whose results are JSON already: a hundred thousand of them are no small
    thing to keep as objects."""

    counts: dict[str, int] = field(default_factory=lambda: {"stored": 0, "repeated": 0, "refused": 0, "retry": 0})
    problems: Counter[tuple[str, str]] = field(default_factory=Counter)  # (status, code)
    results: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return 200 if self.counts["refused"] == self.counts["retry"] == 0 else 207

    def add(self, fates: list[Any]) -> None:
        for fate in fates:
            self.counts[fate.status] += 1
            if fate.problem is not None:
                self.problems[fate.status, fate.problem.code] += 1
        if fates:
            self.results.append(encoder.encode(fates)[1:-1])

    def body(self) -> list[bytes]:
        """The JSON, in pieces."""
        pieces = [encoder.encode(self.counts)[:-1] + b',"results":[']
        for place, some in enumerate(self.results):
            pieces.append(b"," + some if place else some)
        pieces.append(b"]}")
        return pieces


class Taker:
    """What takes items in, for all requests of a process."""

    def __init__(self, limits: Limits, directory: Directory, turns: Turns, writers: dict[str, Writer]) -> None:
        self.limits, self.directory, self.turns, self.writers = limits, directory, turns, writers

    async def one(self, operation: Operation, key: Key, body: Any, keyed: Keyed | None) -> tuple[Result, int]:
        """A lone item and the status of its reply. Raises RedpenError when it is refused."""
        writer = self.writers[operation.name]
        name = keyed.key if keyed else None
        if self.turns.shared and writer.open.get(key.project, 0) >= LIGHT:
            await self.turns.take(key.project)
            try:
                row = await self._check(operation, key, body, name)
            finally:
                self.turns.give()
        else:
            row = await self._check(operation, key, body, name)
        await writer.write(Job(project=key.project, rows=(row,), size=len(row.json), keyed=keyed))
        result = row.result
        assert result is not None
        if result.problem is not None:
            raise Refused(result)
        return result, 201 if result.status == "stored" else 200

    async def many(self, operation: Operation, key: Key, items: Iterator[Any], keyed: Keyed | None) -> BatchReply:
        """One result for each item. Raises RedpenError when nothing could be written at all."""
        writer = self.writers[operation.name]
        reply = BatchReply()
        waiting: deque[Part] = deque()
        written, failure = 0, None
        place, more = 0, True
        while more or waiting:
            if more:
                part, more = await self._check_part(operation, key, items, keyed, place)
                place += len(part.fates)
                self._hand_over(writer, key, part, keyed)
                waiting.append(part)
            if waiting and (not more or len(waiting) >= AHEAD):  # what is ahead of the commits stays small
                part = waiting.popleft()
                await self._settle(part, reply)
                written += part.job is not None and part.error is None
                failure = failure or part.error
        if failure is not None and not written:
            raise failure
        return reply

    async def _check_part(
        self, operation: Operation, key: Key, items: Iterator[Any], keyed: Keyed | None, place: int
    ) -> tuple[Part, bool]:
        """The next items as a part, and whether there may be more."""
        part = Part()
        size, slice_size = (SHARED_PART, SHARED_SLICE) if self.turns.shared else (PART, SLICE)
        while len(part.fates) < size:
            await self.turns.take(key.project)
            try:
                before = len(part.fates)
                for item in islice(items, min(slice_size, size - before)):
                    try:
                        name = f"{keyed.key}/{place + len(part.fates)}" if keyed else None
                        part.fates.append(await self._check(operation, key, item, name))
                    except RedpenError as error:
                        part.fates.append(Result("refused", problem=as_problem(error)))
            finally:
                self.turns.give()
            if len(part.fates) - before < min(slice_size, size - before):
                return part, False
        return part, True

    def _hand_over(self, writer: Writer, key: Key, part: Part, keyed: Keyed | None) -> None:
        rows = [fate for fate in part.fates if isinstance(fate, Row)]
        if not rows:
            return
        part.job = Job(project=key.project, rows=rows, size=sum(len(row.json) for row in rows), keyed=keyed)
        try:
            writer.put(part.job)
        except RedpenError as error:
            part.error = error

    async def _settle(self, part: Part, reply: BatchReply) -> None:
        """Wait for the part's commit and add its results. What was not written is to be sent again."""
        if part.job is not None and part.error is None:
            try:
                await asyncio.shield(part.job.done)
            except Invalid:
                raise  # the whole request is something else than what came under its key before
            except RedpenError as error:
                part.error = error
        problem = as_problem(part.error) if part.error else None
        fates = []
        for fate in part.fates:
            if isinstance(fate, Row):
                again = Result("retry", external_id=fate.external_id, problem=problem) if problem else None
                fates.append(again or fate.result)
            else:
                fates.append(fate)
        reply.add(fates)

    async def _check(self, operation: Operation, key: Key, item: Any, name: str | None) -> Row:
        if len(item) > self.limits.item_bytes:
            most = self.limits.item_bytes // 1024
            raise TooLarge(
                f"One item has at most {most} kB, not {len(item) // 1024}.", data={"most_bytes": most * 1024}
            )
        try:
            decoded = operation.decode(item)
            if operation.is_free(decoded):
                check_numbers(item)
                check_depth(item)
        except msgspec.ValidationError as error:
            raise misfit(error) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise unreadable(error) from None
        return await operation.check(decoded, key, self.directory, name=name)
