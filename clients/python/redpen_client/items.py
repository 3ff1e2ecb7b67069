"""One thing to send: where it goes, and its JSON, made once so that a repeat is the same to the byte."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

MEANT_EMPTY = {"quote", "replacement"}  # a place where something is missing; a phrase that should go
OVERHEAD = 200  # bytes that an item costs in memory beside its JSON, about


@dataclass(eq=False)
class Item:
    """An item of a batch for `path` or, where `withdraws`, a reaction to be taken back by its name."""

    path: str
    body: bytes
    id: str | None = None
    withdraws: bool = False
    segment: Any = None  # of the spool that keeps it
    since: float = 0.0  # when it came into memory

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD

    @classmethod
    def of(cls, path: str, fields: Mapping[str, Any]) -> Item:
        """From the fields that were given; None and empty ones are left out."""
        given = {
            name: value
            for name, value in fields.items()
            if not absent(value) or (name in MEANT_EMPTY and value is not None)
        }
        return cls(path=path, body=encoded(given), id=given.get("id"))


def absent(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (str, list, tuple, dict)) and not value)


def encoded(value: Any) -> bytes:
    """JSON as UTF-8. Half a surrogate pair, which UTF-8 cannot spell, is escaped: the server refuses it by name."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def new_id() -> str:
    return str(uuid.uuid4())


def moment(at: datetime | None) -> str:
    """RFC 3339; now, where nothing is given: an item may wait a while before it is sent."""
    at = at or datetime.now(timezone.utc)
    if at.tzinfo is None:
        raise ValueError("Give the time with its zone: datetime.now(timezone.utc), say.")
    return at.isoformat()
