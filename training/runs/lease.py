"""Who holds a run, by Postgres' clock. Every write of a worker names its attempt; a stale one changes nothing.

Locks are taken in one order: the project's row (for numbers), then the run's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Max, Value
from django.db.models.functions import Now

from redpen.accounts import audit
from training.models import Run, RunEvent
from training.models.runs import RunState
from training.runs.telling import tell

log = logging.getLogger(__name__)
OURS = 1_000_000_000  # events that we write, not the child, are numbered from here
PAUSE = timedelta(seconds=2)  # before a child that died is started again


class Fenced(Exception):
    """The run has gone to another attempt, or has ended: nothing more may be written for this one."""


@dataclass(frozen=True)
class Hold:
    """A run and the attempt that holds it."""

    run_id: Any
    attempt: int

    def rows(self, *states: str):
        """The run's row, if this attempt still holds it; for an `update` that counts."""
        return Run.objects.filter(pk=self.run_id, attempt=self.attempt, state__in=states or ("running", "cancelling"))

    def update(self, *states: str, **values: Any) -> None:
        if not self.rows(*states).update(**values):
            raise Fenced(f"attempt {self.attempt} no longer holds run {self.run_id}")

    def lock(self, *states: str) -> Run:
        """The row, locked until the transaction ends."""
        run = self.rows(*states).select_for_update(of=("self",)).select_related("project").first()
        if run is None:
            raise Fenced(f"attempt {self.attempt} no longer holds run {self.run_id}")
        return run


def lease_end():
    return Now() + Value(timedelta(seconds=settings.LEASE_SECONDS))


CLAIM = """
    UPDATE training_run SET state = 'running', attempt = attempt + 1, worker = %s, step = 0,
        lease_expires_at = clock_timestamp() + make_interval(secs => %s),
        started_at = coalesce(started_at, clock_timestamp())
    WHERE id = (
        SELECT id FROM training_run
        WHERE state = 'queued' AND due_at <= clock_timestamp() AND attempt < attempts_allowed
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, attempt
"""


def claim(worker: str) -> Hold | None:
    """Take the run that has been due for the longest, or None. Two workers never get the same attempt."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [worker, settings.LEASE_SECONDS])
        row = cursor.fetchone()
    return Hold(*row) if row else None


@transaction.atomic
def say(hold: Hold, text: str, *, level: str = "info") -> None:
    """A line of our own in the run's log, beside the child's."""
    run = hold.lock()
    last = run.events.filter(attempt=hold.attempt, seq__gte=OURS).aggregate(last=Max("seq"))["last"]
    RunEvent.objects.create(
        project_id=run.project_id,
        run=run,
        attempt=hold.attempt,
        seq=OURS if last is None else last + 1,
        type="log",
        data={"level": level, "text": text},
        at=Now(),
    )


@transaction.atomic
def hand_back(hold: Hold) -> None:
    """The worker is being stopped, through no fault of the run: it goes back and the attempt does not count."""
    say(hold, "The worker is being stopped; the run goes back to the queue.")
    if not hold.rows("cancelling").update(state=RunState.CANCELLED, lease_expires_at=None, ended_at=Now()):
        hold.update(
            "running",
            state=RunState.QUEUED,
            lease_expires_at=None,
            due_at=Now(),
            worker="",
            attempts_allowed=F("attempts_allowed") + 1,
        )


@transaction.atomic
def start_over(hold: Hold, *, message: str, code: str, action: str) -> None:
    """The attempt came to nothing: the run is queued again or, after the last attempt, fails with this reason."""
    run = hold.lock()
    if run.state == RunState.CANCELLING:
        hold.update(state=RunState.CANCELLED, lease_expires_at=None, ended_at=Now())
    elif run.attempt < run.attempts_allowed:
        say(
            hold,
            f"{message} Attempt {run.attempt + 1} of {run.attempts_allowed} goes on from the last checkpoint.",
            level="warning",
        )
        hold.update(state=RunState.QUEUED, lease_expires_at=None, worker="", due_at=Now() + Value(PAUSE))
    else:
        tries = "The only attempt" if run.attempt == 1 else f"All {run.attempt} attempts"
        fail(hold, code=code, message=f"{tries} came to nothing. {message}", action=action)


@transaction.atomic
def fail(hold: Hold, *, code: str, message: str, action: str) -> None:
    """End the run with a reason that a person can act on."""
    run = hold.lock()
    if run.state == RunState.CANCELLING:
        hold.update(state=RunState.CANCELLED, lease_expires_at=None, ended_at=Now())
        return
    say(hold, f"{message} {action}", level="error")
    failure = {"code": code, "message": message, "action": action}
    hold.update(state=RunState.FAILED, failure=failure, lease_expires_at=None, ended_at=Now())
    audit.record("run.failed", project=run.project, agent="worker", subject=run, attempt=run.attempt, code=code)
    tell("run.failed", run_id=run.pk)


@transaction.atomic
def cancelled(hold: Hold) -> None:
    run = hold.lock("cancelling")
    hold.update("cancelling", state=RunState.CANCELLED, lease_expires_at=None, ended_at=Now())
    audit.record("run.cancelled", project=run.project, agent="worker", subject=run, attempt=run.attempt)


def take_back_lapsed() -> int:
    """Runs whose worker has been silent for longer than its lease. How many were taken back."""
    taken = 0
    lapsed = Run.objects.filter(state__in=["running", "cancelling"], lease_expires_at__lt=Now())
    for hold in [Hold(*row) for row in lapsed.values_list("pk", "attempt")]:
        try:
            with transaction.atomic():
                if not hold.rows().filter(lease_expires_at__lt=Now()).select_for_update(skip_locked=True).first():
                    continue  # it came back to life, or another sweeper has it
                start_over(
                    hold,
                    code="run.worker_lost",
                    message="The worker fell silent: it was killed, its machine stopped, or Postgres was away.",
                    action="See that the worker runs (and that memory lasts), then press Try again.",
                )
                taken += 1
        except Fenced:
            continue
    return taken


class Heart:
    """Renews a lease from a thread of its own; `lost` is set when that cannot be done in time or the fence has moved.

    Two threads: one talks to Postgres, which may hang; the other only watches the clock, so that the child is stopped
    before anybody else can have been given the run.
    """

    def __init__(self, hold: Hold, *, on_lost: Callable[[], None]) -> None:
        self.hold = hold
        self.lost = threading.Event()
        self._on_lost = on_lost
        self._stopped = threading.Event()
        self._held_until = time.monotonic() + settings.LEASE_SECONDS
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._beat, self._watch)]

    def __enter__(self) -> Heart:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _beat(self) -> None:
        pause = settings.BEAT_SECONDS
        while not self._stopped.wait(pause) and not self.lost.is_set():
            asked = time.monotonic()
            try:
                renewed = self.hold.rows().update(lease_expires_at=lease_end())
                pause = settings.BEAT_SECONDS
                if renewed:
                    self._held_until = asked + settings.LEASE_SECONDS
                else:
                    self._lose("fenced")
            except DatabaseError as error:
                log.warning("run.beat_missed", extra={"run": str(self.hold.run_id), "error": type(error).__name__})
                pause = min(1.0, settings.BEAT_SECONDS)
            finally:
                connection.close()

    def _watch(self) -> None:
        while not self._stopped.wait(0.2) and not self.lost.is_set():
            if time.monotonic() > self._held_until:
                self._lose("lapsed")

    def _lose(self, why: str) -> None:
        log.warning("run.lost", extra={"run": str(self.hold.run_id), "attempt": self.hold.attempt, "why": why})
        self.lost.set()
        self._on_lost()
