"""Erase a user of a product: what they said, what was written for them, and what others said of that.

Rows go in one transaction, which also writes the ledger. Files (snapshots, what runs have written) follow in a worker:
the row `Erasure` says what is due until they have.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q
from django.db.models.functions import Now

from annotation import erasure, ledger
from annotation.actions.erasing_rows import RECORDS, Rows, only_for
from annotation.actions.people import Author
from annotation.erasure import Gone, NotYet, erasing
from annotation.errors import BadValue
from annotation.models import Erasure, ImportJob, IntakeSettings, LeftOut, ProductUser, Reaction, Response
from annotation.pseudonyms import LONGEST, is_pseudonym, pseudonym
from annotation.queries.records import KINDS
from redpen.accounts.models import Project

log = logging.getLogger(__name__)
SHORTEST_WORDS = 12  # characters: what is shorter stands in other people's texts as well


def names_of(project: Project, user: str) -> list[str]:
    """What a user may be called here: by the name given, and by its hash where names are, or once were, hashed."""
    if not user or len(user) > LONGEST or not user.isprintable():
        raise BadValue("/user", f"A user's id has 1 to {LONGEST} printable characters.", code="user.not_a_name")
    row = IntakeSettings.objects.filter(project=project).first()
    if row is None or is_pseudonym(user):
        return [user]
    return [user, pseudonym(row.user_secret, user)]


def found(*, project: Project, user: str) -> dict[str, int]:
    """How much there is of a user, by kind; empty where there is nothing."""
    names = names_of(project, user)
    counts = {"response": Response.objects.filter(project=project, external_user__in=names).count()}
    for kind in KINDS.values():
        rows = kind.model._default_manager.filter(project=project, external_user__in=names)
        counts[kind.key] = rows.count()
    return {kind: count for kind, count in counts.items() if count}


def erase_user(
    *, author: Author, project: Project, user: str, until: datetime | None = None, only_test: bool = False
) -> Erasure:
    """Erase all that a user said, and all that was written for them, up to now; the report is not yet complete.

    Repeated, it erases what has come since. The caller rings the bell (`finish` in a worker). `only_test`: what test
    keys sent, which is in no ledger.
    """
    names = names_of(project, user)
    with erasing():
        until = until or postgres_now()
        rows, gone = gather(project, names, until, only_test)
        row = Erasure(project=project, until=until, asked_by=author.user, agent=author.agent)
        gone.name = str(row.pk)
        counts = rows.delete()
        rows.settle_counts()
        counts |= {"delivery": sum(rows.forget_deliveries(user="" if only_test else name) for name in names)}
        counts |= forget_user(project, names, only_test)
        if not only_test:
            counts |= scrub_imports(project, names)
        for what, count in erasure.run_in_transaction(gone).items():
            counts[what] = counts.get(what, 0) + count
        counts = {what: count for what, count in counts.items() if count}
        lines = [ledger.Line(ledger.hash_of(project.pk, name), project.pk, until) for name in names]
        row.who, row.counts, row.gone = lines[-1].user, counts, {"ids": sorted(gone.ids), "texts": gone.texts}
        row.save(force_insert=True)
        author.audit("user.erased", project=project, subject=row, counts=counts)
        for line in (
            [] if only_test else lines
        ):  # before the commit: what is erased must be in it; a line too many erases nobody else
            ledger.write(line)
    log.info("user.erased", extra={"erasure": str(row.pk), "project": str(project.pk)})
    return row


def gather(project: Project, names: list[str], until: datetime, only_test: bool) -> tuple[Rows, Gone]:
    rows = Rows(project.pk)
    theirs = Q(external_user__in=names, created_at__lte=until) & (Q(test=True) if only_test else Q())
    answers = list(Response.objects.filter(theirs, project=project).values_list("id", flat=True))
    rows.responses |= set(answers)
    if answers:
        rows.prompts = only_for(project.pk, answers, names[0])
        # with a prompt go the answers that came to it later: samples of our models, rewrites
        on_prompts = Response.objects.filter(project=project, prompt__in=rows.prompts)
        rows.responses |= set(on_prompts.values_list("id", flat=True))
    for model in (*RECORDS, Reaction):
        rows.add_records(model, theirs)
    better = KINDS["rewrite"].model._default_manager.filter(pk__in=rows.records[KINDS["rewrite"].model])
    rows.responses |= set(better.values_list("better_id", flat=True))
    rows.add_about_responses()
    texts = [text for text in rows.texts() if len(text) >= SHORTEST_WORDS]
    return rows, Gone(name="", project=project, until=until, users=names, ids=rows.ids(), texts=texts)


def forget_user(project: Project, names: list[str], only_test: bool) -> dict[str, int]:
    """What was found out about the user."""
    them = Q(project=project, name__in=names) & (Q(test=True) if only_test else Q())
    LeftOut.objects.filter(them).delete()
    return {"user": ProductUser.objects.filter(them).delete()[0]}


def scrub_imports(project: Project, names: list[str]) -> dict[str, int]:
    """Reports of imports quote what was refused, and a file that failed lies here to be tried again."""
    files = reports = 0
    for job in ImportJob.objects.filter(project=project).exclude(state=ImportJob.State.RUNNING):
        path = settings.DATA_DIR / job.path
        if path.is_file() and names_in_file(path, names):
            path.unlink(missing_ok=True)
            files += 1
        if job.report.get("refusals"):
            kept = [one for one in job.report["refusals"] if not any(name in str(one) for name in names)]
            if len(kept) < len(job.report["refusals"]):
                ImportJob.objects.filter(pk=job.pk).update(report={**job.report, "refusals": kept})
                reports += 1
    return {"import_file": files, "import_report": reports}


def names_in_file(path: Any, names: list[str]) -> bool:
    wanted = [name.encode() for name in names]
    longest, tail = max(map(len, wanted)), b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if any(name in tail + piece for name in wanted):
                return True
            tail = piece[-longest:]
    return False


def finish(erasure_id: UUID | str) -> Erasure | None:
    """The part in files, and what had learned from it. Harmless when repeated; None where another is at it."""
    with transaction.atomic():
        due = Erasure.objects.select_for_update(skip_locked=True, of=("self",)).select_related("project")
        row = due.filter(pk=erasure_id, done_at=None).first()
        if row is None:
            return Erasure.objects.filter(pk=erasure_id).exclude(done_at=None).first()
        texts, ids = row.gone.get("texts", []), set(row.gone.get("ids", []))
        gone = Gone(name=str(row.pk), project=row.project, until=row.until, ids=ids, texts=texts)
        report: dict[str, Any] = {}
        try:
            for part in erasure.follow(gone):
                report |= part
        except NotYet as wait:
            Erasure.objects.filter(pk=row.pk).update(report=report | wait.report, waits_for=str(wait)[:200])
            row.refresh_from_db()
            return row
        Erasure.objects.filter(pk=row.pk).update(report=report, gone={}, waits_for="", done_at=Now())
        Author.program("erasure").audit(
            "user.erased_from_files",
            project=row.project,
            subject=row,
            **{name: len(value) for name, value in report.items() if isinstance(value, list)},
        )
    row.refresh_from_db()
    return row


def due() -> list[UUID]:
    """Erasures whose files are not done: the bell was lost, or something had to be waited for."""
    return list(Erasure.objects.filter(done_at=None).order_by("id").values_list("pk", flat=True)[:20])


def replay() -> int:
    """Erase again whom the ledger names: a backup from before that was restored. How many there were."""
    lines: dict[UUID, dict[str, datetime]] = defaultdict(dict)
    for line in ledger.read():
        known = lines[line.project]
        known[line.user] = max(line.at, known.get(line.user, line.at))
    erased = 0
    for project in Project.objects.filter(pk__in=list(lines)):
        users: dict[str, Any] = {}
        for model in (Response, Reaction, *RECORDS):
            rows = model._default_manager.filter(project=project).exclude(external_user="").order_by()
            for user, first in rows.values_list("external_user").annotate(first=Min("created_at")):
                users[user] = min(first, users.get(user, first))
        for user, first in users.items():
            at = lines[project.pk].get(ledger.hash_of(project.pk, user))
            if at is not None and first <= at:
                row = erase_user(author=Author.program("erasure ledger"), project=project, user=user, until=at)
                finish(row.pk)
                erased += 1
    return erased


def erase_again(*, project: Project, since: datetime) -> int:
    """Erase once more whom an import has brought back: its file came before they were erased and was read after it.

    How many they were. Answers and reactions that a key sent bring nobody back: who goes on using the product is new.
    """
    erased = {line.user for line in ledger.read() if line.project == project.pk and line.at >= since}
    if not erased:
        return 0
    users: set[str] = set()
    for model in (Response, Reaction, *RECORDS):
        rows = model._default_manager.filter(project=project, created_at__gte=since).exclude(external_user="")
        if model in (Response, Reaction):
            rows = rows.filter(content=None)
        users |= set(rows.order_by().values_list("external_user", flat=True).distinct())
    back = sorted(user for user in users if ledger.hash_of(project.pk, user) in erased)
    for user in back:
        finish(erase_user(author=Author.program("erasure ledger"), project=project, user=user).pk)
    return len(back)


def postgres_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]
