"""The tiny base model for tests: made once for all sessions on a machine, again when what it is made of changes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DAY = 24 * 3600


def tiny_base() -> Path:
    """Its folder, `.../tiny`. The first call on a machine takes about a minute."""
    from training.engine.models import ensure_base
    from training.engine.tiny import source_hash

    home = Path(tempfile.gettempdir())
    mine = home / f"redpen-tests-tiny-{source_hash()}"
    for stale in home.glob("redpen-tests-tiny-*"):
        if stale != mine and time.time() - stale.stat().st_mtime > DAY:  # another checkout may be at work with its own
            shutil.rmtree(stale, ignore_errors=True)
    return Path(ensure_base(mine / "tiny", say=lambda text: None))


def copy_tiny_base(to: Path) -> Path:
    """A copy of it at `to`, where a packaged one lies; made in a child, so that this process needs no torch."""
    if not to.exists():
        made = subprocess.run(
            [sys.executable, "-c", "from tests.tiny_base import tiny_base; print(tiny_base())"],
            check=True,
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        shutil.copytree(made.stdout.strip().splitlines()[-1], to)
    return to
