"""Records of all kinds in one list, newest first, by key; and the history of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import CharField, Count, Model, Q, QuerySet, Value

from annotation.models import (
    Assignment,
    Choice,
    Comment,
    Critique,
    FeedbackRecord,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Reaction,
    Report,
    Rewrite,
    Skip,
    SpanCritique,
)
from annotation.queries.periods import came_in, first_id
from redpen.accounts.models import AuditEvent, Project, User


@dataclass(frozen=True)
class Kind:
    """How a kind of record is listed. `answers` are the keys that lead to the answers it is about."""

    key: str
    title: str
    model: type[FeedbackRecord]
    words: tuple[str, ...] = ()
    answers: tuple[str, ...] = ("response",)
    related: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind("span", "Mark", SpanCritique, ("quote", "critique", "replacement"), related=("label",)),
        Kind("critique", "Words", Critique, ("text",)),
        Kind("preference", "Comparison", Preference, ("reason",), ("response_a", "response_b")),
        Kind("rating", "Rating", Rating, ("dimension",)),
        Kind("rewrite", "Rewrite", Rewrite, ("better__text",), related=("better",)),
        Kind("reaction", "Reaction", Reaction, ("text",), related=("kind",)),
        Kind("ranking", "Ranking", Ranking, ("reason",), ()),
        Kind("choice", "Choice", Choice, ("reason",)),
        Kind("outcome", "Outcome", Outcome, ("action", "result")),
        Kind("comment", "Comment", Comment, ("text",)),
        Kind("skip", "Skip", Skip, ("text", "reason")),
        Kind("report", "Report", Report, ("text", "reason")),
    )
}
BY_MODEL = {kind.model: kind for kind in KINDS.values()}
STATES = ("live", "ended", "all")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a list shows. Empty fields do not filter; `mine` is for those who see only their own records.

    Test data and live data are never mixed. `settled` leaves out what came in so lately that others may still be on
    their way to a smaller id.
    """

    kind: str = ""
    label: UUID | None = None
    author: UUID | None = None
    agent: str = ""
    origin: str = ""
    model: str = ""
    split: str = ""
    state: str = "live"
    text: str = ""
    response: UUID | None = None
    mine: User | None = None
    test: bool = False
    user: str = ""
    since: datetime | None = None
    until: datetime | None = None
    forwards: bool = False
    settled: datetime | None = None


def select(*, project: Project, kind: Kind, wanted: Wanted) -> QuerySet[Any] | None:
    """The records of one kind, or None where no record of this kind can fit."""
    rows = kind.model._default_manager.filter(came_in(wanted.since, wanted.until), project=project, test=wanted.test)
    if wanted.settled is not None:
        rows = rows.filter(id__lt=first_id(wanted.settled))
    if wanted.user:
        rows = rows.filter(external_user=wanted.user)
    if wanted.label is not None:
        if kind.key != "span":
            return None
        rows = rows.filter(label=wanted.label)
    if wanted.mine is not None:
        rows = rows.filter(author=wanted.mine)
    if wanted.author is not None:
        rows = rows.filter(author=wanted.author)
    if wanted.agent:
        rows = rows.filter(agent=wanted.agent)
    if wanted.origin:
        rows = rows.filter(origin=wanted.origin)
    if wanted.state != "all":
        rows = rows.filter(ended_at__isnull=wanted.state == "live")
    if wanted.model:
        rows = rows.filter(any_of(kind.answers, "model", wanted.model))
    if wanted.response is not None:
        rows = rows.filter(any_of(kind.answers, "id", wanted.response))
    if wanted.split:
        way = "prompt" if hasattr(kind.model, "prompt") else "response__prompt"
        rows = rows.filter(**{f"{way}__split": wanted.split})
    if wanted.text:
        rows = rows.filter(any_of(kind.words, "icontains", wanted.text))
    return rows


def any_of(fields: Sequence[str], lookup: str, value: Any) -> Q:
    """One of the fields fits; none of no fields does."""
    found = Q(pk__in=[])
    for field in fields:
        found |= Q(**{f"{field}__{lookup}": value})
    return found


def listed(
    *, project: Project, wanted: Wanted, cursor: UUID | None = None, limit: int = 50
) -> tuple[list[FeedbackRecord], UUID | None]:
    """One page of records, newest first, and the key of the next. One query finds them, one a kind reads them."""
    order = "id" if wanted.forwards else "-id"
    kinds = [KINDS[wanted.kind]] if wanted.kind else list(KINDS.values())
    parts = []
    for kind in kinds:
        rows = select(project=project, kind=kind, wanted=wanted)
        if rows is None:
            continue
        if cursor is not None:
            rows = rows.filter(**{"id__gt" if wanted.forwards else "id__lt": cursor})
        named = rows.order_by(order).annotate(of=Value(kind.key, output_field=CharField()))
        parts.append(named.values_list("id", "of")[: limit + 1])
    if not parts:
        return [], None
    merged = parts[0] if len(parts) == 1 else parts[0].union(*parts[1:], all=True).order_by(order)[: limit + 1]
    found = list(merged)
    page = found[:limit]
    by_id: dict[UUID, FeedbackRecord] = {}
    for key in {of for _, of in page}:
        ids = [pk for pk, of in page if of == key]
        by_id |= {row.pk: row for row in full(KINDS[key]).filter(pk__in=ids)}
    more = len(found) > limit
    return [by_id[pk] for pk, _ in page], page[-1][0] if more else None


def full(kind: Kind) -> QuerySet[Any]:
    """With all that a list shows of a record."""
    prompts = [f"{way}__prompt" for way in kind.answers[:1]] or ["prompt"]
    return kind.model._default_manager.select_related("author", "assignment", *kind.answers, *prompts, *kind.related)


def find(*, project: Project, lineage: UUID, mine: User | None = None) -> list[FeedbackRecord]:
    """All versions of one record, the first one first; [] where there is none (or it is not theirs to see)."""
    for kind in KINDS.values():
        rows = full(kind).filter(project=project, lineage=lineage).order_by("version")
        if mine is not None:
            rows = rows.filter(author=mine)
        if versions := list(rows):
            return versions
    return []


def trail(*, project: Project, rows: Sequence[Model]) -> list[AuditEvent]:
    """The audit trail of these rows."""
    ids = [row.pk for row in rows]
    return list(AuditEvent.objects.filter(project=project, subject_id__in=ids).select_related("actor").order_by("id"))


def counts(row: FeedbackRecord) -> bool:
    """Whether training sees it: live, no test data, and handed in or never part of a piece of work."""
    submitted = row.assignment is None or row.assignment.state == Assignment.State.SUBMITTED
    return row.ended_at is None and not row.test and submitted


def tally(*, project: Project, response: UUID, test: bool) -> dict[str, int]:
    """How many live records of each kind are about an answer; kinds of which there are none are left out."""
    parts = []
    for kind in KINDS.values():
        rows = select(project=project, kind=kind, wanted=Wanted(response=response, test=test))
        if rows is not None and kind.answers:
            counted = rows.order_by().annotate(of=Value(kind.key, output_field=CharField())).values("of")
            parts.append(counted.annotate(n=Count("pk")).values_list("of", "n"))
    return {kind: count for kind, count in parts[0].union(*parts[1:], all=True) if count}


def speakers(*, project: Project, recent: int = 1000) -> list[str]:
    """The programs and models that spoke lately: a filter offers these."""
    agents: set[str] = set()
    for model in (SpanCritique, Preference, Critique, Rewrite, Reaction):
        rows = model._default_manager.filter(project=project, test=False).order_by("-id")
        agents |= set(rows.values_list("agent", flat=True)[:recent])
    return sorted(agents - {""})


WRITERS = """
    WITH RECURSIVE writer(model) AS (
        (SELECT model FROM annotation_response WHERE project_id = %(project)s AND model > '' ORDER BY model LIMIT 1)
        UNION ALL
        SELECT (SELECT r.model FROM annotation_response r
                WHERE r.project_id = %(project)s AND r.model > w.model ORDER BY r.model LIMIT 1)
        FROM writer w WHERE w.model IS NOT NULL
    )
    SELECT model FROM writer WHERE model IS NOT NULL LIMIT 100
"""


def writers(*, project: Project) -> list[str]:
    """The models that wrote answers here: from name to name in the index response_by_model, not over all answers."""
    with connection.cursor() as cursor:
        cursor.execute(WRITERS, {"project": project.pk})
        return [model for (model,) in cursor.fetchall()]
