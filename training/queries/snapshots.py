"""What a query would freeze, counted before anything is written."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from annotation.queries.intake import intake_of
from redpen.accounts.models import Project
from training.models import Snapshot
from training.snapshots import files, rows
from training.snapshots.query import SnapshotQuery

SPLITS = ("train", "dev", "test")


def preview(project: Project, query: SnapshotQuery) -> dict[str, Any]:
    """Rows by kind and split, and marks by label (`key`, `name`, `sentiment`, `count`)."""
    query = query.frozen(timezone.now(), leave_out=intake_of(project).leave_out)
    values = rows.parameters(project, query)
    names = {label["key"]: label["name"] for label in rows.labels(project, query)}
    with connection.cursor() as cursor:
        counts: dict[str, dict[str, int]] = {}
        for kind in query.kinds:
            cursor.execute(rows.COUNTS[kind], values)
            found = dict(cursor.fetchall())
            counts[kind] = {split: found.get(split, 0) for split in SPLITS}
        labels = []
        if "response" in query.kinds:
            cursor.execute(rows.LABEL_COUNTS, values)
            labels = [
                {"key": key, "name": names.get(key, "no label"), "sentiment": sentiment, "count": count}
                for key, sentiment, count in cursor.fetchall()
            ]
    return {"rows": counts, "labels": labels}


def of_project(project: Project):
    return Snapshot.objects.filter(project=project).select_related("created_by").order_by("-id")


def examples(snapshot: Snapshot, limit: int = 5) -> list[dict[str, Any]]:
    """The first rows of a snapshot's file, with the records that they came from; none where the file is elsewhere."""
    folder = settings.DATA_DIR / snapshot.path
    if snapshot.state != Snapshot.State.READY or not (folder / "rows.jsonl").is_file():
        return []
    return list(islice(files.read(folder), limit))
