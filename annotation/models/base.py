"""What every table of a project shares."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from redpen.accounts.ids import new_id
from redpen.accounts.models import Project


class CurrentTransaction(models.Func):
    """The number of the transaction that writes.

    A reader that has seen all numbers below pg_snapshot_xmin has missed nothing, whatever order the commits came in;
    a cursor over ids or times would miss what committed late.
    """

    template = "(pg_current_xact_id()::text::bigint)"
    output_field = models.BigIntegerField()


class ProjectRow(models.Model):
    """A row of one project. (project, id) is unique so that other rows can point at it within the project."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


def unique_in_project() -> models.UniqueConstraint:
    """The target of other tables' SameProject keys, and the order in which a project's lists page."""
    return models.UniqueConstraint(fields=["project", "id"], name="%(class)s_in_project")
