"""The tests' settings for a worker in a process of its own: the same database, short leases, a child without torch."""

import os
import sys
from pathlib import Path

from tests.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["FAULTS_DATABASE"]  # noqa: F405
LEASE_SECONDS, BEAT_SECONDS = 2, 0.5
TRAINING_COMMAND = [sys.executable, str(Path(__file__).resolve().parents[1] / "training" / "stand_in.py")]
