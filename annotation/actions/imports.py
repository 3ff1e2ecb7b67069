"""Files that people upload: the row says what is due, a worker takes it under a lease, a second try adds nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from annotation import text as texts
from annotation.actions.erasing_users import erase_again
from annotation.actions.people import Author
from annotation.actions.tasks import ask_about_unread
from annotation.errors import BadValue
from annotation.importers.base import Report, run
from annotation.importers.registry import format_named
from annotation.models import ImportJob
from redpen.accounts.errors import Conflict, RedpenError, TooLarge
from redpen.accounts.ids import new_id
from redpen.accounts.models import Project, User

log = logging.getLogger(__name__)
State = ImportJob.State
FOLDER = "uploads/imports"
MOST_BYTES = 1 << 30
ATTEMPTS = 3


class Lost(Exception):
    """Somebody else has taken the import over."""


def lease_end() -> Now:
    return Now() + timedelta(seconds=settings.LEASE_SECONDS)


def create_import(
    *,
    user: User,
    project: Project,
    format: str,
    filename: str,
    chunks: Iterable[bytes],
    dry_run: bool = False,
    ask: bool = True,
) -> ImportJob:
    """Keep the file below DATA_DIR and a row that says it is due. The caller rings the bell."""
    format_named(format)
    name = Path(texts.check(filename, "/file")).name[:200] or "upload"
    pk = new_id()
    path = f"{FOLDER}/{pk}"
    whole = settings.DATA_DIR / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    try:
        size = write(whole, chunks)
        with transaction.atomic():
            job = ImportJob.objects.create(
                id=pk,
                project=project,
                format=format,
                filename=name,
                path=path,
                dry_run=dry_run,
                ask=ask,
                created_by=user,
            )
            about = {"format": format, "bytes": size, "dry_run": dry_run}
            Author.person(user).audit("import.asked", project=project, subject=job, **about)
    except BaseException:
        whole.unlink(missing_ok=True)
        raise
    return job


def write(path: Path, chunks: Iterable[bytes]) -> int:
    size = 0
    with path.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > MOST_BYTES:
                raise TooLarge(f"A file has at most {MOST_BYTES >> 20} MB. Send it in parts.")
            file.write(chunk)
    if size == 0:
        raise BadValue("/file", "The file is empty.")
    return size


def claim(job_id: UUID | str) -> ImportJob | None:
    """Take a queued import, or one whose worker has died. None: another worker has it, or it is done."""
    free = Q(state=State.QUEUED) | Q(state=State.RUNNING, lease_expires_at__lt=Now())
    taken = ImportJob.objects.filter(free, pk=job_id).update(
        state=State.RUNNING, lease_expires_at=lease_end(), attempt=F("attempt") + 1
    )
    return ImportJob.objects.select_related("project", "created_by").get(pk=job_id) if taken else None


def carry_out(job: ImportJob) -> ImportJob:
    """Run a claimed import to its end. What was imported before a crash is found again, not imported twice."""
    author = Author.person(job.created_by)
    try:
        with Keeper(job) as keeper, (settings.DATA_DIR / job.path).open("rb") as stream:
            importer = format_named(job.format)(project=job.project, author=author)
            try:
                report = run(importer, stream, dry_run=job.dry_run, progress=keeper.saw)
            finally:
                if not job.dry_run:
                    erase_again(project=job.project, since=job.created_at)
            if job.ask and not job.dry_run:
                report.asked = asdict(ask_about_unread(author=author, project=job.project, since=job.created_at))
    except Lost:
        log.warning("import.lost", extra={"import": str(job.pk)})
    except RedpenError as error:
        finish(job, state=State.FAILED, error=error.message)
    except FileNotFoundError:
        finish(job, state=State.FAILED, error="The uploaded file is no longer there. Upload it again.")
    except OSError as error:
        finish(job, state=State.FAILED, error=f"The file could not be read: {error.strerror}.")
    except (OperationalError, InterfaceError) as error:  # the database is away: the lease lapses, another try comes
        log.warning("import.interrupted", extra={"import": str(job.pk), "error": type(error).__name__})
        return job
    except Exception:  # the edge of the worker: nothing above could tell the one who waits
        log.exception("import.broken", extra={"import": str(job.pk)})
        finish(job, state=State.FAILED, error=f"This is a fault of ours; the log says more about import {job.pk}.")
    else:
        with transaction.atomic():
            if finish(job, state=State.DONE, report=report.as_json()):
                counts = {"taken": sum(report.taken.values()), "refused": report.refused, "dry_run": job.dry_run}
                author.audit("import.done", project=job.project, subject=job, **counts)
        (settings.DATA_DIR / job.path).unlink(missing_ok=True)
    job.refresh_from_db()
    return job


def finish(job: ImportJob, **fields: object) -> bool:
    """End this attempt, unless it is no longer ours."""
    mine = ImportJob.objects.filter(pk=job.pk, state=State.RUNNING, attempt=job.attempt)
    return bool(mine.update(lease_expires_at=None, ended_at=Now(), **fields))


class Keeper:
    """Renews the lease and tells how far it is, in a thread of its own: a dry run is one long transaction."""

    def __init__(self, job: ImportJob) -> None:
        self.job, self.report = job, Report()
        self.lost, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.keep, name=f"import-{job.pk}", daemon=True)

    def __enter__(self) -> Keeper:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self.thread.join(timeout=10)

    def saw(self, report: Report) -> None:
        """The importer calls this after each batch."""
        self.report = report
        if self.lost.is_set():
            raise Lost

    def keep(self) -> None:
        try:
            while not self.over.wait(min(2.0, settings.LEASE_SECONDS / 3)):
                self.renew()
        finally:
            connection.close()

    def renew(self) -> None:
        report = {**self.report.as_json(), "refusals": []}
        mine = ImportJob.objects.filter(pk=self.job.pk, state=State.RUNNING, attempt=self.job.attempt)
        try:
            renewed = mine.update(lease_expires_at=lease_end(), report=report)
            if not renewed and ImportJob.objects.filter(pk=self.job.pk).exists():
                self.lost.set()
        except DatabaseError as error:  # the next beat may find it again; until then the lease runs
            log.warning("import.not_renewed", extra={"import": str(self.job.pk), "error": type(error).__name__})


@transaction.atomic
def try_again(*, user: User, job: ImportJob) -> ImportJob:
    """Queue a failed import once more. The caller rings the bell."""
    fresh = {"state": State.QUEUED, "attempt": 0, "error": "", "report": {}, "ended_at": None}
    if not ImportJob.objects.filter(pk=job.pk, state=State.FAILED).update(**fresh):
        raise Conflict("Only an import that failed can be tried again.")
    Author.person(user).audit("import.tried_again", project=job.project, subject=job)
    job.refresh_from_db()
    return job


def sweep() -> list[UUID]:
    """What is due: queued imports, and those whose worker has died. One that killed three workers has failed."""
    dead = ImportJob.objects.filter(state=State.RUNNING, lease_expires_at__lt=Now())
    dead.filter(attempt__gte=ATTEMPTS).update(
        state=State.FAILED,
        lease_expires_at=None,
        ended_at=Now(),
        error=f"The worker died {ATTEMPTS} times at this file. What came in before is kept. Send it in smaller parts.",
    )
    dead.update(state=State.QUEUED, lease_expires_at=None)
    return list(ImportJob.objects.filter(state=State.QUEUED).order_by("id").values_list("pk", flat=True)[:20])
