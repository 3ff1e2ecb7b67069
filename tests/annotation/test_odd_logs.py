"""Whatever stands in a log, an import refuses it in words or takes it: our own code never stumbles."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from annotation.actions.people import Author
from annotation.importers.base import run
from annotation.importers.langfuse import Langfuse
from annotation.importers.otel_genai import OTelGenAI

LOGS = Path(__file__).parent / "logs"
ODD: list[Any] = [
    *(None, 3, -1, 2**70, 1.5, True, "", "x", "9" * 30, "\ud800", "a\0", [], {}, [1], [None], {"a": 1}),
    *('[{"role": 1}]', "[1,", "[[[]]]", ["a", {"type": 3}], [{"parts": 3}], {"parts": [3]}, {"role": ["x"]}),
    *({"tool_calls": "x"}, [{"role": "user", "content": {"a": 1}}], {"intValue": "x"}, {"arrayValue": {"values": 3}}),
    *({"kvlistValue": 3}, {"stringValue": 3}, [{"key": 3}]),
]
SCORE = {"id": "s", "timestamp": "2026-10-01T13:50:00Z", "traceId": "tr-1", "observationId": "obs-1", "comment": "c"}
SCORES = [
    {**SCORE, "name": name, "value": 1, "dataType": kind, "stringValue": "good"}
    for name, kind in (("a", "NUMERIC"), ("user-feedback", "BOOLEAN"), ("c", "CATEGORICAL"), ("o", "CORRECTION"))
]


def spoilt(value: Any, chance: random.Random, share: float) -> Any:
    """The value with odd things in it, and parts of it missing; inside texts that hold JSON too."""
    if chance.random() < share:
        return chance.choice(ODD)
    if isinstance(value, dict):
        return {key: spoilt(one, chance, share) for key, one in value.items() if chance.random() > share / 2}
    if isinstance(value, list):
        return [spoilt(one, chance, share) for one in value]
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.dumps(spoilt(json.loads(value), chance, share))
    return value


@pytest.mark.parametrize(("importer", "files"), [(OTelGenAI, "otel_*"), (Langfuse, "langfuse_*.json*")])
def test_nothing_in_a_log_makes_us_stumble(desk, importer, files):
    chance = random.Random(7)
    lines = SCORES if importer is Langfuse else []
    for path in sorted(LOGS.glob(files)):
        text = path.read_text("utf-8")
        lines = lines + (
            [json.loads(text)] if path.suffix == ".json" else [json.loads(one) for one in text.splitlines()]
        )
    body = "\n".join(
        json.dumps(spoilt(chance.choice(lines), chance, chance.choice([0.01, 0.03, 0.1]))) for _ in range(300)
    )
    report = run(importer(project=desk.cast.project, author=Author.program("x")), io.BytesIO(body.encode()))
    assert report.faults == 0, [one for one in report.refusals if one["code"] == "import.fault"]
    assert report.taken["response"] > 3
    assert report.refused > 50
