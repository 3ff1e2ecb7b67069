"""What users of a product do with an answer, one event at a time. Thousands a second come by `annotation.intake`.

An event is appended and never changed; `standing` says which still count.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from annotation.actions import building
from annotation.actions.people import Author
from annotation.actions.standing import settle
from annotation.errors import OtherContent
from annotation.models import Reaction, ReactionKind, Response
from redpen.accounts.constraints import constraint_of
from redpen.accounts.models import Project


@transaction.atomic
def react(*, author: Author, kind: ReactionKind, event_at: datetime, **event: Any) -> tuple[Reaction, bool]:
    """Record a tap, that the answer was shown, or that a tap was taken back (`retracts`). False: it was known.

    Raises OtherContent where the caller's `external_id` stands for another event.
    """
    row = building.reaction(author=author, kind=kind, event_at=event_at, **event)
    if row.response is None:
        found = Response.objects.filter(project_id=row.project_id, test=row.test, external_id=row.response_external_id)
        row.response = found.first()
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        if constraint_of(error) != "annotation_reaction_dedup_key":
            raise
        return known_event(row), False
    author.audit("reaction.given", project=kind.project, subject=row, kind=kind.key)
    if row.response_id:
        settle([(row.response_id, row.external_user)])
        row.refresh_from_db(fields=["ended_at", "end_reason"])
    return row, True


def known_event(row: Reaction) -> Reaction:
    stored = Reaction.objects.get(dedup=row.dedup)
    told = ("kind_id", "external_user", "event_at", "text", "retracts")
    differs = [name for name in told if getattr(stored, name) != getattr(row, name)]
    if differs:
        raise OtherContent(key=row.external_id or "", differs=differs)
    return stored


@transaction.atomic
def withdraw(*, author: Author, response: Response, kind: ReactionKind, external_user: str) -> Reaction:
    """The user took the tap back, now: an event too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now = cursor.fetchone()[0]
    return react(author=author, kind=kind, event_at=now, response=response, external_user=external_user, retracts=True)[
        0
    ]


def join_waiting(*, project: Project, responses: Iterable[Response]) -> int:
    """Reactions that came before their answer find it now. Inside a transaction."""
    by_name = {(row.test, row.external_id): row for row in responses if row.external_id}
    waiting = Reaction.objects.filter(
        project=project, response=None, response_external_id__in=[name for _, name in by_name]
    )
    pairs = []
    for row in waiting.select_for_update(of=("self",)).order_by("id"):
        response = by_name.get((row.test, row.response_external_id))
        if response is not None:
            Reaction.objects.filter(pk=row.pk, response=None).update(response=response)
            pairs.append((response.pk, row.external_user))
    settle(pairs)
    return len(pairs)
