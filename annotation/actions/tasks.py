"""What becomes of a piece of work: drafted, submitted, skipped, reopened. And making tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from annotation import text as texts
from annotation.actions import judgements, records
from annotation.actions.dealing import (
    author_must_hold,
    bounded,
    deal_next,
    heartbeat,
    in_hand,
    lapse,
    lease_end,
    left_for,
)
from annotation.actions.people import Author
from annotation.errors import AssignmentClosed, BadValue
from annotation.models import Assignment, Campaign, Response, Skip, Task
from annotation.models.campaigns import TaskKind
from annotation.queries.unread import open_campaign, unread_answers
from redpen.accounts.errors import TooLarge
from redpen.accounts.models import Project

__all__ = [
    "Given",
    "create_tasks",
    "deal_next",
    "heartbeat",
    "lapse",
    "left_for",
    "reopen",
    "save_draft",
    "skip",
    "submit",
]

State = Assignment.State
DRAFT_BYTES = 64 * 1024
SKIP_REASONS = ("unclear", "offensive", "not_my_language", "too_long", "broken", "other")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a submit brings beside the marks: words on the whole answer, or the choice of a pair."""

    verdict: str = ""
    words: str = ""
    preference: judgements.Compared | None = None
    active_seconds: float = 0.0


@dataclass
class Asked:
    """How many new tasks of each kind."""

    spans: int = 0
    pairs: int = 0


@transaction.atomic
def submit(*, author: Author, assignment: Assignment, given: Given) -> tuple[Assignment, bool]:
    """Hand the work in; its marks count from now on. Submitting again with the same content changes nothing.

    The second value is True for an extra opinion: the lease had lapsed and the places were filled. It is kept.
    """
    task, assignment = lock(author, assignment)
    if assignment.state == State.SKIPPED:
        raise AssignmentClosed("You skipped this. Reopen it to answer it.", data={"state": assignment.state})
    again = assignment.state == State.SUBMITTED
    if task.kind == TaskKind.PAIR:
        judgements.settle_preference(
            author=author, task=task, assignment=assignment, compared=given.preference, again=again
        )
    else:
        judgements.settle_critique(
            author=author, task=task, assignment=assignment, verdict=given.verdict, words=given.words, again=again
        )
    others = Assignment.objects.filter(in_hand(), task=task).exclude(pk=assignment.pk).count()
    extra = others >= task.wanted
    if again:
        return assignment, extra
    Assignment.objects.filter(pk=assignment.pk).update(
        state=State.SUBMITTED,
        submitted_at=Now(),
        lease_expires_at=None,
        active_seconds=F("active_seconds") + bounded(given.active_seconds),
    )
    assignment.refresh_from_db()
    settle(task)
    author.audit("assignment.submitted", project=task.project, subject=assignment, task=str(task.pk), extra=extra)
    return assignment, extra


@transaction.atomic
def skip(
    *, author: Author, assignment: Assignment, reason: str, text: str = "", active_seconds: float = 0.0
) -> Assignment:
    """Leave a task with a reason; it goes to somebody else. Skipping twice is skipping once."""
    if reason not in SKIP_REASONS:
        raise BadValue("/reason", f"The reason is one of {', '.join(SKIP_REASONS)}.")
    texts.check(text, "/text")
    task, assignment = lock(author, assignment)
    if assignment.state == State.SUBMITTED:
        raise AssignmentClosed("You submitted this. Reopen it to skip it.", data={"state": assignment.state})
    if assignment.state == State.SKIPPED:
        return assignment
    note = Skip.objects.create(
        project_id=task.project_id,
        response_id=task.response_id,
        assignment=assignment,
        campaign_version_id=assignment.campaign_version_id,
        reason=reason,
        text=text,
        **author.fields(),
    )
    Assignment.objects.filter(pk=assignment.pk).update(
        state=State.SKIPPED,
        lease_expires_at=None,
        active_seconds=F("active_seconds") + bounded(active_seconds),
    )
    assignment.refresh_from_db()
    author.audit("assignment.skipped", project=task.project, subject=note, task=str(task.pk), reason=reason)
    return assignment


@transaction.atomic
def reopen(*, author: Author, assignment: Assignment) -> Assignment:
    """Undo submit or skip: the work is in its author's hands again. Its marks do not count until submitted."""
    task, assignment = lock(author, assignment)
    before = assignment.state
    if before == State.SKIPPED:
        for note in Skip.objects.filter(assignment=assignment, ended_at=None):
            records.end(note, by=author.user, reason="retracted")
    Assignment.objects.filter(pk=assignment.pk).update(
        state=State.HELD,
        submitted_at=None,
        lease_expires_at=lease_end(),
        attempt=F("attempt") + (0 if before == State.HELD else 1),
    )
    assignment.refresh_from_db()
    settle(task)
    if before != State.HELD:
        author.audit("assignment.reopened", project=task.project, subject=assignment, was=before)
    return assignment


@transaction.atomic
def save_draft(*, author: Author, assignment: Assignment, draft: dict[str, Any]) -> Assignment:
    """Keep what is not yet a record. The last one wins; a closed piece of work takes none."""
    texts.check_json(draft)
    if len(json.dumps(draft)) > DRAFT_BYTES:
        raise TooLarge(f"A draft has at most {DRAFT_BYTES // 1024} kB.")
    author_must_hold(author, assignment)
    records.check_open(assignment)
    Assignment.objects.filter(pk=assignment.pk, state__in=[State.HELD, State.LAPSED]).update(draft=draft)
    assignment.refresh_from_db()
    return assignment


def lock(author: Author, assignment: Assignment) -> tuple[Task, Assignment]:
    """The task, then the assignment, both locked until the transaction ends."""
    author_must_hold(author, assignment)
    task = Task.objects.select_for_update(of=("self",)).select_related("project").get(pk=assignment.task_id)
    return task, Assignment.objects.select_for_update().get(pk=assignment.pk)


def settle(task: Task) -> None:
    """Close a locked task that has its opinions, open one that lacks some again."""
    enough = Assignment.objects.filter(task=task, state=State.SUBMITTED).count() >= task.wanted
    state = {(Task.State.OPEN, True): Task.State.DONE, (Task.State.DONE, False): Task.State.OPEN}.get(
        (Task.State(task.state), enough)
    )
    if state:
        task.state = state
        task.save(update_fields=["state"])


ASKED_AT_ONCE = 1000


def ask_about_unread(
    *, author: Author, project: Project, since: datetime | None = None, campaign: Campaign | None = None
) -> Asked:
    """Ask for marks on every answer about which nothing was said, and for one comparison a prompt with two of them.

    In batches, so that a million answers fit; asking again adds nothing. Without an open campaign nothing is asked.
    """
    campaign = campaign or open_campaign(project)
    asked = Asked()
    if campaign is None:
        return asked
    rows = unread_answers(project, since=since).select_related(None).defer("text", "thinking", "steps")
    first: Response | None = None  # of a prompt, until its second comes, perhaps in the next batch
    paired = None
    while batch := list(rows.order_by("prompt_id", "id")[:ASKED_AT_ONCE]):
        pairs: list[tuple[Response, Response]] = []
        for one in batch:
            if first is None or first.prompt_id != one.prompt_id:
                first = one
            elif paired != one.prompt_id:
                pairs.append((first, one))
                paired = one.prompt_id
        asked.spans += create_tasks(author=author, campaign=campaign, responses=batch)
        asked.pairs += create_tasks(author=author, campaign=campaign, pairs=pairs)
    return asked


@transaction.atomic
def create_tasks(
    *,
    author: Author,
    campaign: Campaign,
    responses: Iterable[Response] = (),
    pairs: Iterable[tuple[Response, Response]] = (),
    wanted: int = 1,
    priority: float = 0.0,
    priority_reason: str = "",
) -> int:
    """Ask for marks on `responses` and comparisons of `pairs`; what is asked already stays. How many are new."""
    shared = {
        "project_id": campaign.project_id,
        "campaign": campaign,
        "wanted": wanted,
        "priority": priority,
        "priority_reason": priority_reason,
    }
    tasks = []
    for one in responses:
        if one.test:
            raise BadValue("/responses", "This is test data, about which nobody is asked.")
        tasks.append(Task(kind=TaskKind.SPANS, prompt_id=one.prompt_id, response=one, **shared))
    for first, second in pairs:
        if first.test or second.test:
            raise BadValue("/pairs", "This is test data, about which nobody is asked.")
        if first.prompt_id != second.prompt_id:
            raise BadValue("/pairs", "The two answers of a pair answer the same prompt.")
        if first.pk == second.pk:
            raise BadValue("/pairs", "A pair has two different answers.")
        pair = Task(kind=TaskKind.PAIR, prompt_id=first.prompt_id, response=first, other=second, **shared)
        # stored, so that everybody's page and every reload show the same sides; from the ids, which are random
        pair.shuffle_seed = int(first.pk.hex[-4:], 16) ^ int(second.pk.hex[-4:], 16)
        tasks.append(pair)
    Task.objects.bulk_create(tasks, batch_size=500, ignore_conflicts=True)
    new = Task.objects.filter(pk__in=[task.pk for task in tasks]).count()
    if new:
        author.audit("tasks.created", project=campaign.project, subject=campaign, count=new, wanted=wanted)
    return new
