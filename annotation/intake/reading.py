"""A request's body: read within its limits, unpacked, and taken apart into items."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from annotation.intake.limits import MB, Limits
from annotation.intake.problems import TimedOut
from redpen.accounts.errors import Invalid, NotReadable, TooLarge, Unavailable, WrongMediaType
from redpen.accounts.parsing import DEEPEST, depth

Receive = Callable[[], Awaitable[dict[str, Any]]]
# text/plain comes from navigator.sendBeacon, the last one from curl where nobody said otherwise
JSON_TYPES = {"", "application/json", "text/plain", "application/x-www-form-urlencoded"}
LINE_TYPES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}

LONG_NUMBER = re.compile(rb"\d{19}")


class CallerLeft(Exception):
    """The connection was closed before the body had come: nobody is there to be told."""


class Ledger:
    """How many bytes of bodies are held in memory, of all requests together."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def add(self, count: int) -> None:
        if self.held + count > self.most:
            raise Unavailable("Too much comes in at once. Send it again shortly.", retry_after=1)
        self.held += count


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Limits, ledger: Ledger) -> bytes:
    """The unpacked body. The caller gives `len(body)` back to the ledger when done.

    Raises TooLarge (413), TimedOut (408), WrongMediaType (415), Unavailable (503) and CallerLeft.
    """
    if int(headers.get(b"content-length", b"0") or 0) > limits.body_bytes:
        raise too_large(limits)
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if coding not in ("identity", "gzip", ""):
        raise WrongMediaType(f"Content-Encoding is gzip or nothing, not '{coding[:40]}'.")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerLeft
                part = message.get("body", b"")
                more = message.get("more_body", False)
                if size + len(part) > limits.body_bytes:
                    raise too_large(limits)
                ledger.add(len(part))
                size += len(part)
                parts.append(part)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if coding == "gzip":
            body = unpacked(body, limits)
            ledger.add(len(body) - size)
            size = len(body)
    except TimeoutError:
        ledger.held -= size
        raise TimedOut(f"The body did not arrive within {limits.body_seconds:.0f} s.") from None
    except BaseException:
        ledger.held -= size
        raise
    return body


def unpacked(body: bytes, limits: Limits) -> bytes:
    """gunzip, which stops at the limit: a bomb is never blown up."""
    parts: list[bytes] = []
    size = 0
    while body:
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(body, limits.body_bytes - size + 1)
        except zlib.error as error:
            raise NotReadable(f"The body is not gzip: {error}.") from None
        size += len(part)
        if size > limits.body_bytes:
            raise too_large(limits)
        if not stream.eof:
            raise NotReadable("The gzip body ends too early.")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        f"The body is larger than {limits.body_bytes // MB} MB (unpacked). Send it in parts.",
        data={"most_bytes": limits.body_bytes},
    )


def is_lines(headers: dict[bytes, bytes]) -> bool:
    """Whether the body is NDJSON; raises WrongMediaType for what is neither that nor JSON."""
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind in LINE_TYPES:
        return True
    if kind in JSON_TYPES:
        return False
    raise WrongMediaType(f"Send application/json or application/x-ndjson, not {kind[:60]}.")


def check_numbers(item: Any) -> None:
    """msgspec makes floats of whole numbers beyond 64 bits, which loses digits: better to say so."""
    if LONG_NUMBER.search(item) is None:
        return
    too_long = [number for number in numbers_in(json.loads(bytes(item))) if not -(2**63) <= number < 2**64]
    if too_long:
        raise Invalid("A whole number in this item is larger than 64 bits. Send it as text.", code="number.too_large")


def numbers_in(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from numbers_in(inner)
    elif type(value) is int:
        yield value


def check_depth(item: Any) -> None:
    raw = bytes(item)
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and depth(json.loads(raw)) > DEEPEST:
        raise NotReadable(f"The JSON is nested more than {DEEPEST} levels deep.")
