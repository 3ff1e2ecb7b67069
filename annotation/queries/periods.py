"""When rows came in, read off an index: ids are UUIDv7 and begin with a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

SLACK = timedelta(hours=1)  # between the clock in an id and the one in created_at


def first_id(at: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def came_in(since: datetime | None, until: datetime | None) -> Q:
    """At `since` or later, and before `until`."""
    found = Q()
    if since is not None:
        found &= Q(created_at__gte=since, id__gte=first_id(since - SLACK))
    if until is not None:
        found &= Q(created_at__lt=until, id__lt=first_id(until + SLACK))
    return found
