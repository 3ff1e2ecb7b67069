"""OTLP/JSON read into calls: spans and log records with plain attributes, whatever the exporter's spelling."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

HEX = re.compile("[0-9a-f]+")


class NotOTLP(Exception):
    """What stands at `pointer` is not what OTLP has there."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer, self.message = pointer, message


@dataclass
class Event:
    name: str
    attributes: dict[str, Any]
    body: Any = None
    at: datetime | None = None


@dataclass
class Call:
    """A span, or what log records say of one: `trace` and `span` are lower-case hex."""

    trace: str
    span: str
    pointer: str
    parent: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    ended: datetime | None = None
    is_span: bool = True

    @property
    def id(self) -> str:
        return f"{self.trace}:{self.span}"

    def speaks(self) -> bool:
        return any(event.name.startswith("gen_ai.") for event in self.events)


def calls_of(value: Any) -> Iterator[Call]:
    """The calls of one item: an export of traces or logs, an array, or a single span."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            for call in calls_of(one):
                call.pointer = f"/{index}{call.pointer}"
                yield call
        return
    if not isinstance(value, dict):
        raise NotOTLP("", "An item is an OTLP/JSON export, or a span.")
    spans, logs = get(value, "resourceSpans"), get(value, "resourceLogs")
    if spans is None and logs is None:
        if get(value, "spanId") is None and not isinstance(value.get("context"), dict):
            raise NotOTLP("", "There is no resourceSpans, no resourceLogs and no span here.")
        yield span_of(value, {}, "")
        return
    for place, resource, one in children(spans, "resourceSpans", "scopeSpans", "spans"):
        yield span_of(one, resource, place)
    together: dict[str, Call] = {}  # a call's messages come as records of their own
    for place, resource, one in children(logs, "resourceLogs", "scopeLogs", "logRecords"):
        name = str(get(one, "eventName") or attributes_of(one.get("attributes")).get("event.name") or "")
        if not name.startswith("gen_ai."):
            yield Call("", "", place, is_span=False)
            continue
        record = record_of(one, name, resource, place)
        first = together.setdefault(record.id, record)
        if first is not record:
            first.events += record.events
            first.attributes |= record.attributes
            first.ended = max(filter(None, (first.ended, record.ended)), default=None)
    yield from together.values()


def children(resources: Any, *names: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    outer, scope, inner = names
    for i, resource in listed(resources, f"/{outer}"):
        about = attributes_of(get(get(resource, "resource") or {}, "attributes"))
        older = get(resource, "instrumentationLibrary" + scope.removeprefix("scope"))
        for j, group in listed(get(resource, scope) or older, f"/{outer}/{i}/{scope}"):
            for k, one in listed(get(group, inner), f"/{outer}/{i}/{scope}/{j}/{inner}"):
                yield f"/{outer}/{i}/{scope}/{j}/{inner}/{k}", about, one


def listed(value: Any, pointer: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise NotOTLP(pointer, "Here stands a list in OTLP/JSON.")
    for index, one in enumerate(value):
        if not isinstance(one, dict):
            raise NotOTLP(f"{pointer}/{index}", "Here stands an object in OTLP/JSON.")
        yield index, one


def get(value: Any, name: str) -> Any:
    """A field by its JSON name, or as protobuf spells it: traceId, trace_id."""
    if not isinstance(value, dict):
        return None
    found = value.get(name)
    return found if found is not None else value.get(re.sub("([A-Z])", r"_\1", name).lower())


def span_of(span: dict[str, Any], resource: dict[str, Any], pointer: str) -> Call:
    context = span["context"] if isinstance(span.get("context"), dict) else {}  # as SDKs print them
    attributes = resource | attributes_of(span.get("attributes"))
    events = [
        Event(
            str(one.get("name", "")), attributes_of(one.get("attributes")), at=moment(one, "timeUnixNano", "timestamp")
        )
        for _, one in listed(span.get("events"), f"{pointer}/events")
    ]
    parent = get(span, "parentSpanId") or span.get("parent_id")
    return Call(
        trace=identifier(get(span, "traceId") or get(context, "traceId"), 16, f"{pointer}/traceId"),
        span=identifier(get(span, "spanId") or get(context, "spanId"), 8, f"{pointer}/spanId"),
        parent=identifier(parent, 8, f"{pointer}/parentSpanId") if parent else "",
        pointer=pointer,
        attributes=attributes,
        events=events,
        ended=moment(span, "endTimeUnixNano", "end_time", "startTimeUnixNano", "start_time", pointer=pointer),
    )


def record_of(record: dict[str, Any], name: str, resource: dict[str, Any], pointer: str) -> Call:
    attributes = attributes_of(record.get("attributes"))
    body = plain(record.get("body"))
    at = moment(record, "timeUnixNano", "timestamp", "observedTimeUnixNano", pointer=pointer)
    return Call(
        trace=identifier(get(record, "traceId"), 16, f"{pointer}/traceId"),
        span=identifier(get(record, "spanId"), 8, f"{pointer}/spanId"),
        pointer=pointer,
        attributes=resource | {key: value for key, value in attributes.items() if key != "event.name"},
        events=[Event(name, attributes, body, at)],
        ended=at,
        is_span=False,
    )


def identifier(value: Any, size: int, pointer: str) -> str:
    """Hex, as OTLP/JSON has it, with 0x as SDKs print it, or base64 as protobuf's own JSON has it."""
    if isinstance(value, str):
        text = value.lower().removeprefix("0x")
        if len(text) == 2 * size and HEX.fullmatch(text) and text.strip("0"):
            return text
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == size and any(raw):
            return raw.hex()
    raise NotOTLP(pointer, f"This is no id of {size} bytes in hex.")


def attributes_of(value: Any) -> dict[str, Any]:
    """OTLP's list of keys and typed values, or a plain object."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return {}
    return {str(one["key"]): plain(one.get("value")) for one in value if isinstance(one, dict) and "key" in one}


def plain(value: Any) -> Any:
    """An AnyValue as plain JSON."""
    if not isinstance(value, dict):
        return value
    for name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if (found := get(value, name)) is not None:
            return found
    if (number := get(value, "intValue")) is not None:
        return int(number) if isinstance(number, str) and re.fullmatch(r"-?\d{1,19}", number) else number
    if (array := get(value, "arrayValue")) is not None:
        values = get(array, "values")
        return [plain(one) for one in values] if isinstance(values, list) else []
    if (pairs := get(value, "kvlistValue")) is not None:
        return attributes_of(get(pairs, "values") or [])
    return value


def moment(value: dict[str, Any], *names: str, pointer: str = "") -> datetime | None:
    """Nanoseconds since 1970, or a time in words."""
    for name in names:
        found = get(value, name)
        if isinstance(found, str) and not found.isdigit():
            try:
                said = parse_datetime(found)
            except ValueError:
                said = None
            if said is None:
                raise NotOTLP(f"{pointer}/{name}", f"'{found[:40]}' is no time.")
            return said if said.tzinfo else said.replace(tzinfo=UTC)
        if found not in (None, "", 0, "0"):
            try:
                seconds, rest = divmod(int(found), 10**9)
                return datetime.fromtimestamp(seconds, tz=UTC) + timedelta(microseconds=rest // 1000)
            except (ValueError, OverflowError, TypeError, OSError):
                raise NotOTLP(f"{pointer}/{name}", "This is no time in nanoseconds since 1970.") from None
    return None


def parsed(value: Any) -> Any:
    """JSON inside a text, which attributes of spans carry; other text stays as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
