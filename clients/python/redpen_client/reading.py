"""Reading back: lists by cursor, rates, the export as a stream. Filters are the API's own (docs/api.md)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from redpen_client.errors import ApiError, Away, Problem
from redpen_client.transport import address, headers, retry_after

TRIES = 4
COME_AGAIN = {429, 502, 503, 504}
Object = dict[str, Any]


def parameters(filters: Object) -> dict[str, str | list[str]]:
    """As the query holds them; what is None is left out, a list repeats its name."""
    return {name: plain(value) for name, value in filters.items() if value is not None}


def plain(value: Any) -> str | list[str]:
    if isinstance(value, (list, tuple)):
        return [str(plain(one)) for one in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def wait_before(attempt: int, reply: httpx.Response | None) -> float:
    told = retry_after(reply) if reply is not None else None
    return max(told or 0.0, random.uniform(0.25, 0.5) * float(2**attempt))


def answer_of(reply: httpx.Response) -> Any:
    if reply.is_success:
        return reply.json()
    raise ApiError(Problem.of_reply(reply))


@contextmanager
def reaching(http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise Away(f"{http.base_url} cannot be reached, or broke off: {error}") from error


def lines_of(line: str) -> Iterator[Object]:
    if line.strip():
        yield json.loads(line)


class Reader:
    """Asks, and asks again when the server is busy or away."""

    def __init__(self, endpoint: str, key: str, *, timeout: float) -> None:
        self.http = httpx.Client(base_url=f"{address(endpoint)}/api/v1", headers=headers(key), timeout=timeout)

    def get(self, path: str, **filters: Any) -> Any:
        """The JSON of one answer. Raises ApiError, or Away after some tries."""
        return answer_of(self._asked(path, filters))

    def pages(self, path: str, **filters: Any) -> Iterator[Object]:
        """All items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **{**filters, "cursor": cursor or filters.get("cursor")})
            yield from page["items"]
            cursor = page["next"]
            if not cursor:
                return

    def lines(self, path: str, **filters: Any) -> Iterator[Object]:
        """A stream of JSON lines. Raises Away where it breaks off; it is not begun again."""
        with reaching(self.http), self.http.stream("GET", path, params=parameters(filters)) as reply:
            if not reply.is_success:
                reply.read()
                answer_of(reply)
            for line in reply.iter_lines():
                yield from lines_of(line)

    def download(self, path: str, to: str | Path, **filters: Any) -> Path:
        """Into a file, which is there whole or not at all."""
        draft = Path(f"{to}.part")
        with reaching(self.http), self.http.stream("GET", path, params=parameters(filters)) as reply:
            if not reply.is_success:
                reply.read()
                answer_of(reply)
            with draft.open("wb") as file:
                for chunk in reply.iter_bytes():
                    file.write(chunk)
        return draft.replace(to)

    def close(self) -> None:
        self.http.close()

    def _asked(self, path: str, filters: Object) -> httpx.Response:
        for attempt in range(TRIES):
            reply: httpx.Response | None = None
            try:
                reply = self.http.get(path, params=parameters(filters))
                if reply.status_code not in COME_AGAIN or attempt == TRIES - 1:
                    return reply
            except httpx.TransportError as error:
                if attempt == TRIES - 1:
                    raise Away(f"{self.http.base_url} cannot be reached: {error}") from error
            time.sleep(wait_before(attempt, reply))
        raise AssertionError("not reached")


class AsyncReader:
    """The same for event loops."""

    def __init__(self, endpoint: str, key: str, *, timeout: float) -> None:
        self.http = httpx.AsyncClient(base_url=f"{address(endpoint)}/api/v1", headers=headers(key), timeout=timeout)

    async def get(self, path: str, **filters: Any) -> Any:
        """The JSON of one answer. Raises ApiError, or Away after some tries."""
        return answer_of(await self._asked(path, filters))

    async def pages(self, path: str, **filters: Any) -> AsyncIterator[Object]:
        """All items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = await self.get(path, **{**filters, "cursor": cursor or filters.get("cursor")})
            for item in page["items"]:
                yield item
            cursor = page["next"]
            if not cursor:
                return

    async def lines(self, path: str, **filters: Any) -> AsyncIterator[Object]:
        """A stream of JSON lines. Raises Away where it breaks off; it is not begun again."""
        with reaching(self.http):
            async with self.http.stream("GET", path, params=parameters(filters)) as reply:
                if not reply.is_success:
                    await reply.aread()
                    answer_of(reply)
                async for line in reply.aiter_lines():
                    for one in lines_of(line):
                        yield one

    async def download(self, path: str, to: str | Path, **filters: Any) -> Path:
        """Into a file, which is there whole or not at all."""
        draft = Path(f"{to}.part")
        with reaching(self.http):
            async with self.http.stream("GET", path, params=parameters(filters)) as reply:
                if not reply.is_success:
                    await reply.aread()
                    answer_of(reply)
                with draft.open("wb") as file:
                    async for chunk in reply.aiter_bytes():
                        file.write(chunk)
        return draft.replace(to)

    async def close(self) -> None:
        await self.http.aclose()

    async def _asked(self, path: str, filters: Object) -> httpx.Response:
        for attempt in range(TRIES):
            reply: httpx.Response | None = None
            try:
                reply = await self.http.get(path, params=parameters(filters))
                if reply.status_code not in COME_AGAIN or attempt == TRIES - 1:
                    return reply
            except httpx.TransportError as error:
                if attempt == TRIES - 1:
                    raise Away(f"{self.http.base_url} cannot be reached: {error}") from error
            await asyncio.sleep(wait_before(attempt, reply))
        raise AssertionError("not reached")


def one(path: str, id: str) -> str:
    return f"/{path}/{quote(id, safe='')}"
