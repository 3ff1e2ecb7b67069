"""A run that was cancelled goes on from where it stood."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from redpen.accounts import audit
from redpen.accounts.errors import Conflict
from redpen.accounts.models import User
from training.actions.runs import ring_bell
from training.models import Run
from training.models.runs import ENDED, RunState
from training.runs.places import KEPT_WHEN_CANCELLED, checkpoint_step


@transaction.atomic
def go_on(*, run: Run, author: User) -> Run:
    """Queue a cancelled run once more: its next attempt goes on from the newest checkpoint. The attempt that was
    cancelled does not count, and `started_at` will be when the run was taken up again. A run that goes on already (a
    second click) is left as it is.
    """
    if run.state not in ENDED:
        return run
    if run.state != RunState.CANCELLED:
        raise Conflict(
            f"Run {run.number} has {run.state}: only one that was cancelled can go on.",
            code="run.not_cancelled",
            data={"state": str(run.state)},
        )
    if checkpoint_step(run) is None:
        raise Conflict(
            f"Run {run.number} has no checkpoint to go on from: it was cancelled before the first one, or more than "
            f"{KEPT_WHEN_CANCELLED.days} days ago. Press Try again: a new run starts from the beginning.",
            code="run.no_checkpoint",
        )
    rows = Run.objects.filter(pk=run.pk, state=RunState.CANCELLED)
    if rows.update(
        state=RunState.QUEUED,
        ended_at=None,
        started_at=None,
        worker="",
        due_at=Now(),
        attempts_allowed=F("attempts_allowed") + 1,
    ):
        audit.record("run.gone_on", project=run.project, actor=author, subject=run)
        transaction.on_commit(partial(ring_bell))
    run.refresh_from_db()
    return run
