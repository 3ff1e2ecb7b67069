"""Marking phrases: mark, amend (a new version), retract, restore."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from annotation import text as texts
from annotation.actions import records
from annotation.actions.once import create_once, stored_under
from annotation.actions.people import Author
from annotation.errors import BadValue, OffsetsOutside, OtherContent, QuoteMismatch, RecordChanged, RecordEnded
from annotation.models import Assignment, Evidence, Label, Response, SpanCritique
from annotation.models.campaigns import Sentiment


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of a phrase."""

    sentiment: int
    severity: int = 2
    label_id: UUID | None = None
    critique: str = ""
    replacement: str | None = None
    group: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a mark rests on: a passage of the prompt's context, or a phrase of it."""

    passage: str
    sentences: tuple[int, ...] = ()
    start: int | None = None
    end: int | None = None
    quote: str = ""


WHERE = ("start", "end", "quote")
SAID = tuple(field.name for field in fields(Judgement))
COMPARED = ("response_id", "part", *WHERE, *SAID, "author_id", "agent")


def judgement(*, label: Label | None = None, sentiment: int | None = None, **said: Any) -> Judgement:
    """A Judgement whose sentiment is the label's where none is given."""
    if sentiment is None and label is None:
        raise BadValue("/sentiment", "Say whether the phrase is good or bad, or give it a label that says so.")
    return Judgement(
        sentiment=label.sentiment if sentiment is None else sentiment, label_id=label.pk if label else None, **said
    )


def check_span(*, text: str, start: int, end: int, quote: str) -> None:
    """Raise unless `text[start:end]` is `quote`."""
    if not 0 <= start <= end <= len(text):
        raise OffsetsOutside(start=start, end=end, length=len(text))
    found = text[start:end]
    if found != quote:
        raise QuoteMismatch(start=start, end=end, expected=quote, found=found)


def check_judgement(said: Judgement) -> None:
    if said.sentiment not in Sentiment.values:
        raise BadValue("/sentiment", f"Sentiment is -1, 0 or 1, not {said.sentiment}.")
    if not 1 <= said.severity <= 3:
        raise BadValue("/severity", f"Severity is 1, 2 or 3, not {said.severity}.")
    texts.check(said.critique, "/critique")
    texts.check(said.replacement or "", "/replacement")


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
    check_span(text=records.part_of(response, part), start=start, end=end, quote=quote)
    check_judgement(said)
    row = SpanCritique(
        project_id=response.project_id,
        response=response,
        part=part,
        start=start,
        end=end,
        quote=quote,
        client_key=client_key,
        **asdict(said),
        **records.asked(author=author, assignment=assignment, response=response),
        **author.fields(),
        **about,
    )
    if stored_under(SpanCritique, project_id=row.project_id, client_key=client_key) is None:
        records.check_open(assignment)  # a repeated write is answered even when the work is closed by now
    span, is_new = create_once(row, compare=COMPARED)
    if is_new:
        Evidence.objects.bulk_create(
            Evidence(project_id=span.project_id, span=span, **{**asdict(proof), "sentences": list(proof.sentences)})
            for proof in evidence
        )
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
    if stored := stored_under(SpanCritique, project_id=live.project_id, client_key=client_key):
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
