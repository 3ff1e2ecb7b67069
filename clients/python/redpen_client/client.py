"""The two clients. Writes go through one buffer and one thread (`delivery`), reads straight to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from redpen_client.delivery import Delivery, Refusal, Settings, Stats
from redpen_client.errors import Problem
from redpen_client.items import Item
from redpen_client.reading import AsyncReader, Object, Reader, one
from redpen_client.transport import Transport
from redpen_client.writing import FeedbackWriter, ReactionWriter, ResponseWriter

LOOK_AGAIN = 0.02  # seconds between two looks for room in the buffer, where a loop must not be held up


class Responses(ResponseWriter[str]):
    """Send answers, read them back."""

    def __init__(self, put: Callable[[Item], str], reader: Reader) -> None:
        super().__init__(put)
        self._reader = reader

    def get(self, id: str) -> Object:
        """One answer by our id or yours."""
        found: Object = self._reader.get(one("responses", id))
        return found

    def list(self, **filters: Any) -> Iterator[Object]:
        """All that the filters let through, page after page."""
        return self._reader.pages("/responses", **filters)


class Reactions(ReactionWriter[None]):
    """Send reactions, read them back."""

    def __init__(self, put: Callable[[Item], None], reader: Reader) -> None:
        super().__init__(put)
        self._reader = reader

    def list(self, **filters: Any) -> Iterator[Object]:
        """All that the filters let through, page after page."""
        return self._reader.pages("/reactions", **filters)


class AsyncResponses(ResponseWriter[Awaitable[str]]):
    """Send answers, read them back."""

    def __init__(self, put: Callable[[Item], Awaitable[str]], reader: AsyncReader) -> None:
        super().__init__(put)
        self._reader = reader

    async def get(self, id: str) -> Object:
        """One answer by our id or yours."""
        found: Object = await self._reader.get(one("responses", id))
        return found

    def list(self, **filters: Any) -> AsyncIterator[Object]:
        """All that the filters let through, page after page."""
        return self._reader.pages("/responses", **filters)


class AsyncReactions(ReactionWriter[Awaitable[None]]):
    """Send reactions, read them back."""

    def __init__(self, put: Callable[[Item], Awaitable[None]], reader: AsyncReader) -> None:
        super().__init__(put)
        self._reader = reader

    def list(self, **filters: Any) -> AsyncIterator[Object]:
        """All that the filters let through, page after page."""
        return self._reader.pages("/reactions", **filters)


def exporting(filters: Object, format: str, types: Sequence[str]) -> Object:
    return {**filters, "format": format, "types": ",".join(types) or None}


class _Buffered:
    """What both clients share: how they are set up, and the buffer."""

    def __init__(
        self,
        endpoint: str,
        key: str,
        *,
        flush_interval: float = 0.5,
        batch_items: int = 200,
        batch_bytes: int = 1_000_000,
        buffer_items: int = 10_000,
        buffer_bytes: int = 32_000_000,
        block_timeout: float = 0.0,
        close_timeout: float = 10.0,
        timeout: float = 10.0,
        on_refused: Callable[[Refusal], None] | None = None,
        spool_dir: str | Path | None = None,
        spool_bytes: int = 256_000_000,
    ) -> None:
        """`endpoint` is the server's address, `key` one of the project's.

        An item waits up to `flush_interval` seconds for company. When the buffer is full, `send` waits up to
        `block_timeout` seconds for room and then drops the item and counts it. `close` (also at exit) sends what waits
        for `close_timeout` seconds at most. `timeout` is for one request. `on_refused` is called, in the sending
        thread, with each item that the server will never take. With `spool_dir`, unsent items are kept there too.
        """
        settings = Settings(
            flush_interval=flush_interval,
            batch_items=batch_items,
            batch_bytes=batch_bytes,
            buffer_items=buffer_items,
            buffer_bytes=buffer_bytes,
            block_timeout=block_timeout,
            close_timeout=close_timeout,
            on_refused=on_refused,
        )
        spool = None if spool_dir is None else (spool_dir, spool_bytes)
        self._delivery = Delivery(Transport(endpoint, key, timeout=timeout), settings, spool)
        self._open(endpoint, key, timeout)

    def _open(self, endpoint: str, key: str, timeout: float) -> None:
        raise NotImplementedError

    @property
    def dropped(self) -> int:
        """Items that were lost here: no room, or no time left at the end. The server is told with the next batch."""
        return self._delivery.count().dropped

    @property
    def stats(self) -> Stats:
        """What became of the items so far."""
        return self._delivery.count()

    @property
    def problem(self) -> Problem | None:
        """Why nothing can be sent just now (a wrong or revoked key, say); None when all is well."""
        return self._delivery.problem


class Client(_Buffered):
    """Thread-safe; make one for the life of the process. Sends in the background, and what waits when Python exits."""

    def _open(self, endpoint: str, key: str, timeout: float) -> None:
        self._reader = Reader(endpoint, key, timeout=timeout)
        self.responses = Responses(self._named, self._reader)
        self.reactions = Reactions(self._put, self._reader)
        self.feedback: FeedbackWriter[str] = FeedbackWriter(self._named)

    def records(self, **filters: Any) -> Iterator[Object]:
        """What people said, of all kinds, page after page."""
        return self._reader.pages("/records", **filters)

    def rates(self, **filters: Any) -> Object:
        """Reactions by kind, with intervals, by model version and time."""
        found: Object = self._reader.get("/rates", **filters)
        return found

    def export(self, *, types: Sequence[str] = (), **filters: Any) -> Iterator[Object]:
        """Everything, or some types, as a stream."""
        return self._reader.lines("/export", **exporting(filters, "ndjson", types))

    def export_to(
        self, path: str | Path, *, format: str = "parquet", types: Sequence[str] = (), **filters: Any
    ) -> Path:
        """Everything, or some types, into a file."""
        return self._reader.download("/export", path, **exporting(filters, format, types))

    def flush(self, timeout: float | None = 30.0) -> bool:
        """Send what waits, now. False: some is left when the time is up, or `problem` says why nothing goes."""
        return self._delivery.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Send what waits, then end. False: not all could be sent; it is in the spool, or dropped and counted."""
        sent = self._delivery.close(timeout)
        self._reader.close()
        return sent

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, item: Item) -> None:
        self._delivery.put(item)

    def _named(self, item: Item) -> str:
        self._delivery.put(item)
        return item.id or ""


class AsyncClient(_Buffered):
    """For event loops: `send` never holds up the loop, reads are asynchronous. A thread sends all the same, so what
    waits goes out when the loop has ended.
    """

    def _open(self, endpoint: str, key: str, timeout: float) -> None:
        self._reader = AsyncReader(endpoint, key, timeout=timeout)
        self.responses = AsyncResponses(self._named, self._reader)
        self.reactions = AsyncReactions(self._put, self._reader)
        self.feedback: FeedbackWriter[Awaitable[str]] = FeedbackWriter(self._named)

    def records(self, **filters: Any) -> AsyncIterator[Object]:
        """What people said, of all kinds, page after page."""
        return self._reader.pages("/records", **filters)

    async def rates(self, **filters: Any) -> Object:
        """Reactions by kind, with intervals, by model version and time."""
        found: Object = await self._reader.get("/rates", **filters)
        return found

    def export(self, *, types: Sequence[str] = (), **filters: Any) -> AsyncIterator[Object]:
        """Everything, or some types, as a stream."""
        return self._reader.lines("/export", **exporting(filters, "ndjson", types))

    async def export_to(
        self, path: str | Path, *, format: str = "parquet", types: Sequence[str] = (), **filters: Any
    ) -> Path:
        """Everything, or some types, into a file."""
        return await self._reader.download("/export", path, **exporting(filters, format, types))

    async def flush(self, timeout: float | None = 30.0) -> bool:
        """Send what waits, now. False: some is left when the time is up, or `problem` says why nothing goes."""
        return await asyncio.to_thread(self._delivery.flush, timeout)

    async def close(self, timeout: float | None = None) -> bool:
        """Send what waits, then end. False: not all could be sent; it is in the spool, or dropped and counted."""
        sent = await asyncio.to_thread(self._delivery.close, timeout)
        await self._reader.close()
        return sent

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _put(self, item: Item) -> None:
        deadline = monotonic() + self._delivery.settings.block_timeout
        while not self._delivery.offer(item, last=monotonic() >= deadline):
            if monotonic() >= deadline:
                return
            await asyncio.sleep(LOOK_AGAIN)

    async def _named(self, item: Item) -> str:
        await self._put(item)
        return item.id or ""
