"""Phrases that users marked become marks (SpanCritique), once the answer is known; they end with their reaction.

What does not stand in the answer makes no mark. It stays on the reaction, which shows it, and is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from annotation.actions import building
from annotation.actions.once import create_many_once
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import EndReason, Label, Reaction, SpanCritique
from redpen.accounts.errors import RedpenError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phrase:
    """One phrase of a reaction. `wrong` says why it is no mark."""

    number: int
    quote: str
    wrong: str = ""


def client_key(reaction: UUID, number: int) -> str:
    return f"reaction:{reaction}:{number}"


def phrases(reaction: Reaction) -> list[Phrase]:
    """What the user marked, as the page of the answer shows it."""
    return [Phrase(number, str(one.get("quote", "")), _wrong(one, reaction)) for number, one in _told(reaction)]


def _told(reaction: Reaction) -> Iterable[tuple[int, dict[str, Any]]]:
    return enumerate(one for one in reaction.spans or [] if isinstance(one, dict))


def _wrong(one: dict[str, Any], reaction: Reaction) -> str:
    if reaction.response is None:
        return ""
    try:
        building.check_span(text=reaction.response.text, **_where(one))
    except RedpenError as error:
        return error.message
    return ""


def _where(one: dict[str, Any]) -> dict[str, Any]:
    """Start, end and quote; events from files may hold anything."""
    where = {name: one.get(name) for name in building.WHERE}
    if [type(value) for value in where.values()] != [int, int, str]:
        raise BadValue("/spans", "It has no start, end and quote.")
    return where


def mark(ids: Sequence[UUID], *, fresh: set[UUID]) -> int:
    """Make and end the marks of these reactions. How many phrases of those in `fresh` do not stand in their answers."""
    rows = list(
        Reaction.objects.filter(pk__in=ids, spans__isnull=False, response__isnull=False)
        .select_related("response", "author")
        .order_by("id")
    )
    _end([row for row in rows if row.ended_at is not None])
    live = [row for row in rows if row.ended_at is None]
    labels, known = _labels(live), _known(live)
    misplaced = 0
    marks: list[SpanCritique] = []
    for row in live:
        wrong = 0
        for number, one in _told(row):
            try:
                if client_key(row.pk, number) not in known:
                    marks.append(_mark(row, number, one, labels))
            except RedpenError:
                wrong += 1
        if wrong and row.pk in fresh:
            misplaced += wrong
            log.warning("reaction.phrases_misplaced", extra={"reaction": str(row.pk), "phrases": wrong})
    create_many_once(marks)
    return misplaced


def _known(rows: Sequence[Reaction]) -> set[str]:
    """The keys of marks that were made before, whatever became of them since."""
    keys = [client_key(row.pk, number) for row in rows for number, _ in _told(row)]
    found = SpanCritique.objects.filter(project__in={row.project_id for row in rows}, client_key__in=keys)
    return set(found.values_list("client_key", flat=True))


def _mark(row: Reaction, number: int, one: dict[str, Any], labels: dict[tuple[UUID, str], Label]) -> SpanCritique:
    label = labels.get((row.project_id, str(one.get("label") or "")))
    sentiment, severity = one.get("sentiment", label.sentiment if label else -1), one.get("severity", 2)
    if type(sentiment) is not int or type(severity) is not int:
        raise BadValue("/spans", "Its sentiment and severity are whole numbers.")
    said = building.Judgement(
        sentiment=sentiment,
        severity=severity,
        label_id=label.pk if label else None,
        critique=str(one.get("critique") or ""),
    )
    unknown = {"label": one["label"]} if one.get("label") and label is None else {}
    return building.span(
        author=Author(user=row.author, agent=row.agent, origin=row.origin),
        response=row.response,
        said=said,
        **_where(one),
        client_key=client_key(row.pk, number),
        external_user=row.external_user,
        said_at=row.event_at,
        metadata={"reaction": str(row.pk), **unknown},
    )


def _labels(rows: Sequence[Reaction]) -> dict[tuple[UUID, str], Label]:
    """By project and key; where two sets have the key, the older one."""
    keys = {(row.project_id, str(one["label"])) for row in rows for _, one in _told(row) if one.get("label")}
    if not keys:
        return {}
    wanted = Q(project__in={project for project, _ in keys}, key__in={key for _, key in keys})
    found: dict[tuple[UUID, str], Label] = {}
    for label in Label.objects.filter(wanted).order_by("label_set_id", "id"):
        found.setdefault((label.project_id, label.key), label)
    return found


def _end(rows: Sequence[Reaction]) -> None:
    """A reaction that no longer counts takes its marks with it."""
    for reason in EndReason.values:
        of_reason = [row for row in rows if row.end_reason == reason]
        keys = [client_key(row.pk, number) for row in of_reason for number, _ in _told(row)]
        projects = {row.project_id for row in of_reason}
        SpanCritique.objects.filter(project__in=projects, client_key__in=keys, ended_at=None).update(
            ended_at=Now(), end_reason=reason
        )
