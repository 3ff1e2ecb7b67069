"""Lists page by key, never by offset: a page begins after the last id of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from redpen.accounts.errors import NotReadable

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    items: list[Row]
    next: str | None  # the key that brings the next page


def page_of(rows: QuerySet[Row], *, after: str | None, newest_first: bool = False, limit: int = 50) -> Page[Row]:
    """The next `limit` of `rows` by id (UUIDv7: by time). `after` comes from a URL; raises NotReadable for nonsense."""
    if after:
        rows = rows.filter(**{"id__lt" if newest_first else "id__gt": as_id(after)})
    found = list(rows.order_by("-id" if newest_first else "id")[: limit + 1])
    more = len(found) > limit
    return Page(items=found[:limit], next=str(found[limit - 1].pk) if more else None)


def as_id(value: Any) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise NotReadable("The key of the page is not one of ours. Start again from the first page.") from None
