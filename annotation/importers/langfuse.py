"""Exports of Langfuse: traces, observations and scores, as JSON, JSON lines or CSV.

Columns may be spelt as its blob exports spell them (trace_id) or as its API and pages do (traceId). A generation
becomes an answer; a trace that comes without its observations is one itself. The session is the conversation. A score
becomes what its data type says: NUMERIC and BOOLEAN a rating, CATEGORICAL and TEXT a critique, CORRECTION a rewrite;
one whose name says that a user tapped it (user-feedback, thumbs) a reaction. Other observations are left out, counted.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, ClassVar

from django.utils.dateparse import parse_datetime

from annotation import text as texts
from annotation.errors import BadValue
from annotation.importers.base import Faults
from annotation.importers.chat import as_message, content_of
from annotation.importers.logs import Answer, LogImporter, Said, is_of_users, of_traces, verdict_of
from annotation.importers.reading import CHUNK, LONGEST, Item, Rest, read_items
from annotation.models import Origin, Response

ORIGINS = {"ANNOTATION": Origin.HUMAN, "EVAL": Origin.MODEL, "API": Origin.PROGRAM}
ANSWERS = ("GENERATION", "AGENT_GENERATION")
USAGE = {"input": "input_tokens", "output": "output_tokens", "prompt_tokens": "input_tokens"}
USAGE |= {"completion_tokens": "output_tokens", "promptTokens": "input_tokens", "completionTokens": "output_tokens"}
Row = dict[str, Any]


class Langfuse(LogImporter):
    name: ClassVar[str] = "langfuse"
    title: ClassVar[str] = "Langfuse export"
    about: ClassVar[str] = "Observations, traces and scores as JSON, JSON lines or CSV. Answers first, then scores."

    def read(self, stream: BinaryIO) -> Iterator[Item]:
        head = stream.read(CHUNK)
        whole = Rest(head, stream)  # type: ignore[assignment]
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"", b"[", b"{"):
            return read_items(whole)  # type: ignore[arg-type]
        return read_csv(whole)

    def parse(self, item: Item, faults: Faults) -> list[Answer | Said]:
        found: list[Answer | Said] = []
        for pointer, one in rows_of(item.value, ""):
            with faults.at(pointer):
                if not isinstance(one, dict):
                    raise BadValue("", "A trace, an observation or a score is an object.")
                found += self._row_of(spelt(one))
        return found

    def _row_of(self, row: Row) -> Iterator[Answer | Said]:
        if row.get("data_type") or ("value" in row and "name" in row and "type" not in row):
            yield from self._score(row)
        elif row.get("type") and (row.get("trace_id") or row.get("start_time")):
            yield from self._observation(row, {})
        elif "observations" in row or isinstance(row.get("trace"), dict):
            yield from self._trace(row)
        elif row.get("id") and ("input" in row or "output" in row):
            yield from self._alone(row)
        else:
            raise BadValue("", "This is no trace, no observation and no score: it has no type, input or value.")

    def _trace(self, row: Row) -> Iterator[Answer | Said]:
        """A trace with all that belongs to it, as the API gives it or its page downloads it."""
        trace = spelt(row["trace"]) | row if isinstance(row.get("trace"), dict) else row
        observations = [spelt(one) for one in listed(row.get("observations"), "/observations")]
        observations.sort(key=lambda one: str(one.get("start_time") or ""))
        answers = [a for one in observations for a in self._observation({"trace_id": trace.get("id"), **one}, trace)]
        yield from answers
        if not answers and (trace.get("input") or trace.get("output")):
            yield from self._alone(trace)
        for one in listed(trace.get("scores"), "/scores"):
            if isinstance(one, dict):  # a list of their ids names scores that come elsewhere
                yield from self._score({"trace_id": trace.get("id"), **spelt(one)}, trace)

    def _observation(self, row: Row, trace: Row) -> Iterator[Answer]:
        kind = str(row.get("type") or "unknown").upper()
        if kind not in ANSWERS:
            self.left_out[f"observations of type {kind.lower()}" if kind.isalpha() else "other observations"] += 1
            return
        id = needed(row, "id")
        messages, text, steps = messages_of(row.get("input")), *answer_of(row.get("output"))
        if not messages or not (text or steps):
            self.left_out["generations without their input or output"] += 1
            return
        metadata = kept(row, "name", "environment", "version", "release", "tags", "prompt_name", "prompt_version")
        about = plain(row.get("metadata"))
        yield Answer(
            id=id,
            messages=messages,
            text=text,
            steps=steps or None,
            trace=named(row, "trace_id"),
            model=str(first(row, "provided_model_name", "model", "internal_model_id") or ""),
            sampling=sampling_of(row),
            metadata=metadata | (about if isinstance(about, dict) else {"metadata": about} if about else {}),
            user=self.door.known_user(first(row, "user_id") or first(trace, "user_id")),
            conversation=str(first(row, "session_id") or first(trace, "session_id") or ""),
            at=moment(row, "end_time", "start_time", "timestamp"),
        )

    def _alone(self, row: Row) -> Iterator[Answer]:
        """A trace is an answer where its generations are not known."""
        messages, text, steps = messages_of(row.get("input")), *answer_of(row.get("output"))
        if not messages or not (text or steps):
            self.left_out["traces without input or output"] += 1
            return
        about = plain(row.get("metadata"))
        yield Answer(
            id=needed(row, "id"),
            messages=messages,
            text=text,
            steps=steps or None,
            metadata=kept(row, "name", "environment", "version", "release", "tags")
            | (about if isinstance(about, dict) else {}),
            user=self.door.known_user(row.get("user_id")),
            conversation=str(row.get("session_id") or ""),
            at=moment(row, "timestamp", "created_at"),
        )

    def store(self, parsed: list[list[Answer | Said]]) -> Any:
        """A trace whose generations are here already is not an answer beside them."""
        alone = {one.id for some in parsed for one in some if isinstance(one, Answer) and not one.trace}
        if alone:
            here = of_traces(Response.objects.filter(project=self.project), alone)
            alone &= {metadata["trace"] for metadata in here.values_list("metadata", flat=True)}
        counts = super().store(
            [[one for one in some if isinstance(one, Said) or one.id not in alone] for some in parsed]
        )
        if alone:
            self.left_out["traces whose generations are here"] += len(alone)
        return counts

    def _score(self, row: Row, trace: Row | None = None) -> Iterator[Said]:
        id, name = needed(row, "id"), needed(row, "name")
        if not (row.get("trace_id") or row.get("observation_id")):
            self.left_out["scores of sessions and of runs on datasets"] += 1
            return
        at = moment(row, "timestamp", "created_at")
        if at is None:
            raise BadValue("/timestamp", "A score has the time at which it was made.")
        source = str(row.get("source") or "API").upper()
        by = f"langfuse:{first(row, 'author_user_id') or (name if source == 'EVAL' else source.lower())}"
        shared = {"answer": named(row, "observation_id"), "trace": named(row, "trace_id"), "at": at}
        about = trace or (spelt(row["trace"]) if isinstance(row.get("trace"), dict) else {})
        user = self.door.known_user(first(row, "user_id") or first(about, "user_id"))
        shared |= {"by": by, "origin": ORIGINS.get(source, Origin.PROGRAM)}
        yield from said_by(str(row.get("data_type") or "").upper(), row, id, name, user, shared)


def said_by(kind: str, row: Row, id: str, name: str, user: str, shared: dict[str, Any]) -> Iterator[Said]:
    """What a score says, by its data type."""
    words = str(row.get("comment") or "")
    label = row.get("string_value") if row.get("string_value") is not None else row.get("value")
    value = number(row.get("value"))
    kind = kind or ("CATEGORICAL" if value is None else "NUMERIC")
    verdict = verdict_of(str(label)) if kind in ("CATEGORICAL", "BOOLEAN") else ""
    if kind == "BOOLEAN" and value is None:
        value = {"good": 1.0, "bad": 0.0}.get(verdict)
    if is_of_users(name) and shared["origin"] == Origin.PROGRAM and (verdict or kind in ("NUMERIC", "BOOLEAN")):
        tap = "like" if verdict == "good" or (not verdict and (value or 0) > 0) else "dislike"
        whose = shared | {"by": "langfuse:user", "origin": Origin.HUMAN, "user": user}
        yield Said(id=id, kind="reaction", name=tap, text=words, **whose)
    elif kind in ("NUMERIC", "BOOLEAN"):
        if value is None:
            raise BadValue("/value", f"The value of a {kind} score is a number.")
        yield Said(id=id, kind="rating", name=name, value=value, **shared)
        if words:
            yield Said(id=f"{id}:comment", kind="critique", text=words, **shared)
    elif kind == "CORRECTION":
        if not str(label or ""):
            raise BadValue("/value", "A correction holds the corrected text.")
        yield Said(id=id, kind="rewrite", text=str(label), **shared)
    elif kind in ("CATEGORICAL", "TEXT"):
        text = str(label or "") if kind == "TEXT" else "" if verdict else f"{name}: {label}"
        yield Said(id=id, kind="critique", text="\n".join(filter(None, (text, words))), verdict=verdict, **shared)
    else:
        raise BadValue("/data_type", "A score is NUMERIC, BOOLEAN, CATEGORICAL, TEXT or CORRECTION.")


def rows_of(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Single rows: an item may be a page of the API ({data, meta}) or a list."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value, pointer = value["data"], f"{pointer}/data"
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from rows_of(one, f"{pointer}/{index}")
    else:
        yield pointer, value


def read_csv(stream: Rest) -> Iterator[Item]:
    """Rows of a CSV file with a header, one item each; cells that hold JSON are read."""
    csv.field_size_limit(LONGEST)
    text = io.TextIOWrapper(io.BufferedReader(Raw(stream)), encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text)
    number = 0
    header: list[str] = []
    try:
        for row in rows:
            if not header:
                header = row
                if "id" not in header:
                    yield Item(1, 1, problem="This is neither JSON nor CSV with a header that names an id.")
                    return
                continue
            if not row:
                continue
            number += 1
            line = rows.line_num - sum(cell.count("\n") for cell in row)
            if len(row) != len(header):
                problem = f"The row has {len(row)} cells, and the header has {len(header)}."
                yield Item(number, line, problem=problem)
                continue
            cells = zip(header, row, strict=True)
            yield Item(number, line, value={name: plain(cell) for name, cell in cells if cell != ""})
    except csv.Error as error:
        yield Item(number + 1, rows.line_num, problem=f"This is no CSV: {error}. The rest of the file was not read.")


class Raw(io.RawIOBase):
    """What the csv module can read lines from."""

    def __init__(self, stream: Rest) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


SNAKE = re.compile("(?<=[a-z0-9])([A-Z])")


def spelt(row: Any) -> Row:
    """With the names of the blob exports: traceId is trace_id."""
    if not isinstance(row, dict):
        raise BadValue("", "A trace, an observation or a score is an object.")
    return {SNAKE.sub(r"_\1", str(name)).lower().replace(" ", "_"): value for name, value in row.items()}


def plain(value: Any) -> Any:
    """Payloads are JSON in a text, or text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", '"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def messages_of(value: Any) -> list[dict[str, Any]]:
    value = plain(value)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        system = [{"role": "system", "content": value["system"]}] if isinstance(value.get("system"), str) else []
        value = system + value["messages"]
    if value in (None, "", [], {}):
        return []
    if isinstance(value, list) and all(isinstance(one, dict) and ("role" in one or "type" in one) for one in value):
        return [as_message(one, default="user") for one in value]
    if isinstance(value, dict) and "role" in value:
        return [as_message(value, default="user")]
    return [{"role": "user", "content": asked(value)}]


def asked(value: Any) -> str:
    if isinstance(value, dict):
        for name in ("input", "question", "query", "prompt", "text"):
            if isinstance(value.get(name), str) and len(value) == 1:
                return value[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def answer_of(value: Any) -> tuple[str, list[dict[str, Any]]]:
    """The text and the calls of tools."""
    value = plain(value)
    if isinstance(value, dict) and isinstance(value.get("choices"), list) and value["choices"]:
        value = value["choices"][0].get("message", value) if isinstance(value["choices"][0], dict) else value
    if isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value):
        value = value[-1]
    if isinstance(value, dict) and ("role" in value or "tool_calls" in value):
        message = as_message(value, default="assistant")
        return message["content"], [{"kind": "tool_call", **call} for call in message.get("tool_calls", [])]
    if isinstance(value, dict):
        for name in ("content", "completion", "output", "answer", "response", "text"):
            if isinstance(value.get(name), str):
                return value[name], []
    return content_of(value) if value not in ({}, []) else "", []


def sampling_of(row: Row) -> dict[str, Any]:
    given = plain(row.get("model_parameters"))
    usage = plain(first(row, "usage_details", "usage"))
    sampling = dict(given) if isinstance(given, dict) else {}
    if isinstance(usage, dict):
        sampling |= {ours: usage[theirs] for theirs, ours in USAGE.items() if number(usage.get(theirs)) is not None}
    return sampling


def kept(row: Row, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names if row.get(name) not in (None, "", [], {})}


def first(row: Row, *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def needed(row: Row, name: str) -> str:
    if not isinstance(row.get(name), str | int) or row[name] == "":
        raise BadValue(f"/{name}", f"'{name}' is missing.")
    return texts.check(str(row[name]), f"/{name}")


def named(row: Row, name: str) -> str:
    """The id of something else, which is looked up."""
    return texts.check(str(row.get(name) or ""), f"/{name}")


def listed(value: Any, pointer: str) -> list[Any]:
    value = plain(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadValue(pointer, "Here stands a list in Langfuse's exports.")
    return value


def number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) < float("inf") else None


def moment(row: Row, *names: str) -> datetime | None:
    """ISO 8601, or "2024-05-29 13:46:19.963000", which is UTC."""
    for name in names:
        if (said := row.get(name)) in (None, ""):
            continue
        try:
            found = parse_datetime(str(said))
        except ValueError:
            found = None
        if found is None:
            raise BadValue(f"/{name}", f"'{str(said)[:40]}' is no time, such as 2026-11-24T20:00:00Z.")
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
