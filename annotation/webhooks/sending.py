"""One signed POST to a stranger's server, within ten seconds and whatever it does.

httpcore alone, below httpx and requests: no redirects, cookies, proxies, decompression or names resolved a second time.
Nothing of what the receiver says but its status (and Retry-After) leaves this module.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import certifi
import httpcore
from standardwebhooks import Webhook as Signer

from annotation.webhooks.addresses import Target, may_connect

CONNECT_SECONDS = 5.0
SECONDS = 10.0  # from the name's resolution to the end of the headers
MOST_BODY = 16 * 1024  # of the answer: read so that the connection can be used again, and dropped
MOST_RETRY_AFTER = 6 * 3600
AT_ONCE = 256  # deliveries under way in one process


@dataclass(frozen=True)
class Message:
    """What goes out. `secrets` has two while a secret is being replaced."""

    id: str
    target: Target
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What became of it. `error` is empty when a 2xx came, and otherwise in our words alone."""

    status: int | None
    error: str
    took_ms: int
    retry_after: int = 0

    @property
    def gone(self) -> bool:
        return self.status == 410


class Refused(httpcore.ConnectError):
    """The name leads to an address that we do not call."""


class NoSuchName(httpcore.ConnectError):
    """The name does not resolve."""


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at: the name is resolved here, once, and only an address goes on."""

    def __init__(self) -> None:
        self.backend = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        addresses = await resolve(host, port)
        if not addresses or not all(may_connect(host, address) for address in addresses):
            raise Refused
        failed: Exception = NoSuchName()
        for address in addresses[:3]:
            try:
                return await self.backend.connect_tcp(address, port, timeout=timeout, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(self, *args: Any, **options: Any) -> Any:
        raise Refused

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NoSuchName from None
    return list(dict.fromkeys(str(one[4][0]) for one in found if one[0] in (socket.AF_INET, socket.AF_INET6)))


def body_of(*, event: str, at: datetime, project: str, test: bool, events: list[Any]) -> bytes:
    whole = {"type": event, "timestamp": at.isoformat(), "project": project, "test": test, "data": events}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(message: Message, now: datetime) -> list[tuple[bytes, bytes]]:
    """Signed as Standard Webhooks says: one signature for each secret."""
    text = message.body.decode()
    signatures = " ".join(Signer(secret).sign(message.id, now, text) for secret in message.secrets)
    headers = {
        "Host": message.target.authority,
        "Content-Type": "application/json",
        "Content-Length": str(len(message.body)),
        "User-Agent": "Redpen-Webhooks/1",
        "Accept-Encoding": "identity",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signatures,
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def new_pool() -> httpcore.AsyncConnectionPool:
    context = ssl.create_default_context(cafile=certifi.where())
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=5,
        network_backend=PinnedBackend(),
    )


async def post(pool: httpcore.AsyncConnectionPool, message: Message) -> Outcome:
    """Send it; every way in which that can end is an Outcome."""
    started = time.monotonic()
    status, error, wait = None, "", 0
    try:
        async with asyncio.timeout(SECONDS):
            status, wait = await exchange(pool, message)
        error = in_words(status)
    except TimeoutError:
        error = f"There was no whole answer within {SECONDS:g} seconds."
    except httpcore.TimeoutException:
        error = f"No connection came about within {CONNECT_SECONDS:g} seconds."
    except Refused:
        error = "The name leads to an address that is not public; such addresses are not called."
    except NoSuchName:
        error = "The name does not resolve."
    except httpcore.ConnectError as broken:
        is_tls = isinstance(broken.__cause__ or broken.__context__, ssl.SSLError) or "SSL" in str(broken)
        error = "Its certificate, or its TLS, was not accepted." if is_tls else "It could not be connected to."
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError):
        error = "The connection broke, or the answer was not HTTP."
    took = int((time.monotonic() - started) * 1000)
    return Outcome(status=status, error=error, took_ms=took, retry_after=wait)


async def exchange(pool: httpcore.AsyncConnectionPool, message: Message) -> tuple[int, int]:
    target = message.target
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    limits = {"connect": CONNECT_SECONDS, "read": SECONDS, "write": SECONDS, "pool": SECONDS}
    headers = headers_of(message, datetime.now(UTC))
    async with pool.stream(
        b"POST", url, headers=headers, content=message.body, extensions={"timeout": limits}
    ) as answer:
        status, wait = answer.status, retry_after(answer.headers)
        read = 0
        try:
            async with asyncio.timeout(1):  # the status is what counts; whoever dawdles with the rest is left alone
                async for part in answer.aiter_stream():
                    read += len(part)
                    if read > MOST_BODY:
                        break
        except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            pass
    return status, wait


def retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Seconds, when the receiver says so in a number."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 10:
            return min(int(value), MOST_RETRY_AFTER)
    return 0


def in_words(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"It answered {status}: redirects are not followed. Give the address that it leads to."
    if status == 410:
        return "It answered 410 Gone: it wants no more of these."
    return f"It answered {status}."


class Sender:
    """A thread with an event loop that sends; `done` is called there with each outcome.

    Names are resolved in threads of the loop's own: a name server that takes its time holds up nobody else.
    """

    def __init__(self, done: Callable[[Any, Outcome], None]) -> None:
        self.done = done
        self.loop = asyncio.new_event_loop()
        self.names = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook-names")
        self.loop.set_default_executor(self.names)
        self.thread = threading.Thread(target=self.loop.run_forever, name="webhooks", daemon=True)

    def __enter__(self) -> Sender:
        self.thread.start()
        self.pool = new_pool()
        return self

    def send(self, what: Any, message: Message) -> None:
        asyncio.run_coroutine_threadsafe(self._send(what, message), self.loop)

    async def _send(self, what: Any, message: Message) -> None:
        try:
            outcome = await post(self.pool, message)
        except Exception as error:  # the edge of the thread: a delivery must never be forgotten
            outcome = Outcome(status=None, error=f"This is a fault of ours: {type(error).__name__}.", took_ms=0)
        self.done(what, outcome)

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(timeout=5)
        self.names.shutdown(wait=False, cancel_futures=True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=5)
        self.loop.close()

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        try:
            async with asyncio.timeout(3):
                await self.pool.aclose()
        except (TimeoutError, httpcore.NetworkError, OSError):
            pass
