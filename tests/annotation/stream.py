"""Events as the intake stores them: appended, neither joined to what comes later nor settled."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from annotation import events
from annotation.actions import building, counting
from annotation.actions.campaigns import furnish
from annotation.actions.people import Author
from annotation.models import CountingCursor, Exposure, Prompt, RateCell, Reaction, ReactionKind, Response, TakenBack

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


class Stream:
    """A project's product: `answer`, `tap`, `take_back`. Each is one transaction where the caller opens none."""

    def __init__(self, project: Any) -> None:
        self.project = project
        furnish(project=project, actor=None)
        self.kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=project)}

    def answer(self, name: str = "a", *, test: bool = False, text: str = "It was a king.", **more: Any) -> Response:
        hashed = hashlib.sha256(f"{self.project.pk} {name} {test}".encode()).hexdigest()
        prompt = Prompt.objects.create(
            project=self.project,
            messages=[{"role": "user", "content": f"Who? {name}"}],
            content_hash=hashed,
            split="train",
        )
        about = {"model": "m-1", "language": "en", **more}
        return Response.objects.create(
            project=self.project, prompt=prompt, text=text, external_id=name, test=test, **about
        )

    def tap(
        self,
        kind: str = "like",
        *,
        on: str = "a",
        user: str = "u1",
        minute: float = 0,
        name: str | None = None,
        test: bool = False,
        **more: Any,
    ) -> Reaction:
        """Stored once, as by ON CONFLICT DO NOTHING; the row where it was new, else the one that was there."""
        found = Response.objects.filter(project=self.project, test=test, external_id=on).first()
        row = building.reaction(
            author=Author(agent="key:shop"),
            kind=self.kinds[kind],
            event_at=at(minute),
            response_external_id=on,
            external_user=user,
            external_id=name,
            test=test,
            **more,
        )
        row.response = found
        row.lineage = row.id
        Reaction.objects.bulk_create([row], ignore_conflicts=True)
        return Reaction.objects.get(dedup=row.dedup)

    def take_back(self, name: str, *, test: bool = False) -> None:
        event = events.named_event(self.project.pk, test, name)
        TakenBack.objects.bulk_create([TakenBack(project=self.project, event=event)], ignore_conflicts=True)


def rates_of(project: Any, *, grain: str = "day", name: str = "", **where: Any) -> dict[Any, int]:
    """{(model, value, kind key or None): n} summed over time."""
    keys = dict(ReactionKind.objects.filter(project=project).values_list("pk", "key"))
    found: dict[Any, int] = {}
    for cell in RateCell.objects.filter(project=project, grain=grain, slice=name, **where).exclude(n=0):
        key = (cell.model, cell.value, keys.get(cell.kind_id))
        found[key] = found.get(key, 0) + cell.n
    return found


def exposures_of(project: Any) -> dict[tuple[str, str], tuple[datetime, set[str]]]:
    keys = dict(ReactionKind.objects.filter(project=project).values_list("pk", "key"))
    names = dict(Response.objects.filter(project=project).values_list("pk", "external_id"))
    return {
        (names[row.response_id], row.external_user): (row.at, {keys[kind] for kind in row.kinds})
        for row in Exposure.objects.filter(project=project)
    }


def count_all() -> None:
    """`count` until nothing waits; a vacuum may hold the horizon back for a moment."""
    deadline = time.monotonic() + 20
    while True:
        counting.count()
        done = CountingCursor.objects.values_list("done", flat=True).first() or 0
        later = Q(xact__gte=done)
        if not any(model.objects.filter(later).exists() for model in (Reaction, Response, TakenBack)):
            return
        assert time.monotonic() < deadline, "something waits for ever"
        time.sleep(0.02)


def in_one_go(*does: Any) -> None:
    with transaction.atomic():
        for do in does:
            do()


__all__ = ["NOON", "Stream", "at", "connection", "count_all", "exposures_of", "in_one_go", "rates_of"]
