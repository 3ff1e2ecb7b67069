"""The end of a run, told to the project's webhooks in the transaction that writes it."""

from __future__ import annotations

from typing import Any

from annotation.webhooks.outbox import emit, hooks_for
from training.api import shapes
from training.models import Run


def tell(event: str, *, run_id: Any) -> None:
    """`run.succeeded` or `run.failed`, with the run as the API shows it. A run that went on may end twice."""
    run = Run.objects.select_related("project", "base_model", "again_of", "created_by").get(pk=run_id)
    if hooks_for(project_id=run.project_id, event=event).exists():
        emit(project=run.project, event=event, key=f"{run.pk}:{run.attempt}", data=shapes.run(run))
