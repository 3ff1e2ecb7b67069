"""The states of a run and how it goes from one to the next; the trigger of migration 0005 holds the same table."""

from __future__ import annotations

from training.models.runs import ENDED, HELD, RunState

TRANSITIONS: dict[str, frozenset[str]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.PAUSED, RunState.CANCELLED, RunState.FAILED}),
    RunState.RUNNING: frozenset(
        {
            RunState.QUEUED,  # its worker died or stopped: another takes it
            RunState.WAITING,
            RunState.PAUSED,
            RunState.CANCELLING,
            RunState.SUCCEEDED,
            RunState.FAILED,
        }
    ),
    RunState.WAITING: frozenset({RunState.QUEUED, RunState.PAUSED, RunState.CANCELLED, RunState.FAILED}),
    RunState.PAUSED: frozenset({RunState.QUEUED, RunState.CANCELLED}),
    RunState.CANCELLING: frozenset({RunState.CANCELLED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),  # somebody lets it go on from its checkpoint
    RunState.FAILED: frozenset(),
    RunState.SUCCEEDED: frozenset(),
}

__all__ = ["ENDED", "HELD", "TRANSITIONS", "RunState"]
