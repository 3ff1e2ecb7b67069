"""Files as a stream of items with their lines: one JSON array, or one JSON object a line. Never all at once."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from redpen.accounts import parsing
from redpen.accounts.parsing import DEEPEST, finite, too_deep

CHUNK = 1 << 16
LONGEST = 32 << 20  # characters of one item
BLANK = re.compile(r"[ \t\r\n]*")
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of a wrong byte
TOO_DEEP = f"This is nested too deep: more than {DEEPEST} levels."
SPOILT = "This element has a byte that is not UTF-8."


@dataclass(frozen=True)
class Item:
    """One thing of the file: the n-th, from 1, and the line on which it begins. `problem` says why it has no value."""

    number: int
    line: int
    value: Any = None
    problem: str = ""


def read_items(stream: BinaryIO) -> Iterator[Item]:
    """The items of an array file or of a JSONL file, told apart by the first character."""
    head = stream.read(CHUNK).removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        return (
            iter(()) if not stream.read(1) else iter([Item(1, 1, problem="The file begins with nothing but blanks.")])
        )
    reader = read_array if head.lstrip()[:1] == b"[" else read_lines
    return reader(Rest(head, stream))


class Rest:
    """A stream whose head was read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self.head, self.stream = head, stream

    def read(self, size: int) -> bytes:
        if self.head:
            piece, self.head = self.head[:size], self.head[size:]
            return piece
        return self.stream.read(size)


def read_lines(stream: Rest) -> Iterator[Item]:
    """One object a line. A line that cannot be read is one problem; the next line is read as if nothing had been."""
    number = 0
    for line, raw in enumerate(split_lines(stream), start=1):
        if not raw.strip():
            continue
        number += 1
        if len(raw) >= LONGEST:
            yield Item(number, line, problem=f"The line is longer than {LONGEST >> 20} MB.")
            continue
        try:
            yield Item(number, line, value=parse(raw.decode()))
        except UnicodeDecodeError as error:
            yield Item(number, line, problem=f"Byte {error.start + 1} of the line is not UTF-8.")
        except json.JSONDecodeError as error:
            yield Item(number, line, problem=f"This is not JSON: {error.msg} at column {error.colno}.")
        except (ValueError, RecursionError) as error:
            yield Item(number, line, problem=words(error))


def split_lines(stream: Rest) -> Iterator[bytes]:
    """Lines without their ends. What is longer than LONGEST comes cut, and its rest is dropped."""
    tail, dropping = b"", False
    while piece := stream.read(CHUNK):
        *whole, tail = (tail + piece).split(b"\n")
        for line in whole:
            if not dropping:
                yield line
            dropping = False
        if len(tail) >= LONGEST:
            if not dropping:
                yield tail[:LONGEST]
            dropping, tail = True, b""
    if tail and not dropping:
        yield tail


def read_array(stream: Rest) -> Iterator[Item]:
    """The elements of one array. Where an element is not JSON, nothing behind it can be trusted: the reading ends."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite)
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")  # a wrong byte spoils its element, not the file
    buffer, at, line, number, ended = "", 0, 1, 0, False
    expects = "["  # then an element, then a comma or the end

    def broken(text: str) -> Item:
        return Item(number + 1, line, problem=f"{text} The rest of the file was not read.")

    while True:
        start, at = at, BLANK.match(buffer, at).end()  # type: ignore[union-attr]
        line += buffer.count("\n", start, at)
        here = buffer[at : at + 1]
        try:
            if here == "]" and (expects == "," or (expects == "element" and number == 0)):
                return
            if here and expects in "[,":
                if here != expects:
                    yield broken(f"Here stands {here!r} where '{expects}' or ']' should be.")
                    return
                at, expects = at + 1, "element"
                continue
            if here:
                value, end = decoder.raw_decode(buffer, at)
                if end < len(buffer) or ended:  # a number may go on in the next piece
                    number += 1
                    if NOT_UTF8.search(buffer, at, end):
                        yield Item(number, line, problem=SPOILT)
                    elif too_deep(buffer[at:end], value):
                        yield Item(number, line, problem=TOO_DEEP)
                    else:
                        yield Item(number, line, value=value)
                    line += buffer.count("\n", at, end)
                    at, expects = end, ","
                    continue
        except json.JSONDecodeError as error:
            # Broken, or only not all here yet? What lies far behind the fault has been read: it is broken.
            if ended or len(buffer) - at > LONGEST:
                line += buffer.count("\n", at, error.pos)
                yield broken(f"Element {number + 1} is not JSON: {error.msg} at column {error.colno}.")
                return
        except (ValueError, RecursionError) as error:
            yield broken(words(error))
            return
        if ended:
            yield broken("The array does not end: the file was cut off.")
            return
        piece = stream.read(max(CHUNK, len(buffer) - at))
        ended = not piece
        buffer, at = buffer[at:] + decode.decode(piece, final=ended), 0


def parse(text: str) -> Any:
    value = json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    if too_deep(text, value):
        raise ValueError(TOO_DEEP)
    return value


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON.")


def words(error: Exception) -> str:
    return TOO_DEEP if isinstance(error, RecursionError) else f"{parsing.words(error)}."
