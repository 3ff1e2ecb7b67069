"""The toy worlds' tiny bases for tests: made once on a machine, again when what they are made of changes."""

import tempfile
from pathlib import Path

HOME = Path(tempfile.gettempdir()) / "redpen-tests-worlds"


def base_of(spec: str, seed: int = 0) -> Path:
    """The folder of a world's tiny base; the first call on a machine takes some seconds."""
    from training.engine.models import ensure_world_base

    return ensure_world_base(HOME, spec, seed, say=lambda text: None)
