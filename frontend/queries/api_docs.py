"""The API's schema as a page can print it: operations by subject, the shapes that they name, all in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

Json = dict[str, Any]
METHODS = ("post", "get", "put", "patch", "delete")
OURS = "session"  # the tag of what Redpen's own pages ask


@dataclass(frozen=True)
class Field:
    name: str
    type: str
    shape: str  # the name of a shape below, where it is one
    needed: bool
    about: str


@dataclass(frozen=True)
class Answer:
    status: str
    about: str
    shape: str
    kinds: str


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    title: str
    about: str
    who: str
    parameters: list[Field]
    takes: list[str]  # names of shapes
    examples: list[tuple[str, str]]
    answers: list[Answer]
    errors: list[Answer]


@dataclass(frozen=True)
class Shape:
    name: str
    about: str
    fields: list[Field]
    one_of: list[str]


@dataclass(frozen=True)
class Subject:
    name: str
    about: str
    operations: list[Operation] = field(default_factory=list)


@dataclass(frozen=True)
class Docs:
    subjects: list[Subject]
    ours: list[Operation]
    shapes: list[Shape]
    limits: list[tuple[str, str]]


@cache
def docs() -> Docs:
    """Made once: the schema comes from the code, which does not change while it runs."""
    return build(SchemaGenerator().get_schema(request=None, public=True))


def build(schema: Json) -> Docs:
    subjects = {tag["name"]: Subject(tag["name"], tag["description"]) for tag in schema["tags"]}
    ours: list[Operation] = []
    named: list[Any] = []
    for path, methods in schema["paths"].items():
        for method in METHODS:
            if method not in methods:
                continue
            told = methods[method]
            operation = operation_of(path, method, told)
            if told["tags"] == [OURS]:
                ours.append(operation)
            else:
                tag = told["tags"][0]
                subjects.setdefault(tag, Subject(tag, "")).operations.append(operation)
                named.append(told)
    shapes = schema["components"]["schemas"]
    reached = reach(named, shapes)
    return Docs(
        subjects=[subject for subject in subjects.values() if subject.operations],
        ours=ours,
        shapes=[shape_of(name, shapes[name]) for name in sorted(reached)],
        limits=[(name, str(value)) for name, value in schema["info"].get("x-limits", {}).items()],
    )


def operation_of(path: str, method: str, told: Json) -> Operation:
    answers = [answer_of(status, one) for status, one in told["responses"].items()]
    body = told.get("requestBody", {}).get("content", {})
    examples = [
        (f"{name} ({kind})", pretty(one["value"]))
        for kind, content in body.items()
        for name, one in content.get("examples", {}).items()
    ]
    ways = {"key": "a key", "publicKey": "a public key", "cookieAuth": "a session"}
    return Operation(
        name=told["operationId"],
        method=method.upper(),
        path=path,
        title=told.get("summary", ""),
        about=told.get("description", ""),
        who=" or ".join(ways[way] for one in told["security"] for way in one) or "anybody",
        parameters=[
            Field(
                name=one["name"],
                type=words(one["schema"]) + ("" if one["in"] == "query" else f", in the {one['in']}"),
                shape="",
                needed=one.get("required", False),
                about=one.get("description", ""),
            )
            for one in told.get("parameters", ())
        ],
        takes=sorted({name for content in body.values() for name in references(content["schema"])}),
        examples=examples,
        answers=[one for one in answers if one.status < "400"],
        errors=[one for one in answers if one.status >= "400"],
    )


def answer_of(status: str, told: Json) -> Answer:
    content = told.get("content", {})
    shapes = sorted({name for one in content.values() for name in references(one.get("schema", {}))})
    return Answer(status, told.get("description", ""), ", ".join(shapes), ", ".join(content))


def shape_of(name: str, schema: Json) -> Shape:
    needed = schema.get("required", ())
    fields = [
        Field(
            name=key,
            type=words(one),
            shape=next(iter(references(one)), ""),
            needed=key in needed,
            about=one.get("description", ""),
        )
        for key, one in schema.get("properties", {}).items()
    ]
    one_of = [] if fields else sorted(set(references(schema)))
    about = schema.get("description", "") or ("" if fields or one_of else words(schema))
    return Shape(name, about, fields, one_of)


def references(value: Any) -> Iterator[str]:
    """The names of shapes in a schema, wherever they stand."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].rpartition("/")[2]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def reach(start: Any, shapes: Json) -> set[str]:
    """What `start` names, and what that names."""
    found: set[str] = set()
    waiting = list(references(start))
    while waiting:
        name = waiting.pop()
        if name not in found and name in shapes:
            found.add(name)
            waiting += references(shapes[name])
    return found


KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
}
FORMATS = {"date-time": "time", "uuid": "UUID", "binary": "bytes"}


def words(schema: Json) -> str:
    """A type as one says it."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    for how in ("anyOf", "oneOf", "allOf"):
        if how in schema:
            return " or ".join(dict.fromkeys(words(one) for one in schema[how]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(words({**schema, "type": one}) for one in kind)
    if kind == "array":
        return f"list of {words(schema.get('items', {}))}"
    said = FORMATS.get(schema.get("format", ""), KINDS.get(kind, kind))
    if "maxLength" in schema:
        said += f", {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return said


def pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
