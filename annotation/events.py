"""What makes two events the same event: names that the caller and the database agree on.

A digest as a UUID costs 16 bytes in a unique index, whatever the caller's ids look like, and one arbiter of conflicts
serves both kinds of names. MD5 is no guard against malice here: whoever could forge a collision writes in the same
project anyway. Postgres can make the same digest (`md5(...)::uuid`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import md5
from uuid import UUID

SEPARATOR = "\x1f"


def digest(*parts: str) -> UUID:
    """The parts, which cannot be confused with other parts: a separator stands between them, lengths before."""
    named = SEPARATOR.join(f"{len(part)}{SEPARATOR}{part}" for part in parts)
    return UUID(bytes=md5(named.encode(), usedforsecurity=False).digest())


def named_event(project: UUID, test: bool, external_id: str) -> UUID:
    """The event that the caller calls so."""
    return digest("id", str(project), "test" if test else "live", external_id)


def unnamed_event(
    project: UUID, test: bool, *, response: str, user: str, kind: str, at: datetime, retracts: bool = False
) -> UUID:
    """The event of this user, on this answer (our id or the caller's), of this kind, at this time."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    tap = "back" if retracts else "tap"
    return digest("event", str(project), "test" if test else "live", response, user, kind, moment, tap)
