"""Redpen's own settings with a child that needs no torch: for `manage.py up` under kill -9."""

import sys
from pathlib import Path

from redpen.settings import *  # noqa: F403

TRAINING_COMMAND = [sys.executable, str(Path(__file__).resolve().parents[1] / "training" / "stand_in.py")]
