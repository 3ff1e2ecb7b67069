"""What goes back: bodies, problems, and what browsers ask before they send (CORS)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from redpen.accounts.errors import RedpenError

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

TAKE_BACK = "/api/v1/reactions/"
EXPOSED = (b"access-control-expose-headers", b"Retry-After")
encoder = msgspec.json.Encoder()


async def respond(
    send: Send,
    status: int,
    body: Sequence[bytes],
    origin: bytes | None,
    *,
    kind: bytes = b"application/json",
    more: Sequence[Any] = (),
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(sum(map(len, body))).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    if origin:
        headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), EXPOSED]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in body[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": body[-1]})


async def respond_error(send: Send, error: RedpenError, origin: bytes | None) -> None:
    more = []
    if error.retry_after is not None:
        more.append((b"retry-after", str(error.retry_after).encode()))
    if error.status == 401:
        more.append((b"www-authenticate", b'Bearer realm="redpen"'))
    if error.status in (408, 413, 503):  # the rest of a body may still be on its way
        more.append((b"connection", b"close"))
    body = encoder.encode(error.as_problem())
    await respond(send, error.status, [body], origin, kind=b"application/problem+json", more=more)


async def preflight(scope: Scope, send: Send) -> None:
    """Any page may ask; whether it may write is decided when it does, because a preflight carries no key."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    more = [
        (b"access-control-allow-methods", b"POST, DELETE"),
        (
            b"access-control-allow-headers",
            b"authorization, content-type, content-encoding, idempotency-key, redpen-dropped",
        ),
        (b"access-control-max-age", b"600"),
    ]
    if b"access-control-request-method" not in headers:
        allowed = b"GET, DELETE, OPTIONS" if scope["path"].startswith(TAKE_BACK) else b"GET, POST, OPTIONS"
        more = [(b"allow", allowed)]
    await respond(send, 200, [b""], origin, more=more)
