"""Marking phrases: mark, amend (a new version), retract, restore."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from annotation.actions import building, records
from annotation.actions.building import SAID, WHERE, Judgement, Proof, check_judgement, check_span, judgement
from annotation.actions.once import create_once, stored_under
from annotation.actions.people import Author
from annotation.errors import OtherContent, RecordChanged, RecordEnded
from annotation.models import Assignment, Evidence, Response, SpanCritique

__all__ = ["Judgement", "Proof", "amend_span", "judgement", "mark_span", "restore_span", "retract_span"]


@transaction.atomic
def mark_span(
    *,
    author: Author,
    response: Response,
    start: int,
    end: int,
    quote: str,
    said: Judgement,
    part: str = "text",
    assignment: Assignment | None = None,
    evidence: tuple[Proof, ...] = (),
    client_key: str | None = None,
    **about: Any,
) -> tuple[SpanCritique, bool]:
    """Record what `author` thinks of `response.text[start:end]`; raise QuoteMismatch when that is not `quote`.

    The second value is False when this key has brought the same mark before.
    """
    where = {"start": start, "end": end, "quote": quote, "part": part}
    row = building.span(
        author=author, response=response, said=said, assignment=assignment, client_key=client_key, **where, **about
    )
    proofs = building.evidence(row, evidence, context=response.prompt.context) if evidence else []
    if stored_under(SpanCritique, row.project_id, client_key) is None:
        records.check_open(assignment)  # a repeated write is answered even when the work is closed by now
    span, is_new = create_once(row)
    if is_new:
        Evidence.objects.bulk_create(proofs)
        author.audit("span.marked", project=response.project, subject=span, response=str(response.pk))
    return span, is_new


@transaction.atomic
def amend_span(
    *,
    author: Author,
    live: SpanCritique,
    changes: dict[str, Any],
    version: int | None = None,
    client_key: str | None = None,
) -> SpanCritique:
    """A new version of the mark with `changes` (offsets, quote, judgement); the one before is ended, not altered.

    Raises RecordChanged when `version` is given and no longer the live one.
    """
    if stored := stored_under(SpanCritique, live.project_id, client_key):
        differs = [name for name, value in changes.items() if getattr(stored, name) != value]
        if stored.lineage != live.lineage or differs or not author.wrote(stored):
            raise OtherContent(key=client_key or "", differs=differs or ["lineage"])
        return stored
    before = records.lock_live(SpanCritique, live.lineage, project_id=live.project_id)
    records.check_author(author, before)
    records.check_open(before.assignment)
    if version is not None and version != before.version:
        raise RecordChanged(
            f"This mark was changed meanwhile (version {before.version}, you had {version}). Look at it again.",
            data={"version": before.version},
        )
    fields_now = {name: getattr(before, name) for name in (*WHERE, *SAID)} | changes
    check_span(text=records.part_of(before.response, before.part), **{name: fields_now[name] for name in WHERE})
    check_judgement(Judgement(**{name: fields_now[name] for name in SAID}))
    after = records.next_version(before, client_key=client_key, **changes)
    records.end(before, by=author.user, reason="superseded")
    after.save(force_insert=True)
    copy_evidence(before, after)
    author.audit("span.amended", project=before.project, subject=after, version=after.version)
    return after


@transaction.atomic
def retract_span(*, author: Author, live: SpanCritique) -> SpanCritique:
    """End the mark; it stays readable. Repeating it is harmless."""
    return records.retract(author=author, row=live, action="span.retracted")


@transaction.atomic
def restore_span(*, author: Author, last: SpanCritique, client_key: str | None = None) -> SpanCritique:
    """Undo a retraction: say the last version again as a new one. A live mark is returned as it is."""
    ended = (
        SpanCritique.objects.select_for_update(of=("self",))
        .filter(project_id=last.project_id, lineage=last.lineage)
        .order_by("-version")[0]
    )
    records.check_author(author, ended)
    if ended.ended_at is None:
        return ended
    records.check_open(ended.assignment)
    again = records.next_version(ended, client_key=client_key)
    try:
        with transaction.atomic():
            again.save(force_insert=True)
    except IntegrityError as error:
        raise RecordEnded("Somebody restored this mark at the same moment. Look at it again.") from error
    copy_evidence(ended, again)
    author.audit("span.restored", project=ended.project, subject=again, version=again.version)
    return again


def copy_evidence(before: SpanCritique, after: SpanCritique) -> None:
    Evidence.objects.bulk_create(
        Evidence(
            project_id=after.project_id,
            span=after,
            **{name: getattr(proof, name) for name in ("passage", "sentences", "start", "end", "quote")},
        )
        for proof in before.evidence.all()
    )
