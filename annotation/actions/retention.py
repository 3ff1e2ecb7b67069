"""What is too old to be kept goes, by kind, as the project's settings say. Once a day, some thousand rows at a time.

A reaction's age counts from its event, an answer's and a record's from when it was written or said. Only what came
from the product goes: answers that were imported to be read, and what members of the project say, are kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Coalesce

from annotation import erasure
from annotation.actions.erasing_rows import RECORDS, Rows, only_for
from annotation.actions.erasing_users import postgres_now
from annotation.actions.people import Author
from annotation.erasure import erasing
from annotation.models import IntakeSettings, KeyedRequest, Reaction, Response
from redpen.accounts.models import Project

log = logging.getLogger(__name__)
CHUNK = 5000  # rows that one transaction chooses
LOOKED_FOR = 200_000  # ids that are looked for in the snapshots' files at once
KEEP_KEYED = timedelta(days=30)  # how long an Idempotency-Key is remembered
LOCK = 0x52657461696E  # one process at a time

# Answers that a product sent: with their user, by a key, or out of logs with their time
OF_PRODUCT = ~Q(external_user="") | Q(content__isnull=False) | Q(written_at__isnull=False)


def retain(*, project: Project, now: datetime | None = None) -> Counter[str]:
    """Delete what the project does not keep so long. How many rows of each kind went; one line in the audit trail."""
    row = IntakeSettings.objects.filter(project=project).first()
    counts: Counter[str] = Counter()
    ids: set[str] = set()
    held: Counter[str] = Counter()  # rows of each snapshot
    for kind, days in (row.retention_days if row else {}).items():
        before = (now or postgres_now()) - timedelta(days=days)
        for rows in CHUNKS[kind](project, before):
            with erasing():
                gone = rows()
                if not gone.ids():
                    break
                ids |= gone.ids()
                counts.update(gone.delete())
                gone.settle_counts()
                counts["delivery"] += gone.forget_deliveries()
            if len(ids) > LOOKED_FOR:
                held.update(erasure.held(project, ids))
                ids = set()
    held.update(erasure.held(project, ids))
    counts += Counter()
    if counts:
        Author.program("retention").audit(
            "records.too_old", project=project, counts=dict(counts), snapshots=len(held), snapshot_rows=held.total()
        )
        log.info("retention.done", extra={"project": str(project.pk), "rows": counts.total()})
    return counts


def responses_before(project: Project, before: datetime) -> Iterator[Any]:
    old = Response.objects.filter(OF_PRODUCT, project=project).alias(age=Coalesce("written_at", "created_at"))

    def rows() -> Rows:
        found = Rows(project.pk)
        answers = list(old.filter(age__lt=before).order_by("id").values_list("id", flat=True)[:CHUNK])
        found.responses = set(answers)
        if answers:
            found.prompts = only_for(project.pk, answers, "")
            others = Response.objects.filter(project=project, prompt__in=found.prompts)
            found.responses |= set(others.values_list("id", flat=True))
        found.add_about_responses()
        return found

    while True:
        yield rows


def reactions_before(project: Project, before: datetime) -> Iterator[Any]:
    old = Reaction.objects.filter(project=project, event_at__lt=before).order_by("id")

    def rows() -> Rows:
        found = Rows(project.pk)
        found.add_records(Reaction, Q(pk__in=list(old.values_list("id", flat=True)[:CHUNK])))
        return found

    while True:
        yield rows


def records_before(project: Project, before: datetime) -> Iterator[Any]:
    """All that users of the product said but reactions, old versions too."""

    def rows() -> Rows:
        found = Rows(project.pk)
        for model in RECORDS:
            theirs = model._default_manager.filter(project=project).exclude(external_user="")
            old = theirs.alias(age=Coalesce("said_at", "created_at")).filter(age__lt=before).order_by("id")
            found.add_records(model, Q(pk__in=list(old.values_list("id", flat=True)[:CHUNK])))
        return found

    while True:
        yield rows


CHUNKS = {"response": responses_before, "reaction": reactions_before, "record": records_before}


def retain_all() -> Counter[str]:
    """Every project, and what is kept for some days only. Nothing where another process is at it."""
    counts: Counter[str] = Counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return counts
        try:
            for project in Project.objects.filter(
                pk__in=IntakeSettings.objects.exclude(retention_days={}).values("pk")
            ):
                counts += retain(project=project)
            old = KeyedRequest.objects.filter(created_at__lt=postgres_now() - KEEP_KEYED)
            counts["keyed_request"] += old.delete()[0]
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    return counts + Counter()
