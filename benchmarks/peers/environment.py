"""A peer's virtual environment: made once, kept under `~/.cache` (or REDPEN_PEERS), beside ours and never in it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt")


def environment(name: str, packages: Sequence[str]) -> tuple[Path, float]:
    """The `bin` folder of an environment that has `packages`, and the seconds that installing took (0: was there)."""
    folder = Path(os.environ.get("REDPEN_PEERS") or Path.home() / ".cache" / "redpen" / "peers") / name
    wanted = f"{' '.join(packages)}\n{CONSTRAINTS.read_text()}"
    done = folder / "installed.txt"
    if done.exists() and done.read_text() == wanted:
        return folder / "bin", 0.0
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", CONSTRAINTS, *packages], check=True)
    done.write_text(wanted)
    return folder / "bin", time.monotonic() - started
