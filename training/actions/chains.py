"""Chains: a run that comes after others waits until they have succeeded, and is given what they made.

What is due is read from the rows alone: `move_on` may be called by whoever likes, as often as he likes. A worker calls
it when a run has ended, a cancelling page too, and the sweeper finds what both have missed.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from redpen.accounts import audit
from training.models import Run, RunInput
from training.models.runs import ENDED, RunState
from training.recipes import registry
from training.runs.telling import tell


def move_on() -> int:
    """Let every waiting run that can go on go on: to the queue with its inputs or, where a run before it came to
    nothing, to the same end. How many did; what is freed by that is looked at in the same call.
    """
    moved = 0
    waiting = Run.objects.filter(state=RunState.WAITING, after__state__in=ENDED).order_by("id").distinct()
    while now := sum(move_one_on(pk) for pk in list(waiting.values_list("pk", flat=True))):
        moved += now
    return moved


@transaction.atomic
def move_one_on(run_id: object) -> bool:
    """The same for one run; False where it goes on waiting, or somebody else has it in hand."""
    rows = Run.objects.filter(pk=run_id, state=RunState.WAITING).select_for_update(of=("self",), skip_locked=True)
    run = rows.select_related("project").first()
    if run is None:
        return False
    before = list(run.after.select_related("produced").order_by("number"))
    lost = next((one for one in before if one.state in (RunState.FAILED, RunState.CANCELLED)), None)
    if lost is not None and lost.state == RunState.CANCELLED:
        Run.objects.filter(pk=run.pk).update(state=RunState.CANCELLED, ended_at=Now())
        audit.record("run.cancelled", project=run.project, agent="chain", subject=run, before=lost.number)
        return True
    if lost is not None:
        failure = {
            "code": "run.before_failed",
            "message": f"Run {lost.number}, which this one comes after, has failed.",
            "action": f"See what stopped run {lost.number} and try it again; then start this one after the new run.",
        }
        Run.objects.filter(pk=run.pk).update(state=RunState.FAILED, failure=failure, ended_at=Now())
        audit.record("run.failed", project=run.project, agent="chain", subject=run, code=failure["code"])
        tell("run.failed", run_id=run.pk)
        return True
    if any(one.state != RunState.SUCCEEDED for one in before):
        return False
    wanted = registry.get(run.recipe).inputs
    made = {one.produced.kind: one.produced for one in before if one.produced and one.produced.kind in wanted}
    RunInput.objects.bulk_create(
        (RunInput(project_id=run.project_id, run=run, kind=kind, model_version=model) for kind, model in made.items()),
        ignore_conflicts=True,
    )
    # it has been due since it was launched: a chain that has begun is finished before the next one begins
    Run.objects.filter(pk=run.pk).update(state=RunState.QUEUED)
    return True
