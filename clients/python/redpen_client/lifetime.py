"""When the process ends, or is doubled by a fork: what was begun here is closed, or begun anew."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol


class Living(Protocol):
    """What has to know."""

    def close(self, timeout: float | None = None) -> bool: ...

    def after_fork(self) -> None: ...


ALIVE: weakref.WeakSet[Living] = weakref.WeakSet()


def begin(one: Living) -> None:
    ALIVE.add(one)


def end(one: Living) -> None:
    ALIVE.discard(one)


def close_all() -> None:
    for one in list(ALIVE):
        one.close()


def after_fork() -> None:
    for one in list(ALIVE):
        one.after_fork()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(close_all, close_at_end_of_child)


def close_at_end_of_child(_: object = None) -> None:
    """A child that multiprocessing forked ends without atexit."""
    from multiprocessing import util

    util.Finalize(None, close_all, exitpriority=0)


atexit.register(close_all)
if "multiprocessing.process" in sys.modules and sys.modules["multiprocessing.process"].parent_process() is not None:
    close_at_end_of_child()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
