"""Whether users of a product are believed: what the judging found is written here, and what a person decides.

Who is left out stays in every list and export; only rates and snapshots leave their reactions out, and only where the
project's settings say so (`IntakeSettings.leave_out`).
`annotation.actions.counting.cells.LEFT_OUT` is how the counting asks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from annotation.actions import counting
from annotation.actions.people import Author
from annotation.honesty import LEAVE_OUT
from annotation.models import LeftOut, ProductUser
from redpen.accounts import audit
from redpen.accounts.models import Project


@dataclass(frozen=True)
class Judged:
    """What the judging found of one user. `due` is what the row said when its evidence was read."""

    name: str
    due: int
    score: float
    left_out: bool
    reasons: list[dict[str, Any]] = field(default_factory=list)
    caps: dict[str, str] = field(default_factory=dict)


WRITE = """
    WITH before AS (
        SELECT u.id, u.left_out, u.caps, n.* FROM annotation_productuser u
        JOIN json_to_recordset(%(judged)s::json)
            AS n (name text, due int, score float8, out bool, reasons jsonb, new_caps jsonb) USING (name)
        WHERE u.project_id = %(project)s AND u.test = %(test)s ORDER BY u.id FOR UPDATE OF u
    )
    UPDATE annotation_productuser u SET score = b.score, reasons = b.reasons, caps = b.new_caps, judged_at = now(),
        due = greatest(u.due - b.due, 0), left_out = CASE WHEN u.decided_at IS NULL THEN b.out ELSE u.left_out END
    FROM before b WHERE u.id = b.id
    RETURNING u.name, u.left_out, b.left_out, u.caps IS DISTINCT FROM b.caps
"""


@transaction.atomic
def write_judged(*, project: Project, test: bool, judged: Sequence[Judged]) -> tuple[list[str], list[str]]:
    """Keep what was found; what a person decided stays. Gives who is left out now and was not, and the other way."""
    rows = [
        {
            "name": one.name,
            "due": one.due,
            "score": one.score,
            "out": one.left_out,
            "reasons": one.reasons,
            "new_caps": one.caps,
        }
        for one in judged
    ]
    with connection.cursor() as cursor:
        cursor.execute(WRITE, {"judged": json.dumps(rows), "project": project.pk, "test": test})
        found = cursor.fetchall()
    gone = sorted(name for name, now, before, _ in found if now and not before)
    back = sorted(name for name, now, before, _ in found if before and not now)
    capped = [name for name, _, _, changed in found if changed]
    _spells(project=project, test=test, gone=gone, back=back)
    if gone or back:
        about = {"left_out": len(gone), "let_in": len(back), "test": test}
        audit.record("honesty.judged", project=project, agent="honesty", **about)
    if again := sorted({*gone, *back, *capped}):
        counting.recount_users(project=project, test=test, users=again)
    return gone, back


@transaction.atomic
def decide(*, author: Author, user: ProductUser, left_out: bool | None) -> ProductUser:
    """A person leaves a user out, or believes them; None hands the decision back to the judging.

    Nothing is deleted: one more call takes it back.
    """
    row = ProductUser.objects.select_for_update().select_related("project").get(pk=user.pk)
    decided = left_out is not None
    now = left_out if left_out is not None else row.score >= LEAVE_OUT
    if decided == (row.decided_at is not None) and now == row.left_out:
        return row
    ProductUser.objects.filter(pk=row.pk).update(
        left_out=now, decided_by=author.user if decided else None, decided_at=Now() if decided else None
    )
    if now != row.left_out:
        names = [row.name]
        _spells(project=row.project, test=row.test, gone=names if now else [], back=[] if now else names)
        counting.recount_users(project=row.project, test=row.test, users=names)
    author.audit("honesty.decided", project=row.project, subject=row, left_out=now, automatic=not decided)
    row.refresh_from_db()
    return row


def _spells(*, project: Project, test: bool, gone: Sequence[str], back: Sequence[str]) -> None:
    of_project = LeftOut.objects.filter(project=project, test=test, ended_at=None)
    of_project.filter(name__in=back).update(ended_at=Now())
    LeftOut.objects.bulk_create(
        [LeftOut(project=project, test=test, name=name) for name in gone], ignore_conflicts=True
    )
