"""Reads of a product's users: the list with its filters, one user's days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Q, QuerySet

from annotation.honesty import DOUBT, LEAVE_OUT
from annotation.models import ProductUser
from redpen.accounts.models import Project

SHOWS = ("", "doubtful", "left_out", "decided")
SORTS = {"score": "score", "shown": "shown", "latest": "last_at"}
DAYS = 60  # of a timeline


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`show`: all, those who are doubted and not left out, those left out, those about whom a person decided."""

    show: str = ""
    name: str = ""  # part of it
    sort: str = "score"
    test: bool = False


def selected(*, project: Project, wanted: Wanted) -> QuerySet[ProductUser]:
    rows = ProductUser.objects.filter(project=project, test=wanted.test)
    if wanted.show == "doubtful":
        rows = rows.filter(score__gte=DOUBT, left_out=False)
    elif wanted.show == "left_out":
        rows = rows.filter(left_out=True)
    elif wanted.show == "decided":
        rows = rows.filter(decided_at__isnull=False)
    if wanted.name:
        rows = rows.filter(name__contains=wanted.name)
    return rows


def listed(
    *, project: Project, wanted: Wanted, after: UUID | None = None, limit: int = 50
) -> tuple[list[ProductUser], UUID | None]:
    """One page, the highest first; and the user after whom the next page goes on."""
    column = SORTS[wanted.sort]
    rows = selected(project=project, wanted=wanted).select_related("decided_by")
    if after is not None and (last := ProductUser.objects.filter(project=project, pk=after).first()):
        value = getattr(last, column)
        later = Q(**{column: value}, name__gt=last.name)
        if value is not None:
            later |= Q(**{f"{column}__lt": value}) | (Q(last_at=None) if column == "last_at" else Q())
        rows = rows.filter(later)
    order = F(column).desc(nulls_last=True) if column == "last_at" else f"-{column}"
    found = list(rows.order_by(order, "name")[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def tally(*, project: Project, test: bool) -> dict[str, int]:
    """How many users there are, doubtful, left out, decided about by a person."""
    rows = ProductUser.objects.filter(project=project, test=test)
    return rows.aggregate(
        all=Count("pk"),
        doubtful=Count("pk", filter=Q(score__gte=DOUBT, left_out=False)),
        left_out=Count("pk", filter=Q(left_out=True)),
        decided=Count("pk", filter=Q(decided_at__isnull=False)),
    )


DAILY = """
    SELECT date_trunc('day', x.at, 'UTC') AS day, count(*), count(*) FILTER (WHERE x.kinds <> '{}')
    FROM annotation_exposure x
    WHERE x.project_id = %(project)s AND x.external_user = %(name)s AND x.test = %(test)s
    GROUP BY 1 ORDER BY 1 DESC LIMIT %(days)s
"""


def days_of(user: ProductUser) -> list[dict[str, Any]]:
    """The latest days on which the user saw something, the first of them first."""
    with connection.cursor() as cursor:
        cursor.execute(DAILY, {"project": user.project_id, "name": user.name, "test": user.test, "days": DAYS})
        return [{"day": day, "shown": shown, "reacted": reacted} for day, shown, reacted in reversed(cursor.fetchall())]


def doubtful(user: ProductUser) -> bool:
    return user.score >= DOUBT and not user.left_out


def automatic(user: ProductUser) -> bool:
    """What the judging alone would say: left out or not."""
    return user.score >= LEAVE_OUT
