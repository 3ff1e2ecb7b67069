"""Whose turn it is: one event loop serves everybody, so a flood of one project must not be in another's way.

Long work on the loop (taking a batch apart, unpacking) is done in slices of a millisecond or a few. Between two of them
the loop looks at sockets, and projects that have slices to do take turns. A quiet project's small request needs none.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

from redpen.accounts.errors import Unavailable

SHARED_FOR = 2.0  # seconds after a request of another project
LONGEST_WAIT = 30.0
LIGHT = 64  # rows of a project between arrival and commit; with more it is not a quiet one


class Turns:
    def __init__(self) -> None:
        self.busy = False
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.latest, self.changed_at = "", float("-inf")

    def note(self, project: str) -> None:
        """A request of this project has come."""
        if project != self.latest:
            if self.latest:
                self.changed_at = time.monotonic()
            self.latest = project

    @property
    def shared(self) -> bool:
        """Whether more than one project has sent something lately."""
        return time.monotonic() - self.changed_at < SHARED_FOR

    async def take(self, project: str) -> None:
        """Return when it is this project's turn; `give` it back before anything is awaited that takes long."""
        if not self.busy:
            self.busy = True
            return
        mine = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(project, deque()).append(mine)
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self.give()
            mine.cancel()
            if isinstance(error, TimeoutError):
                words = "This waited too long for its turn. Send it again shortly."
                raise Unavailable(words, retry_after=5) from None
            raise

    def give(self) -> None:
        """The next turn begins in the loop's next round, when sockets have been looked at."""
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        while self.waiting:
            project, queue = next(iter(self.waiting.items()))
            next_one = queue.popleft()
            if queue:
                self.waiting.move_to_end(project)
            else:
                del self.waiting[project]
            if not next_one.done():
                next_one.set_result(None)
                return
        self.busy = False
