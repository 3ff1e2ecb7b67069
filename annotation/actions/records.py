"""What all kinds of feedback share when they are written: whose, in which assignment, versions and endings."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.db.models.functions import Now

from annotation import text as texts
from annotation.actions.people import Author
from annotation.errors import AssignmentClosed, BadValue, NotYours, RecordEnded
from annotation.models import Assignment, FeedbackRecord, Response
from redpen.accounts.ids import new_id
from redpen.accounts.models import User

Record = TypeVar("Record", bound=FeedbackRecord)

NOT_REPEATED = {"id", "created_at", "client_key", "version", "ended_at", "ended_by", "end_reason", "said_at", "act"}


def part_of(response: Response, part: str) -> str:
    """The stored text of a part of the answer: `text`, `thinking`, or `steps/<index>/<field>`."""
    if part in ("text", "thinking"):
        return getattr(response, part)
    match part.split("/"):
        case ["steps", index, field] if index.isdigit() and int(index) < len(response.steps or []):
            found = response.steps[int(index)].get(field)
            if isinstance(found, str):
                return found
    raise BadValue(
        "/part", f"The answer has no part '{texts.check(part)}'. Say text, thinking or steps/<index>/<field>."
    )


def asked(*, author: Author, assignment: Assignment | None, response: Response) -> dict[str, Any]:
    """What a record keeps of what its author was asked; raises unless `response` is what the assignment is about."""
    if assignment is None:
        return {}
    if not author.holds(assignment):
        raise NotYours("This piece of work belongs to somebody else. Ask for your own.")
    if response.pk not in (assignment.task.response_id, assignment.task.other_id):
        raise BadValue("/assignment", "This piece of work is about another answer.")
    return {"assignment": assignment, "campaign_version_id": assignment.campaign_version_id}


def check_open(assignment: Assignment | None) -> None:
    """Marks belong to work that is still open. Work whose lease lapsed is: late answers are kept."""
    if assignment is not None and assignment.state in (Assignment.State.SUBMITTED, Assignment.State.SKIPPED):
        raise AssignmentClosed(
            f"This piece of work is {assignment.state}. Reopen it to change what you said.",
            data={"assignment": str(assignment.pk), "state": assignment.state},
        )


def check_author(author: Author, row: FeedbackRecord) -> None:
    if not author.wrote(row):
        raise NotYours("Somebody else said this. You can say otherwise beside it.")


def lock_live(model: type[Record], lineage: UUID, *, project_id: UUID) -> Record:
    """The live version of `lineage`, locked until the transaction ends; raises RecordEnded when there is none."""
    row = (
        model._default_manager.select_for_update(of=("self",))
        .select_related("project")
        .filter(project_id=project_id, lineage=lineage, ended_at=None)
        .first()
    )
    if row is None:
        raise RecordEnded("This was retracted meanwhile. Restore it first, or say it again.")
    return row


def next_version(before: Record, *, client_key: str | None = None, **changes: Any) -> Record:
    """An unsaved copy of `before` with `changes`, one version on."""
    kept = {
        field.attname: getattr(before, field.attname)
        for field in before._meta.concrete_fields
        if field.name not in NOT_REPEATED
    }
    return type(before)(id=new_id(), version=before.version + 1, client_key=client_key, **{**kept, **changes})


def end(row: FeedbackRecord, *, by: User | None, reason: str) -> None:
    """End one live version."""
    type(row)._default_manager.filter(pk=row.pk, ended_at=None).update(ended_at=Now(), ended_by=by, end_reason=reason)
    row.refresh_from_db(fields=["ended_at", "ended_by", "end_reason"])


def retract(*, author: Author, row: Record, action: str) -> Record:
    """End what the author said. Retracting what is retracted changes nothing and is no error. Inside a transaction."""
    check_author(author, row)
    try:
        live = lock_live(type(row), row.lineage, project_id=row.project_id)
    except RecordEnded:
        return latest(type(row), row.lineage, project_id=row.project_id)
    check_open(live.assignment)
    end(live, by=author.user, reason="retracted")
    author.audit(action, project=live.project, subject=live)
    return live


def latest(model: type[Record], lineage: UUID, *, project_id: UUID) -> Record:
    return model._default_manager.filter(project_id=project_id, lineage=lineage).order_by("-version")[0]
