"""The formats that can be imported, by name."""

from __future__ import annotations

from annotation.errors import BadValue
from annotation.importers.base import Importer
from annotation.importers.langfuse import Langfuse
from annotation.importers.otel_genai import OTelGenAI
from annotation.importers.qa_feedback import QAFeedback
from annotation.importers.redpen_jsonl import RedpenJSONL

FORMATS: dict[str, type[Importer]] = {one.name: one for one in (RedpenJSONL, QAFeedback, OTelGenAI, Langfuse)}


def format_named(name: str) -> type[Importer]:
    if name not in FORMATS:
        raise BadValue("/format", f"There is no format '{name}'. There are: {', '.join(FORMATS)}.")
    return FORMATS[name]
