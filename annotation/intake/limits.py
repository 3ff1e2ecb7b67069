"""How much the intake takes at once, and how it says that it was too much."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from django.conf import settings

MB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    body_bytes: int = field(default_factory=lambda: settings.INTAKE_BODY_MB * MB)  # after unpacking
    batch_items: int = field(default_factory=lambda: settings.INTAKE_BATCH_ITEMS)  # of a JSON array
    line_items: int = field(default_factory=lambda: settings.INTAKE_NDJSON_LINES)  # of one NDJSON request
    item_bytes: int = field(default_factory=lambda: settings.INTAKE_ITEM_KB * 1024)
    body_seconds: float = field(default_factory=lambda: settings.INTAKE_BODY_SECONDS)  # to arrive in
    # what waits for a commit, all together; the share of one project is a half
    waiting_bytes: int = field(default_factory=lambda: settings.INTAKE_WAITING_MB * MB)
    writers: int = field(default_factory=lambda: settings.INTAKE_WRITERS)


class Buckets:
    """Token buckets: `per_minute` tokens flow in evenly and half a minute's worth may be saved up.

    In memory, for each process: a limit against noise, not an account. The least recently used are forgotten.
    """

    MOST = 50_000

    def __init__(self) -> None:
        self.buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def wait(self, who: object, count: int, per_minute: int) -> float:
        """0 after taking `count` tokens, else the seconds until they are there (nothing is taken)."""
        now = time.monotonic()
        most = max(per_minute / 2, count, 1)
        tokens, at = self.buckets.get(who, (most, now))
        tokens = min(most, tokens + (now - at) * per_minute / 60)
        if tokens < count:
            self.buckets[who] = (tokens, now)
            return (count - tokens) * 60 / per_minute
        self.buckets[who] = (tokens - count, now)
        self.buckets.move_to_end(who)
        if len(self.buckets) > self.MOST:
            self.buckets.popitem(last=False)
        return 0
