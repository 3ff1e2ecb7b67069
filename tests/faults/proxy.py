"""A TCP proxy that cuts connections at the worst moments: what toxiproxy does, in a few lines and in this process."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading

REPLY = "reply"  # the server has answered, so it has committed; the answer does not arrive
REQUEST = "request"  # cut as soon as the request has gone through: the server writes for a caller who has left


class Proxy:
    """Listens on a port of its own and passes everything on to `upstream`, a port of this machine.

    With `cut(how)` the next connection on which that moment comes is cut, once for each call.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.armed: list[str] = []
        self.cuts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._listening.wait(5)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def cut(self, how: str) -> None:
        self.armed.append(how)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            back, forth = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 20)
            writers.append(forth)
            ways = [self._pass(reader, forth, REQUEST), self._pass(back, writer, REPLY)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        for one in writers:
            one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moment: str) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(1 << 16):
                if moment == REPLY and self._taken(REPLY):
                    return
                writer.write(part)
                await writer.drain()
                if moment == REQUEST and self._taken(REQUEST):
                    await asyncio.sleep(random.random() * 0.005)  # somewhere between arrival and COMMIT
                    return

    def _taken(self, how: str) -> bool:
        if how not in self.armed:
            return False
        self.armed.remove(how)
        self.cuts += 1
        return True
