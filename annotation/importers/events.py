"""Reactions out of files: an event is known by its digest, whatever key or file it came with before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from annotation.actions.standing import settle
from annotation.errors import OtherContent
from annotation.models import Reaction
from redpen.accounts.models import Project

TOLD = ("kind_id", "external_user", "event_at", "text", "retracts")


def known_events(project: Project, rows: Sequence[Any]) -> dict[UUID, Reaction]:
    """Those of `rows` that are stored, by digest; raises OtherContent for one that says something else."""
    events: dict[UUID, Reaction] = {}
    for row in rows:
        if isinstance(row, Reaction):
            same(events.setdefault(row.dedup, row), row)
    stored = {row.dedup: row for row in Reaction.objects.filter(project=project, dedup__in=list(events))}
    for dedup, row in stored.items():
        same(row, events[dedup])
    return stored


def same(stored: Reaction, row: Reaction) -> None:
    differs = [name for name in TOLD if getattr(stored, name) != getattr(row, name)]
    if differs:
        raise OtherContent(key=row.external_id or row.client_key or "", differs=differs)


def settle_new(rows: Sequence[Any]) -> None:
    """New events may end others, or have been ended before they came."""
    settle([(row.response_id, row.external_user) for row in rows if isinstance(row, Reaction) and row.response_id])
