"""Base models: the ones in the box, local folders, and names of a hub. A child process looks at them, never the web."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from redpen.accounts import audit
from redpen.accounts.errors import Invalid
from training.models import BaseModel

PACKAGED = ("smollm2-135m", "tiny")
LOOK = """
import json, sys
from training.engine.models import NoSuchBase, ensure_base, register
try:
    print(json.dumps(register(ensure_base(sys.argv[1], say=lambda text: print(text, file=sys.stderr)))))
except NoSuchBase as error:
    print(json.dumps({"refused": str(error)}))
"""


class BaseRefused(Invalid):
    code = "base_model.refused"
    title = "This model cannot be trained on"


def ensure_packaged() -> None:
    """The rows of the models in the box; they are unpacked when a run first needs them."""
    for name in PACKAGED:
        BaseModel.objects.get_or_create(name=name, defaults={"source": BaseModel.Source.PACKAGED, "location": name})


def look_at(location: str, *, seconds: float = 600) -> dict[str, Any]:
    """What the engine says about a model; `refused` holds the reason why it cannot be trained on, if there is one."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, location],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=settings.BASE_DIR,
        env={**os.environ, "OMP_NUM_THREADS": str(settings.TRAIN_THREADS), "TOKENIZERS_PARALLELISM": "false"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"refused": f"it could not be loaded: {why}"}
    return json.loads(lines[-1])


def add_base_model(*, name: str, location: str = "") -> BaseModel:
    """Register a model to start from, after a look at it; raise BaseRefused with the reason where it cannot be used."""
    location = location or name
    if location in PACKAGED:
        source, path = BaseModel.Source.PACKAGED, str(settings.DATA_DIR / "base" / location)
    elif Path(location).expanduser().is_dir():
        location = str(Path(location).expanduser().absolute())
        source, path = BaseModel.Source.FOLDER, location
    elif "/" in location and not location.startswith(("/", ".", "~")):
        source, path = BaseModel.Source.HUB, location
    else:
        raise BaseRefused(
            f"“{location}” is neither a folder, nor a hub's name (owner/model), nor one of {', '.join(PACKAGED)}."
        )
    report = look_at(path)
    if report.get("refused"):
        raise BaseRefused(f"{name} cannot be trained on: {report['refused']}")
    with transaction.atomic():
        base, fresh = BaseModel.objects.update_or_create(
            name=name, defaults={"source": source, "location": location, "check_report": report}
        )
        audit.record(
            "base_model.added" if fresh else "base_model.looked_at", project=None, agent="command", subject=base
        )
    return base
