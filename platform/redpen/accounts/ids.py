"""Identifiers that sort by the time they were made."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A UUIDv7: lists page by it, because later records have larger ids."""
    return uuid7()
