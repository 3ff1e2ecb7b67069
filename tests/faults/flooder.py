"""The hostile half of scene 6, in a process of its own: `python -m tests.faults.flooder PORT LOUD MIXED SECONDS SLOW`.

One project far beyond what the server can take, connections that send a byte a second, bombs, and batches that overlap
in shuffled orders with poisoned rows between. Whatever is sent is counted by its fate; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import sys
import time
from collections import Counter
from zlib import crc32

SINGLE, BATCH, LINES = 48, 24, 2  # connections of the loud project
POISON = {
    "nul": '"text": "a\\u0000b"',
    "surrogate": '"text": "a\\ud800b"',
    "large": '"metadata": {"n": 9223372036854775808123}',
}
NDJSON = "application/x-ndjson"


def item(id: str, extra: str = "") -> str:
    return f'{{"id": "{id}", "response": "answer-3-1", "kind": "like", "user": "u{crc32(id.encode()) % 997}"{extra}}}'


class Flood:
    def __init__(self, port: int, loud: str, mixed: str, seconds: float) -> None:
        self.port, self.loud, self.mixed = port, loud, mixed
        self.until = time.monotonic() + seconds
        self.items: Counter[str] = Counter()  # sent, stored, repeated, refused, limited, unanswered
        self.requests: Counter[str] = Counter()  # statuses, by who
        self.neighbours_refused: list[str] = []
        self.batch = ("[" + ",".join(item(f"PREFIX-{n}") for n in range(1000)) + "]").encode()
        self.lines = "\n".join(item(f"PREFIX-{n}") for n in range(20_000)).encode()

    @property
    def on(self) -> bool:
        return time.monotonic() < self.until

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)

    async def ask(
        self, way: list, token: str, body: bytes, *, kind: str = "application/json", coding: str = ""
    ) -> tuple[int, bytes]:
        """Over the connection in `way`, which is made when there is none. Raises OSError when it breaks."""
        if not way:
            way.extend(await self.connect())
        reader, writer = way
        head = (
            f"POST /api/v1/reactions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
            f"{f'Content-Encoding: {coding}' + chr(13) + chr(10) if coding else ''}Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            got = await reader.readuntil(b"\r\n\r\n")
            length = int(got.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0] or 0)
            answer = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.close()
            way.clear()
            raise OSError(str(error)) from None
        if b"\r\nconnection: close" in got.lower():
            writer.close()
            way.clear()
        return int(got[9:12]), answer

    def count(self, who: str, status: int, answer: bytes, sent: int) -> dict:
        """What became of the items of one request."""
        self.requests[f"{who} {status}"] += 1
        found = json.loads(answer) if answer[:1] == b"{" else {}
        if status in (429, 503):
            self.items["limited"] += sent
        elif "results" in found:
            for name in ("stored", "repeated", "refused"):
                self.items[name] += found[name]
            self.items["limited"] += found["retry"]
        elif status in (200, 201):
            self.items[found["status"]] += 1
        else:
            self.items["refused"] += sent
        return found

    async def hammer(self, who: str, number: int) -> None:
        """As fast as the answers come, whatever they are; a flooder does not read Retry-After."""
        way: list = []
        turn = 0
        while self.on:
            turn += 1
            prefix = f"{who}-{number}-{turn}"
            kind = "application/json"
            if who == "single":
                body, sent = item(prefix).encode(), 1
            elif who == "batch":
                body, sent = self.batch.replace(b"PREFIX", prefix.encode()), 1000
            else:
                body, sent, kind = self.lines.replace(b"PREFIX", prefix.encode()), 20_000, NDJSON
            self.items["sent"] += sent
            try:
                status, answer = await self.ask(way, self.loud, body, kind=kind)
            except OSError:
                self.items["unanswered"] += sent
                await asyncio.sleep(0.01)
            else:
                self.count(who, status, answer, sent)
        if way:
            way[1].close()

    async def overlap(self, number: int) -> None:
        """The same hundred ids as the others at the same time, in another order; every tenth batch holds poison."""
        way: list = []
        rng = random.Random(number)
        turn = 0
        while self.on:
            turn += 1
            names = [f"shared-{turn // 4}-{n}" for n in range(100)]
            rng.shuffle(names)
            items = [item(name) for name in names]
            poisoned = set()
            if turn % 10 == 0:
                place = rng.randrange(100)
                poisoned = {place}
                items[place] = item(f"poison-{number}-{turn}", f", {rng.choice(list(POISON.values()))}")
            self.items["sent"] += 100
            try:
                status, answer = await self.ask(way, self.mixed, f"[{','.join(items)}]".encode())
            except OSError:
                self.items["unanswered"] += 100
                continue
            found = self.count("overlap", status, answer, 100)
            if status not in (200, 207, 429, 503):
                self.neighbours_refused.append(f"{status} {answer[:200]!r}")
            for place, fate in enumerate(found.get("results", [])):
                if (fate["status"] == "refused") != (place in poisoned):
                    self.neighbours_refused.append(f"{place}: {fate}")
            await asyncio.sleep(0.02)

    async def poison_alone(self) -> None:
        way: list = []
        turn = 0
        while self.on:
            turn += 1
            self.items["sent"] += 1
            extra = list(POISON.values())[turn % 3]
            status, answer = await self.ask(way, self.mixed, item(f"alone-{turn}", f", {extra}").encode())
            self.count("poison", status, answer, 1)
            await asyncio.sleep(0.02)

    async def bombs(self) -> None:
        """Each must be refused as one item, whatever it would unpack to."""
        zeros = gzip.compress(b"[" + b" " * (300 << 20), 9)
        bombs = [
            (zeros, "gzip"),
            (gzip.compress(b"[" * (30 << 20), 9), "gzip"),
            (b"[" * 1_000_000, ""),
            (b'{"response": "r", "kind": "like", "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, ""),
            (b'{"response": "r", "kind": "like", "metadata": {"n": ' + b"9" * 900_000 + b"}}", ""),
            (gzip.compress(zeros), "gzip"),
        ]
        way: list = []
        turn = 0
        while self.on:
            body, coding = bombs[turn % len(bombs)]
            turn += 1
            self.items["sent"] += 1
            try:
                status, answer = await self.ask(way, self.loud, body, coding=coding)
            except OSError:
                self.items["refused"] += 1  # the door was shut while we were still pushing
            else:
                self.count("bomb", status, answer, 1)
            await asyncio.sleep(0.2)

    async def slow(self, number: int) -> None:
        """A byte a second, of the head or of the body, on and on."""
        while self.on:
            head = (
                f"POST /api/v1/reactions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.loud}\r\n"
                "Content-Length: 100000\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                reader, writer = await self.connect()
                writer.write(head.encode()[: 60 if number % 4 == 0 else None])
                while self.on and not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(1)
                writer.close()
            self.requests["slow connections"] += 1

    async def run(self, slow: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(slow):
                group.create_task(self.slow(number))
            for who, count in (("single", SINGLE), ("batch", BATCH), ("lines", LINES)):
                for number in range(count):
                    group.create_task(self.hammer(who, number))
            for number in range(4):
                group.create_task(self.overlap(number))
            group.create_task(self.poison_alone())
            group.create_task(self.bombs())


if __name__ == "__main__":
    flood = Flood(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]))
    asyncio.run(flood.run(int(sys.argv[5])))
    said = {
        "items": flood.items,
        "requests": flood.requests,
        "neighbours_refused": flood.neighbours_refused[:5],
    }
    sys.stdout.write(json.dumps(said) + "\n")
