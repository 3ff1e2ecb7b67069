"""How runs, models and snapshots look to those who ask over HTTP."""

from __future__ import annotations

from typing import Any

from annotation.api.shapes import key, person, when
from training.models import BaseModel, ModelVersion, Run, RunEvent, Snapshot


def run(row: Run) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "number": row.number,
        "name": row.name,
        "recipe": row.recipe,
        "preset": row.preset,
        "config": row.config,
        "seed": row.seed,
        "state": row.state,
        "attempt": row.attempt,
        "attempts_allowed": row.attempts_allowed,
        "step": row.step,
        "total_steps": row.total_steps,
        "failure": row.failure,
        "base_model": row.base_model.name,
        "snapshot": key(row.snapshot_id),
        "model": key(row.produced_id),
        "again_of": row.again_of.number if row.again_of else None,
        "created_by": person(row.created_by),
        "created_at": when(row.created_at),
        "started_at": when(row.started_at),
        "ended_at": when(row.ended_at),
    }


def event(row: RunEvent) -> dict[str, Any]:
    return {
        "attempt": row.attempt,
        "seq": row.seq,
        "type": row.type,
        "step": row.step,
        "at": when(row.at),
        "data": row.data,
    }


def model(row: ModelVersion) -> dict[str, Any]:
    made_by = getattr(row, "run", None)
    return {
        "id": str(row.pk),
        "name": row.name,
        "number": row.number,
        "kind": row.kind,
        "stage": row.stage,
        "base_model": row.base.name,
        "parent": key(row.parent_id),
        "metrics": row.metrics,
        "run": made_by.number if made_by else None,
        "created_at": when(row.created_at),
    }


def snapshot(row: Snapshot) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "state": row.state,
        "query": row.query,
        "content_hash": row.content_hash,
        "counts": row.counts,
        "error": row.error,
        "created_by": person(row.created_by),
        "created_at": when(row.created_at),
    }


def base_model(row: BaseModel) -> dict[str, Any]:
    return {"name": row.name, "source": row.source, "report": row.check_report}
