"""Many records at once: built like single ones (building.py), with one line in the audit trail a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from annotation.actions.once import create_many_once
from annotation.actions.people import Author
from annotation.models import Assignment, Campaign, Evidence, FeedbackRecord, Response, Task
from redpen.accounts.ids import new_id
from redpen.accounts.models import Project


@transaction.atomic
def store_records(
    *, author: Author, project: Project, rows: Sequence[FeedbackRecord], evidence: Sequence[Evidence] = ()
) -> tuple[list[FeedbackRecord], int]:
    """Store built records of any kinds once each; the stored one for each place, and how many are new.

    `author` is who brought them (for the audit trail); whose words they are stands in each row.
    """
    by_kind: dict[type[FeedbackRecord], list[int]] = {}
    for place, row in enumerate(rows):
        by_kind.setdefault(type(row), []).append(place)
    stored: list[Any] = list(rows)
    counts: Counter[str] = Counter()
    for kind, places in by_kind.items():
        kept, added = create_many_once([rows[place] for place in places])
        counts[kind._meta.model_name or ""] += added
        for place, row in zip(places, kept, strict=True):
            stored[place] = row
    new = {row.pk for row in stored} & {row.pk for row in rows}
    Evidence.objects.bulk_create([proof for proof in evidence if proof.span_id in new], batch_size=500)
    if added := counts.total():
        author.audit("records.added", project=project, **{kind: count for kind, count in counts.items() if count})
    return stored, added


@transaction.atomic
def record_submitted(
    *, author: Author, campaign: Campaign, work: Sequence[tuple[Task, str, Any]]
) -> dict[tuple[Any, str], Assignment]:
    """Assignments that programs have done: (task, agent, when). Keyed by task id and agent; repeats add nothing.

    The tasks must be stored. One that has its opinions is done.
    """
    version = campaign.versions.order_by("-number")[0]
    rows = [
        Assignment(
            id=new_id(),
            project_id=campaign.project_id,
            task=task,
            campaign_version=version,
            agent=agent,
            state=Assignment.State.SUBMITTED,
            submitted_at=at or Now(),
        )
        for task, agent, at in work
    ]
    Assignment.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    tasks = {task.pk for task, _, _ in work}
    stored = {(row.task_id, row.agent): row for row in Assignment.objects.filter(task__in=tasks).select_related("task")}
    done = [
        task.pk
        for task in Task.objects.filter(pk__in=tasks, state=Task.State.OPEN)
        if sum(key[0] == task.pk and row.state == "submitted" for key, row in stored.items()) >= task.wanted
    ]
    Task.objects.filter(pk__in=done).update(state=Task.State.DONE)
    if added := Assignment.objects.filter(pk__in=[row.pk for row in rows]).count():
        author.audit("assignments.recorded", project=campaign.project, subject=campaign, count=added)
    return stored


def tasks_of(campaign: Campaign, *, responses: Sequence[Response] | None = None) -> dict[tuple[Any, Any], Task]:
    """The campaign's tasks by what they are about: (response, other). All, or those about `responses`."""
    tasks = Task.objects.filter(campaign=campaign)
    if responses is not None:
        tasks = tasks.filter(response__in=[response.pk for response in responses])
    return {(task.response_id, task.other_id): task for task in tasks}
