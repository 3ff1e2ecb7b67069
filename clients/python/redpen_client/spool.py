"""Unsent items on disk, so that a process that dies loses nothing: JSON lines in files of about a megabyte.

`write` hands a line to the operating system before it returns (that survives the death of the process); the sender
syncs what is new each half a second or so (that survives the machine's). A file is removed when each item in it has met
its fate. After a crash all items of a file that is left are sent again: they carry names, so what had arrived counts
once.

A file is locked by the process that writes it. Several processes may share a folder: each takes over only files that
nobody holds.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

from redpen_client.items import Item, encoded, new_id

SEGMENT_BYTES = 1_000_000
log = logging.getLogger("redpen_client")


class Segment:
    """One file, held by an exclusive lock for as long as it is open."""

    def __init__(self, path: Path, file: BinaryIO, size: int = 0) -> None:
        self.path, self.file, self.size = path, file, size
        self.open_items = 0  # without a fate, in memory or (cold) not
        self.dirty = False
        self.adopted = False  # written by an earlier life

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.file.close()


class Spool:
    """`cold` files are not in memory: what an earlier life left, and what memory had no room for, oldest first."""

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self.segments: set[Segment] = set()
        self.cold: deque[Segment] = deque()
        self.current: Segment | None = None  # written to; a cold one while there is a cold one
        for path in sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime):
            self._take_over(path)

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def cold_items(self) -> int:
        """Of this life."""
        return sum(segment.open_items for segment in self.cold)

    @property
    def dirty(self) -> bool:
        return any(segment.dirty for segment in self.segments)

    def write(self, item: Item, *, cold: bool) -> bool:
        """Keep the item. False: the spool is full, or the disk is."""
        line = line_of(item)
        if self.size + len(line) > self.max_bytes:
            return False
        try:
            segment = self._writable(cold=cold)
            segment.file.write(line)
            segment.file.flush()
        except OSError as error:
            log.error("redpen: the spool cannot be written: %s", error)
            return False
        segment.size += len(line)
        segment.dirty = True
        segment.open_items += 1
        if not cold:
            item.segment = segment
        return True

    def unsynced(self) -> list[BinaryIO]:
        """The files with lines that the disk may not have yet; whoever asks syncs them."""
        written = [segment for segment in self.segments if segment.dirty]
        for segment in written:
            segment.dirty = False
        return [segment.file for segment in written]

    def done(self, item: Item) -> None:
        """The item met its fate."""
        segment = item.segment
        if segment is None:
            return
        item.segment = None
        segment.open_items -= 1
        if segment.open_items == 0:
            if segment is self.current:
                self.current = None
            self.segments.discard(segment)
            segment.remove()

    def warm(self) -> tuple[list[Item], int, bool]:
        """The items of the oldest cold file, which are in memory from now on; how many lines could not be read; and
        whether an earlier life wrote them.
        """
        segment = self.cold.popleft()
        if segment is self.current:
            self.current = None
        segment.file.seek(0)
        items: list[Item] = []
        torn = 0
        for line in segment.file:
            try:
                items.append(item_of(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                torn += 1
        for item in items:
            item.segment = segment
        segment.open_items = len(items)
        if not items:
            self.segments.discard(segment)
            segment.remove()
        return items, torn, segment.adopted

    def let_go(self) -> None:
        """Close all files and leave them where they are, for whoever comes next."""
        for segment in self.segments:
            segment.file.close()
        self.segments, self.cold, self.current = set(), deque(), None

    def _writable(self, *, cold: bool) -> Segment:
        if self.current is not None and (self.current.size >= SEGMENT_BYTES or (self.current in self.cold) != cold):
            self.current = None
        if self.current is None:
            self.current = self._open(self.folder / f"{os.getpid()}-{new_id()}.jsonl")
            assert self.current is not None  # nobody else knows the name
            if cold:
                self.cold.append(self.current)
        return self.current

    def _open(self, path: Path) -> Segment | None:
        """None: another process holds it."""
        import fcntl  # not on Windows, where there is no spool

        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        segment = Segment(path, file, size=path.stat().st_size if path.exists() else 0)
        self.segments.add(segment)
        return segment

    def _take_over(self, path: Path) -> None:
        segment = self._open(path)
        if segment is None:
            return
        if segment.size == 0:  # or removed by its owner just now, and made again by opening it
            self.segments.discard(segment)
            segment.remove()
        else:
            segment.adopted = True
            self.cold.append(segment)


def line_of(item: Item) -> bytes:
    head = encoded({"path": item.path, "id": item.id, "withdraws": item.withdraws})
    return head[:-1] + b',"item":' + (item.body or b"null") + b"}\n"


def item_of(line: dict[str, Any]) -> Item:
    body = b"" if line["item"] is None else encoded(line["item"])
    return Item(path=str(line["path"]), body=body, id=line.get("id"), withdraws=bool(line.get("withdraws")))
