"""What drf-spectacular cannot see: the hot path, which is made of msgspec structs; errors, tags and who may ask.

`complete` is a postprocessing hook (settings.SPECTACULAR_SETTINGS). Everything comes from the code that answers: the
structs, the limits, the classes of errors.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from rest_framework import status

from annotation.api import feedback_shapes
from annotation.api.base import ProjectView
from annotation.api.keyed import KeyedView
from annotation.api.schema_examples import BATCH, FEEDBACK, PROBLEM, REACTION, RESPONSE, SPAN, STORED
from annotation.intake.limits import MB, Limits
from annotation.intake.shapes import BatchResult, Problem, ReactionIn, ResponseIn, Result, Retracted
from redpen.accounts.api import base
from redpen.accounts.problems import CONTENT_TYPE

Json = dict[str, Any]

TAGS = {
    "responses": "Answers of your models. Send each once; it is found again by your id.",
    "reactions": "What users did: that they saw an answer, and every tap. Events come in any order, each counts once.",
    "feedback": "What users said beyond a tap: marked phrases, ratings, better answers, comparisons, outcomes.",
    "records": "Everything that was said, by users and by the project's own people.",
    "rates": "How often users react, with intervals.",
    "export": "Everything as a stream.",
    "users": "What was kept of one user, and erasing it.",
    "webhooks": "What happens, sent to you.",
    "session": "What Redpen's own pages ask. Signed-in people may use it too; writes need the CSRF token.",
}
# docstrings of base classes, which speak to those who write endpoints
TO_OURSELVES = {inspect.getdoc(view) for view in (KeyedView, ProjectView, base.PersonView, base.ProjectView)}

WORDS = {
    400: "It could not be read",
    401: "No key, or one that opens nothing",
    403: "The key, or the role, does not allow this",
    404: "There is nothing here, or it is not yours to see",
    405: "This address does not take this method",
    408: "The body took too long to arrive",
    409: "It no longer fits, or the first request under this Idempotency-Key is still running",
    413: "Larger than the limits",
    415: "This kind of content is not taken here",
    422: "Readable, but refused: `problems` says what, with a JSON pointer",
    429: "Too many at once: send it again after `Retry-After` seconds",
    503: "Not available just now, nothing was stored: send it again after `Retry-After` seconds",
}
READING, WRITING = (400, 401, 403, 404, 422, 429, 503), (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


def complete(result: Json, generator: Any, request: Any, public: bool) -> Json:
    schemas = result["components"]["schemas"]
    for name, shape in msgspec_schemas().items():
        assert name not in schemas, f"There are two shapes named {name}."
        schemas[name] = shape
    result["components"]["securitySchemes"]["publicKey"] = {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "Only a public key, which may write reactions from the origins that it names: `sendBeacon` "
        "cannot set headers.",
    }
    for path, operations in hot_path().items():
        result["paths"].setdefault(path, {}).update(operations)
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if method in ("get", "post", "put", "patch", "delete"):
                finish(path, method, operation)
    result["paths"] = dict(sorted(result["paths"].items()))
    result["tags"] = [{"name": name, "description": words} for name, words in TAGS.items()]
    result["info"]["x-limits"] = limits()
    return result


def msgspec_schemas() -> Json:
    shapes = [ResponseIn, ReactionIn, Result, BatchResult, Problem, Retracted, feedback_shapes.AnyFeedback]
    (*_, feedback), found = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    found["AnyFeedback"] = feedback
    found["Problem"]["properties"]["data"] = {"type": "object", "description": "for programs"}
    return dict(found)


def limits() -> Json:
    """As they are set here (docs/development.md names the settings)."""
    now = Limits()
    return {
        "body": f"{now.body_bytes // MB} MB, unpacked",
        "item": f"{now.item_bytes // 1024} kB",
        "items in one array": now.batch_items,
        "lines of one NDJSON request": now.line_items,
        "seconds for a body to arrive": int(now.body_seconds),
    }


# the hot path


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def hot_path() -> Json:
    response = sends(
        "send_responses",
        "responses",
        "Send answers: one, a batch or NDJSON",
        "An answer is stored once under your id. The same once more gives the first result; another one under the same "
        "id is refused. An answer may come after its reactions, and after the answer that replaces it.",
        "ResponseIn",
        {"answer": RESPONSE},
    )
    reaction = sends(
        "send_reactions",
        "reactions",
        "Send events: that an answer was shown, and what users did",
        "Send `shown` for every answer that a user sees: without it a missing tap means nothing. An event counts once, "
        "by your id, or else by answer, user, kind and time. A `retract` takes this kind of reaction back.",
        "ReactionIn",
        {"tap": REACTION, "phrase": SPAN},
    )
    reaction["security"] = [{"key": []}, {"publicKey": []}]
    feedback = sends(
        "send_feedback",
        "feedback",
        "Send what users said beyond a tap: one, a batch or NDJSON",
        "The `type` says what it is. It is about answers that are here already.",
        "AnyFeedback",
        FEEDBACK,
    )
    retract: Json = {
        "operationId": "retract_reaction",
        "tags": ["reactions"],
        "summary": "Take one event back; it may not have come yet",
        "description": "It stays readable and counts no more. Once more changes nothing.",
        "parameters": [
            {
                "in": "path",
                "name": "name",
                "required": True,
                "schema": {"type": "string", "minLength": 1, "maxLength": 200},
                "description": "your id or ours",
            }
        ],
        "security": [{"key": []}, {"publicKey": []}],
        "responses": {"200": answered("It was taken back", reference("Retracted"))},
    }
    return {
        "/api/v1/responses": {"post": response},
        "/api/v1/reactions": {"post": reaction},
        "/api/v1/reactions/{name}": {"delete": retract},
        "/api/v1/feedback": {"post": feedback},
    }


def sends(operation: str, tag: str, summary: str, description: str, shape: str, examples: Json) -> Json:
    one, now = reference(shape), Limits()
    several = {"type": "array", "items": one, "maxItems": now.batch_items}
    shown = {name: {"value": value} for name, value in examples.items()}
    lines = "\n".join(msgspec.json.encode(value).decode() for value in examples.values())
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        "description": f"{description} `Content-Encoding: gzip` is allowed.",
        "parameters": [
            {
                "in": "header",
                "name": "Idempotency-Key",
                "required": False,
                "schema": {"type": "string", "minLength": 1, "maxLength": 80, "pattern": "^[!-~]+$"},
                "description": "makes a repeat of this request a repeat, also for items without an id",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [one, several]}, "examples": shown},
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": f"one {shape} a line, up to {now.line_items} lines"},
                    "example": lines,
                },
            },
        },
        "security": [{"key": []}],
        "responses": {
            "201": answered("Stored: it is on disk", reference("Result"), STORED),
            "200": answered(
                "Repeated: it was here. Of a batch: all are stored or repeated",
                {"anyOf": [reference("Result"), reference("BatchResult")]},
            ),
            "207": answered(
                "Of a batch: some were refused; each item's fate is listed", reference("BatchResult"), BATCH
            ),
            "408": problem(408),
        },
    }


def answered(words: str, schema: Json, example: Any = None) -> Json:
    content: Json = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": words, "content": {"application/json": content}}


# every operation


def finish(path: str, method: str, operation: Json) -> None:
    """Errors, tags, who may ask."""
    keyed = any("key" in one for one in operation.get("security", ()))
    operation["security"] = [one for one in operation.get("security", []) if one]
    if not keyed:
        operation["tags"] = ["session"]
    elif operation.get("tags") == ["api"] or not set(operation.get("tags", ())) & set(TAGS):
        operation["tags"] = [path.removeprefix("/api/v1/").partition("/")[0]]
    if operation.get("description") in TO_OURSELVES:
        del operation["description"]
    operation.setdefault("summary", operation["operationId"].replace("_", " ").capitalize())
    responses = operation["responses"]
    wanted = READING if method == "get" else WRITING
    for code in wanted:
        if code == 404 and keyed and "{" not in path and path not in MAY_NAME_NOTHING:
            continue
        responses.setdefault(str(code), problem(code))
    operation["responses"] = dict(sorted(responses.items()))


MAY_NAME_NOTHING = {"/api/v1/records"}  # by a filter


def problem(code: int) -> Json:
    found: Json = {
        "description": WORDS[code],
        "content": {CONTENT_TYPE: {"schema": reference("Problem")}},
    }
    if code == status.HTTP_422_UNPROCESSABLE_ENTITY:
        found["content"][CONTENT_TYPE]["example"] = PROBLEM
    if code in (429, 503):
        found["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    if code == 401:
        found["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return found
