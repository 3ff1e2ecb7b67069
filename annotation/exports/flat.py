"""Answers, reactions and records for those who analyse them elsewhere: one object a line, or a flat table.

An object is what the API shows of the row, with its type. A row of the table has the columns that most questions need,
and the whole object as JSON in `data`. Everything is read from server-side cursors of one moment, so memory stays flat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from annotation.api import keyed_shapes as shapes
from annotation.exports.redpen_jsonl import CHUNK, one_moment
from annotation.models import Reaction, Response
from annotation.queries import records
from annotation.queries.periods import came_in
from annotation.queries.records import KINDS, Wanted
from redpen.accounts.models import Project

HEAVY = ("thinking", "steps", "token_ids", "token_logprobs", "sampling", "metadata")  # of answers that are only named
COLUMNS: dict[str, str] = {
    "type": "text", "id": "text", "external_id": "text", "created_at": "time", "at": "time", "user": "text",
    "kind": "text", "value": "number", "text": "text", "response": "text", "response_external_id": "text",
    "model": "text", "model_version": "text", "conversation": "text", "turn": "whole", "language": "text",
    "origin": "text", "by": "text", "ended_at": "time", "end_reason": "text", "counts": "truth", "data": "text",
}  # fmt: skip
TYPES = ("response", *(key for key in KINDS if key not in ("comment", "skip")))
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is exported: types, when it came in, test data or live data, ended rows too or not."""

    project: Project
    test: bool
    types: tuple[str, ...] = TYPES
    since: datetime | None = None
    until: datetime | None = None
    state: str = "live"


def rows(chosen: Chosen) -> Iterator[tuple[str, Any]]:
    """Every row with its type, in the order in which they came in."""
    with one_moment():
        for name in chosen.types:
            found = answers(chosen) if name == "response" else said(chosen, name)
            for row in found.order_by("id").iterator(chunk_size=CHUNK):
                yield name, row


def answers(chosen: Chosen) -> QuerySet[Any]:
    found = Response.objects.filter(
        came_in(chosen.since, chosen.until), project=chosen.project, test=chosen.test
    ).select_related("prompt")
    return found.defer("token_ids", "token_logprobs")


def said(chosen: Chosen, name: str) -> QuerySet[Any]:
    kind = KINDS[name]
    wanted = Wanted(state=chosen.state, test=chosen.test, since=chosen.since, until=chosen.until)
    found = records.select(project=chosen.project, kind=kind, wanted=wanted)
    assert found is not None
    if kind.model is Reaction:
        found = found.select_related("kind", "response").defer("response__text")
    else:
        found = found.select_related("author", "assignment", *kind.answers, *kind.related)
        if name == "span":
            found = found.select_related("label__label_set").prefetch_related("evidence").defer("response__text")
    return found.defer(*(f"{way}__{field}" for way in kind.answers for field in HEAVY))


def line_of(name: str, row: Any) -> Line:
    shape: Callable[[Any], Line] = {"response": shapes.answer, "reaction": shapes.reaction}.get(name, shapes.record)
    return {"type": name, **shape(row)}


def flat(name: str, row: Any) -> Line:
    """The same as a row of the table: times as they are written in JSON, what is empty as null."""
    line = line_of(name, row)
    about = row if name == "response" else getattr(row, "response", None) or getattr(row, "response_a", None)
    known = {column: line.get(column) for column in COLUMNS}
    if name != "response":
        known |= {
            "external_id": line.get("external_id") or getattr(row, "client_key", None),
            "at": line.get("at") or line["created_at"],
            "response": str(about.pk) if about else None,
            "response_external_id": about.external_id if about else line.get("response_external_id"),
            "by": line.get("by") or row.agent,
            "kind": kind_of(name, row),
            "value": value_of(name, row),
            "counts": records.counts(row),
        }
        if name == "rewrite":
            known["text"] = row.better.text
        elif not known["text"]:
            known["text"] = next(
                (value for word in ("critique", "reason", "result") if (value := line.get(word))), None
            )
    if about is not None:
        known |= {column: getattr(about, column) for column in ("model", "conversation", "turn", "language")}
        known["model_version"] = str(about.model_version) if about.model_version else None
    known["data"] = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    return {column: None if value == "" else value for column, value in known.items()}


def kind_of(name: str, row: Any) -> str | None:
    """What distinguishes records of one type: the reaction's kind, the mark's label, the dimension, the reason."""
    match name:
        case "reaction":
            return row.kind.key
        case "span":
            return row.label.key if row.label else None
        case "report":
            return row.reason
        case "outcome":
            return row.stage
        case "critique":
            return row.verdict
        case "preference":
            return row.choice
    return getattr(row, "dimension", None)


def value_of(name: str, row: Any) -> float | None:
    """A record as a number: how good (1) or bad (-1), the rating, the strength of a preference."""
    match name:
        case "reaction":
            return None if row.retracts else float(row.kind.polarity)
        case "span":
            return float(row.sentiment)
        case "critique":
            return {"good": 1.0, "bad": -1.0}.get(row.verdict)
        case "preference":
            return float(row.strength)
    return getattr(row, "value", None)


def lines(chosen: Chosen, shape: Callable[[str, Any], Line] = line_of) -> Iterator[bytes]:
    """NDJSON in pieces of about 64 kB."""
    piece: list[bytes] = []
    size = 0
    for name, row in rows(chosen):
        line = json.dumps(shape(name, row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        piece.append(line)
        size += len(line)
        if size >= 1 << 16:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)
