"""What Celery calls. A task loads and calls; rows in Postgres say what is due, so a lost bell costs seconds."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import current_app, shared_task
from celery.signals import worker_shutting_down
from django.db.models import Exists, OuterRef
from kombu.exceptions import OperationalError as BellBroken

from training.actions import chains, snapshots
from training.models import Run, Snapshot
from training.runs import lease, worker

log = logging.getLogger(__name__)
QUEUE = "train"
LATE = timedelta(minutes=1)


@shared_task(name="training.tasks.work")
def work() -> None:
    """Carry out the run that is due; if there was one, ring again, since there may be more."""
    if worker.work_once():
        ring()


@shared_task(name="training.tasks.sweep")
def sweep() -> None:
    """Take back what a dead worker holds, and ring for what is due: whatever was lost, this finds it."""
    lease.take_back_lapsed()
    chains.move_on()
    if Run.objects.filter(state="queued", due_at__lte=lease.Now()).exists() and not bells_hanging():
        ring()
    # snapshots that no run will write (their bell was lost, or their run was cancelled before it began)
    writing = Run.objects.filter(snapshot=OuterRef("pk")).exclude(state="cancelled")
    waiting = Snapshot.objects.filter(~Exists(writing), state="building", created_at__lt=lease.Now() - LATE)
    for snapshot_id in waiting.values_list("pk", flat=True)[:10]:
        ring_for_snapshot(snapshot_id)


@shared_task(name="training.tasks.write_snapshot")
def write_snapshot(snapshot_id: str) -> None:
    """Write the files of a snapshot that was asked for by itself; a run's own worker writes the run's."""
    snapshot = Snapshot.objects.select_related("project").filter(pk=snapshot_id).first()
    if snapshot is None:
        return
    try:
        snapshots.write_snapshot(snapshot)
    except OSError as error:
        log.exception("snapshot.failed", extra={"snapshot": snapshot_id})
        Snapshot.objects.filter(pk=snapshot_id, state="building").update(state="failed", error=str(error))


def ring_for_snapshot(snapshot_id: object) -> None:
    try:
        write_snapshot.delay(str(snapshot_id))
    except (BellBroken, OSError) as error:
        log.warning("bell.lost", extra={"error": type(error).__name__})


def ring() -> None:
    """Wake a worker. When Redis is away nothing is lost: the sweeper rings again."""
    try:
        work.apply_async(queue=QUEUE)
    except (BellBroken, OSError) as error:
        log.warning("bell.lost", extra={"error": type(error).__name__})


def bells_hanging() -> int:
    """Bells that no worker has taken yet: one is enough, however long all workers are busy."""
    try:
        with current_app.connection_for_write() as connection:
            return connection.default_channel.queue_declare(QUEUE, passive=True).message_count
    except Exception as error:  # a queue that nobody has declared yet, a Redis that is away: then we ring
        log.info("bell.unknown", extra={"error": type(error).__name__})
        return 0


@worker_shutting_down.connect
def let_go(**kwargs: object) -> None:
    """Celery would wait for the run to end, which may take hours: stop the child and hand the run back."""
    worker.shutting_down.set()
