"""Counting again: when a project's slices change, when users are left out or let in, after erasing; and the check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from annotation.actions.counting import cells
from annotation.actions.counting.passes import follow, locked, untune
from annotation.models import ProjectCount
from redpen.accounts.models import Project

AT_ONCE = 10_000  # reactions, or exposures, in one transaction

NEXT = """
    SELECT id, response_id, external_user, spans IS NOT NULL FROM annotation_reaction
    WHERE project_id = %(project)s AND id > %(after)s ORDER BY id LIMIT %(most)s
"""
OF_USERS = """
    SELECT response_id, external_user FROM annotation_exposure x
    WHERE project_id = %(project)s AND external_user = ANY(%(users)s) AND test = %(test)s
    UNION
    SELECT response_id, external_user FROM annotation_reaction e
    WHERE project_id = %(project)s AND external_user = ANY(%(users)s) AND external_user <> '' AND test = %(test)s
    AND response_id IS NOT NULL
"""
DROP_LINES = """
    DELETE FROM {table} l WHERE l.project_id = %(project)s {some}
    AND NOT EXISTS (SELECT FROM annotation_reaction e WHERE e.id = l.reaction_id AND e.ended_at IS NULL)
"""
NONE = UUID(int=0)


def recount_users(*, project: Project, test: bool, users: Iterable[str]) -> int:
    """Count these users' exposures again: they were left out or let in, or erased. How many count otherwise now."""
    about: dict[str, Any] = {"project": project.pk, "users": sorted(set(users) - {""}), "test": test}
    with locked() as cursor:
        cursor.execute(OF_USERS, about)
        changed = cells.recount(cursor, sorted(cursor.fetchall()))
        cursor.execute(
            DROP_LINES.format(table="annotation_liveevent", some="AND l.external_user = ANY(%(users)s)"), about
        )
        untune(cursor)
    return changed


def recount_answers(*, responses: Iterable[UUID]) -> int:
    """Count again what was counted for these answers, which may be gone (erased, or too old to be kept)."""
    changed = 0
    with locked() as cursor:
        cursor.execute(
            "SELECT response_id, external_user FROM annotation_exposure WHERE response_id = ANY(%s)",
            [sorted(set(responses))],
        )
        changed += cells.recount(cursor, sorted(cursor.fetchall()))
        untune(cursor)
    return changed


def rebuild(project: Project) -> int:
    """Count the whole project again, some thousand reactions a transaction. How many pairs counted otherwise before.

    Where it stops half-way nothing is wrong: what is done is done, and `rebuild_some` goes on.
    """
    begin_again(project.pk)
    changed = 0
    while True:
        some, finished = rebuild_some(project.pk)
        changed += some
        if finished:
            return changed


def begin_again(project: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO annotation_projectcount (project_id, slices, after) "
            "SELECT p.id, coalesce(s.slices, '{}'), %(none)s FROM accounts_project p "
            "LEFT JOIN annotation_intakesettings s ON s.project_id = p.id WHERE p.id = %(project)s "
            "ON CONFLICT (project_id) DO UPDATE SET slices = excluded.slices, after = excluded.after",
            {"none": NONE, "project": project},
        )


def rebuild_some(project: UUID) -> tuple[int, bool]:
    """The next some thousand reactions; (how many pairs counted otherwise, whether that was the last of it)."""
    with locked() as cursor:
        cursor.execute("SELECT after FROM annotation_projectcount WHERE project_id = %s FOR UPDATE", [project])
        row = cursor.fetchone()
        if row is None or row[0] is None:
            return 0, True
        cursor.execute(NEXT, {"project": project, "after": row[0], "most": AT_ONCE})
        found = cursor.fetchall()
        _, changed, _ = follow(cursor, found, fresh=set(), again=True)
        finished = len(found) < AT_ONCE
        if finished:
            changed += forget_gone(cursor, project)
        ProjectCount.objects.filter(project=project).update(after=None if finished else found[-1][0])
        untune(cursor)
    return changed, finished


def forget_gone(cursor: Any, project: UUID) -> int:
    """What was counted of reactions that are no more, and cells that hold nothing."""
    cursor.execute(
        "SELECT response_id, external_user FROM annotation_exposure x WHERE project_id = %s AND NOT EXISTS "
        "(SELECT FROM annotation_reaction e WHERE (e.response_id, e.external_user) = (x.response_id, x.external_user))",
        [project],
    )
    changed = cells.recount(cursor, sorted(cursor.fetchall()))
    for table in ("annotation_liveevent", "annotation_liveslice"):
        cursor.execute(DROP_LINES.format(table=table, some=""), {"project": project})
    cursor.execute("DELETE FROM annotation_ratecell WHERE project_id = %s AND n = 0", [project])
    return changed


def rebuild_due(*, most: int = 20) -> int:
    """Projects whose slices are not those that they were counted with are counted again, some thousand at a time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.project_id FROM annotation_intakesettings s "
            "LEFT JOIN annotation_projectcount c ON c.project_id = s.project_id "
            "WHERE s.slices IS DISTINCT FROM coalesce(c.slices, '{}')"
        )
        changed = [row[0] for row in cursor.fetchall()]
    for project in changed:
        begin_again(project)
    done = 0
    for project in ProjectCount.objects.filter(after__isnull=False).values_list("project", flat=True):
        finished = False
        while not finished and done < most:
            _, finished = rebuild_some(project)
            done += 1
    return done


@dataclass(frozen=True)
class Drift:
    """Where figures and records disagreed. All 0 is right."""

    pairs: int
    cells: int

    def __bool__(self) -> bool:
        return bool(self.pairs or self.cells)


SHOULD = cells.CELLS.format(
    exposures="(SELECT 1 AS sign, x.* FROM annotation_exposure x WHERE project_id = %(project)s)"
)
DRIFT = f"""
    SELECT count(*) FROM (SELECT * FROM annotation_ratecell WHERE project_id = %(project)s AND n <> 0) c
    FULL JOIN ({SHOULD}) s ON
        (c.project_id, c.test, c.grain, c.slice, c.at, c.left_out, c.model, c.value, coalesce(c.kind_id, %(none)s))
        = (s.project_id, s.test, s.grain, s.slice, s.at, s.left_out, s.model, s.value, coalesce(s.kind_id, %(none)s))
    WHERE c.n IS DISTINCT FROM s.n
"""
CLEAR = "DELETE FROM annotation_ratecell WHERE project_id = %(project)s"
FILL = f"""
    INSERT INTO annotation_ratecell (project_id, test, grain, slice, at, left_out, model, value, kind_id, n)
    SELECT project_id, test, grain, slice, at, left_out, model, value, kind_id, n FROM ({SHOULD}) s
"""


def check(project: Project) -> Drift:
    """Count all of the project again from its records and compare. What was wrong is right afterwards."""
    pairs = rebuild(project)
    with locked() as cursor:
        untune(cursor)
        about = {"project": project.pk, "none": NONE}
        cursor.execute(DRIFT, about)
        wrong = cursor.fetchone()[0]
        if wrong:
            cursor.execute(CLEAR, about)
            cursor.execute(FILL, about)
    return Drift(pairs=pairs, cells=wrong)
