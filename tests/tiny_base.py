"""The tiny base model for tests: made once for all sessions on a machine, again when what it is made of changes."""

import shutil
import tempfile
from pathlib import Path


def tiny_base() -> Path:
    """Its folder, `.../tiny`. The first call on a machine takes about a minute."""
    from training.engine.models import ensure_base
    from training.engine.tiny import source_hash

    home = Path(tempfile.gettempdir())
    mine = home / f"redpen-tests-tiny-{source_hash()}"
    for stale in home.glob("redpen-tests-tiny-*"):
        if stale != mine:
            shutil.rmtree(stale, ignore_errors=True)
    return Path(ensure_base(mine / "tiny", say=lambda text: None))
