"""Freezing records: first the query, in the transaction of whoever asks; then the files, where there is time for it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from annotation.actions import counting
from annotation.queries.intake import intake_of
from redpen.accounts import audit
from redpen.accounts.models import Project, User
from training.models import Snapshot
from training.snapshots import files, rows
from training.snapshots.query import SnapshotQuery

log = logging.getLogger(__name__)


def postgres_now():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


@transaction.atomic
def freeze_query(*, project: Project, query: SnapshotQuery, author: User | None, name: str = "") -> Snapshot:
    """A snapshot's row with its query frozen at this moment; its files are written by `write_snapshot`."""
    counting.catch_up()  # reactions are joined to their answers, and those that no longer count have ended
    frozen = query.frozen(postgres_now(), leave_out=intake_of(project).leave_out)
    more = len(query.kinds) - 3
    of_kinds = ", ".join(query.kinds[:3]) + f" and {more} more kinds" if more > 0 else " and ".join(query.kinds)
    snapshot = Snapshot.objects.create(
        project=project,
        name=name or f"{of_kinds} of {frozen.until:%d %b %Y %H:%M}",
        query=frozen.model_dump(mode="json"),
        created_by=author,
    )
    audit.record(
        "snapshot.frozen",
        project=project,
        actor=author,
        agent="" if author else "run",
        subject=snapshot,
        kinds=list(query.kinds),
    )
    return snapshot


def write_snapshot(snapshot: Snapshot) -> Snapshot:
    """Write the files and say so. Harmless when repeated; whoever is second to say so finds it said."""
    if snapshot.state == Snapshot.State.READY:
        return snapshot
    query = SnapshotQuery.model_validate(snapshot.query)
    path = f"snapshots/{snapshot.pk}"
    with _one_moment():
        labels = rows.labels(snapshot.project, query)
        manifest = files.write(
            settings.DATA_DIR / path,
            rows.stream(snapshot.project, query),
            query=snapshot.query,
            labels=labels,
            left_out=rows.left_out(snapshot.project, query),
        )
    Snapshot.objects.filter(pk=snapshot.pk).exclude(state=Snapshot.State.READY).update(
        state=Snapshot.State.READY,
        content_hash=manifest["content_hash"],
        counts=manifest["counts"],
        path=path,
        error="",
    )
    snapshot.refresh_from_db()
    log.info("snapshot.ready", extra={"snapshot": str(snapshot.pk), "rows": manifest["counts"]["rows"]})
    return snapshot


def build_snapshot(project: Project, query: SnapshotQuery, author: User | None, *, name: str = "") -> Snapshot:
    """Both at once, for commands and tests."""
    return write_snapshot(freeze_query(project=project, query=query, author=author, name=name))


def folder(snapshot: Snapshot) -> Path:
    """Where its files lie."""
    return settings.DATA_DIR / snapshot.path


@contextmanager
def _one_moment():
    """All kinds of rows from one view of the database, where we are the ones who open the transaction."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
