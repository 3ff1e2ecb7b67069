"""What Celery calls. A task loads and calls; rows in Postgres say what is due, so a lost bell costs seconds."""

from __future__ import annotations

import logging

from celery import shared_task
from celery.signals import worker_shutting_down
from django.db import connection
from kombu.exceptions import OperationalError as BellBroken

from annotation.actions import counting, erasing_users, imports, judging, retention
from annotation.actions.counting import pace
from annotation.actions.dealing import lapse
from annotation.webhooks import bell, keeping, pump

log = logging.getLogger(__name__)


@shared_task(name="annotation.tasks.import_file")
def import_file(job_id: str) -> None:
    """Carry out one import, unless somebody has it."""
    job = imports.claim(job_id)
    if job is not None:
        imports.carry_out(job)


@shared_task(name="annotation.tasks.sweep")
def sweep() -> None:
    """Lapse the holds of people who went away; ring for imports that are due."""
    lapse()
    for job_id in imports.sweep():
        ring_for_import(job_id)
    for erasure_id in erasing_users.due():
        ring_for_erasure(erasure_id)
    if pump.anything_due():
        bell.ring()
    keeping.clean_up()


@shared_task(name="annotation.tasks.deliver")
def deliver() -> None:
    """Send what is due to webhooks. Rung twice, or three times over, it finds the rows claimed."""
    pump.pump()


@shared_task(name="annotation.tasks.count")
def count() -> None:
    """Join, settle and count what came in; and again where a project's slices have changed."""
    counting.count_gently()
    counting.rebuild_due()


@shared_task(name="annotation.tasks.judge_users")
def judge_users() -> None:
    """Judge the users of products who did something since the last time; it can wait until a flood is over."""
    with connection.cursor() as cursor:
        if not pace.may_judge(cursor):
            return
    judging.judge_due()


@shared_task(name="annotation.tasks.finish_erasure")
def finish_erasure(erasure_id: str) -> None:
    """The part of an erasure that is in files: snapshots, and what runs have written."""
    erasing_users.finish(erasure_id)


@shared_task(name="annotation.tasks.retain")
def retain() -> None:
    """Delete what is too old to be kept. Rung more than once a day it finds nothing to do."""
    retention.retain_all()


def ring_for_erasure(erasure_id: object) -> None:
    """Wake a worker. When Redis is away nothing is lost: the sweeper rings again."""
    try:
        finish_erasure.delay(str(erasure_id))
    except (BellBroken, OSError) as error:
        log.warning("bell.lost", extra={"error": type(error).__name__})


def ring_for_import(job_id: object) -> None:
    """Wake a worker. When Redis is away nothing is lost: the sweeper rings again."""
    try:
        import_file.delay(str(job_id))
    except (BellBroken, OSError) as error:
        log.warning("bell.lost", extra={"error": type(error).__name__})


@worker_shutting_down.connect
def let_go(**kwargs: object) -> None:
    """Deliveries that are under way end; the rest is for the next worker."""
    pump.stopping.set()
