"""A request's body: read within its limits, unpacked, and taken apart into items."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from annotation.intake.limits import MB, Limits
from annotation.intake.problems import TimedOut, unreadable
from annotation.intake.turns import Turns
from redpen.accounts.errors import Invalid, NotReadable, TooLarge, Unavailable, WrongMediaType
from redpen.accounts.parsing import DEEPEST, depth

Receive = Callable[[], Awaitable[dict[str, Any]]]
# text/plain comes from navigator.sendBeacon, the last one from curl where nobody said otherwise
JSON_TYPES = {"", "application/json", "text/plain", "application/x-www-form-urlencoded"}
LINE_TYPES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}

LONG_NUMBER = re.compile(rb"\d{19}")
SPACE, TEXT_SPACE = re.compile(rb"[ \t\r\n]*"), re.compile(r"[ \t\r\n]*")
LINE = re.compile(rb"[^ \t\r\n][^\n]*")
PIECE = 1 * MB  # unpacked between two looks at other requests
all_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
scan = json.JSONDecoder().raw_decode


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


async def read_body(
    receive: Receive, headers: dict[bytes, bytes], limits: Limits, ledger: Ledger, turns: Turns, project: str
) -> bytes | bytearray:
    """The unpacked body. The caller gives `len(body)` back to the ledger when done.

    Raises TooLarge (413), TimedOut (408), WrongMediaType (415), Unavailable (503) and CallerLeft.
    """
    if int(headers.get(b"content-length", b"0") or 0) > limits.body_bytes:
        raise too_large(limits)
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if coding not in ("identity", "gzip", ""):
        raise WrongMediaType(f"Content-Encoding is gzip or nothing, not '{coding[:40]}'.")
    held = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            body, more = await next_part(receive)
            ledger.add(len(body))
            held = len(body)
            while more:
                part, more = await next_part(receive)
                if held + len(part) > limits.body_bytes:
                    raise too_large(limits)
                ledger.add(len(part))
                held += len(part)
                body = bytearray(body) if isinstance(body, bytes) else body  # grown in place: there is no second copy
                body += part
        if coding == "gzip":
            packed, body = body, bytearray()
            pieces = unpacking(packed, limits)
            piece: bytes | None = b""
            while piece is not None:
                ledger.add(len(piece))
                held += len(piece)
                body += piece
                await turns.take(project)
                try:
                    piece = next(pieces, None)
                finally:
                    turns.give()
            ledger.held -= len(packed)
            held -= len(packed)
    except TimeoutError:
        ledger.held -= held
        raise TimedOut(f"The body did not arrive within {limits.body_seconds:.0f} s.") from None
    except BaseException:
        ledger.held -= held
        raise
    return body


async def next_part(receive: Receive) -> tuple[bytes, bool]:
    """What has arrived, and whether more will."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerLeft
    return message.get("body", b""), message.get("more_body", False)


def unpacking(packed: bytes | bytearray, limits: Limits) -> Iterator[bytes]:
    """gunzip piece by piece, which stops at the limit: a bomb is never blown up.

    The last four bytes say how large it is. Where that is too much it is unpacked once without being kept.
    """
    if int.from_bytes(packed[-4:], "little") > limits.body_bytes:
        for _ in pieces_of(packed, limits):
            yield b""
    yield from pieces_of(packed, limits)


def pieces_of(packed: bytes | bytearray, limits: Limits) -> Iterator[bytes]:
    size = 0
    rest: bytes | bytearray = packed
    while rest:
        stream = zlib.decompressobj(wbits=31)
        while not stream.eof:
            try:
                piece = stream.decompress(rest, PIECE)
            except zlib.error as error:
                raise NotReadable(f"The body is not gzip: {error}.") from None
            if not piece and not stream.eof:
                raise NotReadable("The gzip body ends too early.")
            size += len(piece)
            if size > limits.body_bytes:
                raise too_large(limits)
            rest = stream.unconsumed_tail
            yield piece
        rest = stream.unused_data


def unpacked(packed: bytes, limits: Limits) -> bytes:
    """The same in one go, for threads."""
    return b"".join(unpacking(packed, limits))


def begins_array(body: bytes | bytearray) -> bool:
    """Whether the JSON is an array."""
    start = SPACE.match(body).end()  # type: ignore[union-attr]
    return body[start : start + 1] == b"["


async def split_array(body: bytes | bytearray, most: int, turns: Turns, project: str) -> list[Any]:
    """The items of a JSON array, each as JSON; `most` + 1 at most. Raises NotReadable where it is none.

    msgspec is quick, but makes an object of each of a million zeros, and refuses the whole array for half a surrogate
    pair in one item. In such cases the items are looked for one by one.
    """
    commas = start = 0
    while start < len(body) and commas <= 50 * most:
        await turns.take(project)
        commas += body.count(b",", start, start + 2 * PIECE)
        turns.give()
        start += 2 * PIECE
    if commas <= 50 * most:
        await turns.take(project)
        try:
            return all_items(body)
        except RecursionError as error:
            raise unreadable(error) from None
        except msgspec.DecodeError:
            pass
        finally:
            turns.give()
    items: list[Any] = []
    try:
        found = careful_items(body.decode(), most)
        more = True
        while more:
            await turns.take(project)
            try:
                size = 0
                while size < PIECE // 8 and (item := next(found, None)) is not None:
                    items.append(item)
                    size += len(item) + 100
                more = item is not None
            finally:
                turns.give()
    except (ValueError, RecursionError) as error:
        raise unreadable(error) from None
    return items


def careful_items(text: str, most: int) -> Iterator[bytes]:
    """One item after the other, `most` + 1 at most; what is no JSON raises ValueError."""
    place = TEXT_SPACE.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    for _ in range(most + 1):
        _, end = scan(text, place)
        yield text[place:end].encode()
        place = TEXT_SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text[place : place + 1] == "]":
            if text[place + 1 :].strip(" \t\r\n"):
                raise ValueError(f"something follows the array at character {place + 1}")
            return
        if text[place : place + 1] != ",":
            raise ValueError(f"there is no comma at character {place}")
        place = TEXT_SPACE.match(text, place + 1).end()  # type: ignore[union-attr]


def lines_in(body: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """The lines of NDJSON that hold something, found one at a time."""
    return (found[0] for found in LINE.finditer(body))


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
