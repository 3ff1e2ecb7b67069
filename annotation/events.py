"""What makes two events the same event: names that the caller and the database agree on.

A digest as a UUID costs 16 bytes in a unique index, whatever the caller's ids look like, and one arbiter of conflicts
serves both kinds of names. MD5 is no guard against malice here: whoever could forge a collision writes in the same
project anyway. Postgres can make the same digest (`md5(...)::uuid`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import md5
from typing import Any
from uuid import UUID

SEPARATOR = "\x1f"


def digest(*parts: str) -> UUID:
    return UUID(digest_text(*parts))


def digest_text(*parts: str) -> str:
    """The parts, which cannot be confused with other parts: a separator stands between them, lengths before.

    As the text of a UUID, because making the object costs more than the digest where thousands are made a second.
    """
    return dashed(md5(joined(parts).encode(), usedforsecurity=False).hexdigest())


def joined(parts: Iterable[str]) -> str:
    return SEPARATOR.join([f"{len(part)}{SEPARATOR}{part}" for part in parts])


def dashed(hexed: str) -> str:
    return f"{hexed[:8]}-{hexed[8:12]}-{hexed[12:16]}-{hexed[16:20]}-{hexed[20:]}"


def named_event(project: UUID, test: bool, external_id: str) -> UUID:
    """The event that the caller calls so."""
    return UUID(named_event_text(str(project), test, external_id))


def named_event_text(project: str, test: bool, external_id: str) -> str:
    """The digest_text of all four, of which three are the same for all of a project's events."""
    made = begun(project, test).copy()
    made.update(f"{len(external_id)}{SEPARATOR}{external_id}".encode())
    return dashed(made.hexdigest())


@lru_cache(maxsize=4096)
def begun(project: str, test: bool) -> Any:
    """The digest of all that comes before the caller's id; to be copied."""
    return md5((joined(("id", project, "test" if test else "live")) + SEPARATOR).encode(), usedforsecurity=False)


def unnamed_event(
    project: UUID, test: bool, *, response: str, user: str, kind: str, at: datetime, retracts: bool = False
) -> UUID:
    """The event of this user, on this answer (our id or the caller's), of this kind, at this time."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    tap = "back" if retracts else "tap"
    return digest("event", str(project), "test" if test else "live", response, user, kind, moment, tap)
