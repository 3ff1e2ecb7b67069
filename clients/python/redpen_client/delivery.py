"""The buffer and the thread behind `send`: batches, retries, and what is told when something cannot be delivered.

Each path (responses, reactions, feedback) is a lane whose order is kept. One thread sends; a batch that fails is sent
again, the same to the byte, before anything behind it. A thread and not a task of an event loop, for the asynchronous
client too: it is still there when the loop has ended, so what waits at exit goes out.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from redpen_client import lifetime
from redpen_client.errors import Problem
from redpen_client.items import Item
from redpen_client.spool import Spool
from redpen_client.transport import Batch, Judged, Later, Outcome, Refused, ShutOut, Transport

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
LANES = ("responses", "reactions", "feedback")
log = logging.getLogger("redpen_client")


@dataclass(frozen=True)
class Refusal:
    """An item that the server will never take, as it was sent (JSON), and why."""

    path: str
    id: str | None
    body: bytes
    problem: Problem


@dataclass(frozen=True)
class Settings:
    flush_interval: float  # seconds that an item waits for company
    batch_items: int
    batch_bytes: int
    buffer_items: int
    buffer_bytes: int
    block_timeout: float  # seconds that `put` waits for room; 0: never
    close_timeout: float
    on_refused: Callable[[Refusal], None] | None


@dataclass
class Stats:
    """Since the start of this process: accepted = stored + repeated + refused + dropped + waiting."""

    accepted: int = 0
    stored: int = 0
    repeated: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0


class Delivery:
    """Thread-safe. After a fork the child begins empty: what waited is the parent's to send."""

    def __init__(self, transport: Transport, settings: Settings, spool: tuple[str | Path, int] | None) -> None:
        self.transport, self.settings, self.spool_at = transport, settings, spool
        self.problem: Problem | None = None  # that shuts us out just now
        self._begin()
        lifetime.begin(self)
        if self.spool is not None and self.spool.cold:
            with self.state:
                self._wake()

    def _begin(self) -> None:
        self.state = threading.Condition()
        self.lanes: dict[str, deque[Item]] = {lane: deque() for lane in LANES}
        self.again: deque[Batch] = deque()  # unfinished batches, before all others
        self.held_items = self.held_bytes = 0  # in lanes, unfinished or on their way
        self.not_before = self.sync_at = 0.0
        self.failures = self.flushers = self.told_drops = 0
        self.closing: float | None = None  # the deadline
        self.left = False
        self.thread: threading.Thread | None = None
        self.stats = Stats()
        self.spool = Spool(*self.spool_at) if self.spool_at is not None else None

    # from the product's threads

    def offer(self, item: Item, *, last: bool = True) -> bool:
        """Take the item if there is room. `last`: nobody will ask again, so one without room is a drop."""
        with self.state:
            taken = self._take(item)
            if taken or last:
                self._accept(taken)
            return taken

    def put(self, item: Item) -> bool:
        """The same, waiting for room as long as the settings say."""
        deadline = monotonic() + self.settings.block_timeout
        with self.state:
            while not (taken := self._take(item)) and self.closing is None:
                left = deadline - monotonic()
                if left <= 0:
                    break
                self.state.wait(left)
            self._accept(taken)
            return taken

    def flush(self, timeout: float | None = None) -> bool:
        """Send what waits, now. False: some is left when the time is up, or the key opens nothing."""
        deadline = None if timeout is None else monotonic() + timeout
        with self.state:
            self.flushers += 1
            try:
                if self._empty() or threading.current_thread() is self.thread:
                    return self._empty()  # on_refused, which asks in the sending thread, cannot wait for it
                self._try_now()
                self._wake()
                self.state.wait_for(
                    lambda: self._empty() or self.problem is not None or self.closing is not None,
                    None if deadline is None else max(0.0, deadline - monotonic()),
                )
                return self._empty()
            finally:
                self.flushers -= 1

    def close(self, timeout: float | None = None) -> bool:
        """Send what waits, for `timeout` seconds at most. What is left stays in the spool or is a drop, and is told."""
        with self.state:
            if self.closing is not None:
                return self._empty()
            seconds = self.settings.close_timeout if timeout is None else timeout
            self.closing = monotonic() + seconds
            self._try_now()
            self.state.notify_all()
            thread = self.thread
        if thread is not None and thread.is_alive():
            thread.join(seconds + 0.5)
        elif not self._empty():
            self._run()  # no thread can be started any more when Python is ending
        with self.state:
            lifetime.end(self)
            all_sent = self._empty()
            self._leave()
            return all_sent

    def count(self) -> Stats:
        with self.state:
            on_disk = self.spool.cold_items if self.spool is not None else 0
            return replace(self.stats, waiting=self.held_items + on_disk)

    # with the lock held

    def _fits(self, item: Item) -> bool:
        s = self.settings
        return not self.held_items or (
            self.held_items < s.buffer_items and self.held_bytes + item.size <= s.buffer_bytes
        )

    def _accept(self, taken: bool) -> None:
        self.stats.accepted += 1
        if not taken:
            self._drop(1, "the buffer is full" if self.closing is None else "the client is closed")

    def _try_now(self) -> None:
        self.problem, self.not_before = None, 0.0

    def _take(self, item: Item) -> bool:
        if self.closing is not None:
            return False
        spool = self.spool
        if spool is None:
            if not self._fits(item):
                return False
        elif spool.cold or not self._fits(item):
            # behind what is on disk already, so that the order is kept
            if not spool.write(item, cold=True):
                return False
            self._wake()
            return True
        else:
            spool.write(item, cold=False)  # where that fails, memory alone has it
        self._hold(item)
        self._wake()
        return True

    def _hold(self, item: Item) -> None:
        item.since = monotonic()
        self.lanes[item.path].append(item)
        self.held_items += 1
        self.held_bytes += item.size

    def _release(self, item: Item) -> None:
        self.held_items -= 1
        self.held_bytes -= item.size
        if self.spool is not None:
            self.spool.done(item)

    def _wake(self) -> None:
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self._run, name="redpen-client", daemon=True)
            try:
                self.thread.start()
            except RuntimeError:  # Python is ending; `close` will send
                self.thread = None
        self.state.notify_all()

    def _empty(self) -> bool:
        return not self.held_items and not (self.spool is not None and self.spool.cold)

    def _drop(self, count: int, why: str) -> None:
        if count:
            first = not self.stats.dropped
            self.stats.dropped += count
            (log.error if first else log.debug)("redpen: %d item(s) dropped: %s", count, why)

    def _leave(self) -> None:
        """The end: what could not be sent."""
        self.left = True
        if self.spool is not None:
            sync(self.spool.unsynced())
            if not self._empty():
                log.warning("redpen: what could not be sent waits in %s for the next start", self.spool.folder)
            self.spool.let_go()
        elif self.held_items:
            log.error("redpen: %d item(s) could not be sent before the end and are lost", self.held_items)
            self._drop(self.held_items, "the end")
            self.held_items = 0
        self.state.notify_all()

    # the sending thread

    def _run(self) -> None:
        while True:
            with self.state:
                batch = self._next()
                if batch is None:
                    self.thread = None
                    break
                files = self.spool.unsynced() if self.spool is not None else []
                self.sync_at = monotonic() + self.settings.flush_interval
                left = None if self.closing is None else max(0.05, self.closing - monotonic())
                if batch.items and batch.dropped is None:
                    batch.dropped = self.stats.dropped - self.told_drops
            sync(files)
            if not batch.items:
                continue
            try:
                told: Outcome = self.transport.send(batch, timeout=left)
            except Exception as error:  # the thread's edge: it must go on
                log.exception("redpen: a batch could not be sent")
                told = Later(repr(error))
            self._settle(batch, told)
        self.transport.close()

    def _next(self) -> Batch | None:
        """Wait for the next batch; an empty one where only the spool's files want syncing. None: this is the end."""
        while True:
            now = monotonic()
            if self.closing is not None and (now >= self.closing or self.problem is not None):
                return None
            if not self.held_items and self.spool is not None and self.spool.cold:
                self._warm(self.spool)
                continue
            if not self.held_items:
                if self.closing is not None:
                    return None
                self.state.wait()
                continue
            at = max(self.not_before, self._due_at())
            if now >= at:
                return self.again.popleft() if self.again else self._batch()
            if self.spool is not None and self.spool.dirty:
                if now >= self.sync_at:
                    return Batch([])
                at = min(at, self.sync_at)
            self.state.wait(min(at, self.closing or at) - now)

    def _due_at(self) -> float:
        s = self.settings
        if self.again or self.flushers or self.closing is not None or self.held_bytes >= s.batch_bytes:
            return 0.0
        if any(len(lane) >= s.batch_items for lane in self.lanes.values()):
            return 0.0
        return min(lane[0].since for lane in self.lanes.values() if lane) + s.flush_interval

    def _batch(self) -> Batch:
        """From the lane that has waited longest; a reaction taken back by its name is a request of its own."""
        lane = min((lane for lane in self.lanes.values() if lane), key=lambda lane: lane[0].since)
        items = [lane.popleft()]
        size = items[0].size
        # feedback is refused where its answer has not come: it does not overtake answers
        behind = self.lanes["responses"] if lane is self.lanes["feedback"] else ()
        while lane and not items[0].withdraws and not lane[0].withdraws:
            if behind and behind[0].since < lane[0].since:
                break
            size += lane[0].size
            if len(items) >= self.settings.batch_items or size > self.settings.batch_bytes:
                break
            items.append(lane.popleft())
        return Batch(items)

    def _warm(self, spool: Spool) -> None:
        items, torn, adopted = spool.warm()
        self.stats.accepted += len(items) if adopted else 0
        for item in items:
            if item.path in self.lanes:
                self._hold(item)
            else:
                spool.done(item)
                torn += 1
        if torn:
            self._drop(torn, "lines of the spool that cannot be read")

    def _settle(self, batch: Batch, told: Outcome) -> None:
        refused: list[tuple[Item, Problem]] = []
        with self.state:
            if self.left:  # given up meanwhile
                return
            if isinstance(told, (Judged, Refused)):
                self.problem = None
            if isinstance(told, Judged):
                self.told_drops += batch.dropped or 0
                again = self._judge(batch, told, refused)
                if again:
                    self.again.appendleft(Batch(again))
                    self._wait_a_little(told.after)
                else:
                    self.failures = 0
            elif isinstance(told, Later):
                log.warning("redpen: %d item(s) wait, try %d: %s", len(batch.items), self.failures + 1, told.why)
                self.again.appendleft(batch)
                self._wait_a_little(told.after)
            elif isinstance(told, ShutOut):
                log.error("redpen: nothing can be sent: %s", told.problem)
                self.problem = told.problem
                self.again.appendleft(batch)
                self._wait_a_little(LONGEST_WAIT)
            elif len(batch.items) > 1:
                # refused as a whole: halved until it is clear which items are meant
                middle = len(batch.items) // 2
                self.again.extendleft([Batch(batch.items[middle:]), Batch(batch.items[:middle])])
            else:
                refused.append((batch.items[0], told.problem))
            self.state.notify_all()
        self._tell(refused)

    def _judge(self, batch: Batch, told: Judged, refused: list[tuple[Item, Problem]]) -> list[Item]:
        """The items that are to be sent again."""
        again = []
        for item, fate in zip(batch.items, told.fates):
            if fate.status == "retry":
                again.append(item)
            elif fate.status == "refused":
                refused.append((item, fate.problem or Problem.of(None, 422)))
            else:
                setattr(self.stats, fate.status, getattr(self.stats, fate.status) + 1)
                self._release(item)
        return again

    def _wait_a_little(self, after: float | None) -> None:
        """Twice as long each time, with chance in it so that many clients do not come back at one moment."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self.failures, 20))
        self.failures += 1
        self.not_before = monotonic() + max(after or 0.0, random.uniform(longest / 2, longest))

    def _tell(self, refused: list[tuple[Item, Problem]]) -> None:
        """What is refused counts as held until it was told: whoever flushes has heard of it."""
        for item, problem in refused:
            log.error("redpen: refused: %s %s: %s", item.path, item.id or "(without a name)", problem)
            try:
                if self.settings.on_refused is not None:
                    self.settings.on_refused(Refusal(item.path, item.id, item.body, problem))
            except Exception:  # theirs
                log.exception("redpen: on_refused failed")
            with self.state:
                if not self.left:
                    self.stats.refused += 1
                    self._release(item)
                    self.state.notify_all()

    def after_fork(self) -> None:
        """In the child: its own lock, connections and spool file."""
        if self.spool is not None:
            self.spool.let_go()
        self.transport.after_fork()
        self._begin()


def sync(files: list[BinaryIO]) -> None:
    for file in files:
        try:
            os.fsync(file.fileno())
        except (OSError, ValueError) as error:  # ValueError: closed
            log.error("redpen: the spool cannot be written: %s", error)
