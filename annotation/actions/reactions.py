"""What users of a product do with an answer. The latest event wins, a retraction is an event, answers may come late."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from annotation.actions import building, records
from annotation.actions.people import Author
from annotation.errors import OtherContent
from annotation.models import Reaction, ReactionKind, Response
from redpen.accounts.constraints import constraint_of
from redpen.accounts.models import Project

ATTEMPTS = 3
TOLD = ("kind_id", "external_user", "event_at", "text")


@transaction.atomic
def react(*, author: Author, kind: ReactionKind, event_at: datetime, **event: Any) -> tuple[Reaction, bool]:
    """Record a tap, or that the answer was shown. False: nothing new (a repeat, or older than what is known).

    With the caller's `external_id` an event comes once; without one there is one live reaction for each answer, user
    and kind, and the latest event is it.
    """
    row = building.reaction(author=author, kind=kind, event_at=event_at, **event)
    if row.response is None:
        row.response = Response.objects.filter(project_id=row.project_id, external_id=row.response_external_id).first()
    for _ in range(ATTEMPTS):
        live = live_like(row)
        if live is not None and live.event_at >= row.event_at:
            return live, False
        try:
            with transaction.atomic():
                if live is not None:
                    before = records.lock_live(Reaction, live.lineage, project_id=live.project_id)
                    row.lineage, row.version = before.lineage, before.version + 1
                    records.end(before, by=author.user, reason="superseded")
                row.save(force_insert=True)
            author.audit("reaction.given", project=kind.project, subject=row, kind=kind.key)
            return row, True
        except IntegrityError as error:
            if constraint_of(error) == "reaction_external_id_once":
                return known_event(row), False
            if constraint_of(error) != "reaction_once_a_user":
                raise  # else somebody was faster: compare with theirs
    raise OtherContent(key=row.external_user, differs=["event_at"])


def live_like(row: Reaction) -> Reaction | None:
    """The live reaction that `row` would replace."""
    if row.external_id is not None or row.response is None:
        return None
    return Reaction.objects.filter(
        response=row.response, kind=row.kind, external_user=row.external_user, external_id=None, ended_at=None
    ).first()


def known_event(row: Reaction) -> Reaction:
    stored = Reaction.objects.get(project_id=row.project_id, external_id=row.external_id)
    differs = [
        name for name in ("kind_id", "external_user", "event_at", "text") if getattr(stored, name) != getattr(row, name)
    ]
    if differs:
        raise OtherContent(key=row.external_id or "", differs=differs)
    return stored


@transaction.atomic
def withdraw(*, author: Author, response: Response, kind: ReactionKind, external_user: str) -> Reaction | None:
    """The user took the tap back: the live reaction ends. None when there is none."""
    live = Reaction.objects.filter(
        response=response, kind=kind, external_user=external_user, external_id=None, ended_at=None
    ).first()
    if live is not None:
        records.end(live, by=author.user, reason="retracted")
        author.audit("reaction.withdrawn", project=kind.project, subject=live, kind=kind.key)
    return live


def join_waiting(*, project: Project, responses: Iterable[Response]) -> int:
    """Reactions that came before their answer find it now. Of several by one user and kind the latest stays live."""
    by_name = {row.external_id: row for row in responses if row.external_id}
    waiting = Reaction.objects.filter(
        project=project, response=None, response_external_id__in=list(by_name)
    ).select_for_update()
    joined = 0
    for row in waiting.order_by("-event_at", "-id"):
        response = by_name[row.response_external_id]
        row.response = response
        if row.ended_at is None and live_like(row) is not None:
            records.end(row, by=None, reason="superseded")
        Reaction.objects.filter(pk=row.pk, response=None).update(response=response)
        joined += 1
    return joined
