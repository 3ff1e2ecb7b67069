"""Everything that is learned from feedback, as tables."""

from training.models.comparisons import Comparison, Trial
from training.models.registry import BaseModel, ModelVersion
from training.models.runs import Run, RunEvent, RunInput
from training.models.snapshots import Snapshot

__all__ = ["BaseModel", "Comparison", "ModelVersion", "Run", "RunEvent", "RunInput", "Snapshot", "Trial"]
