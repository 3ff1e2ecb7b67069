"""What the hot path takes and gives, as msgspec structs: they decode, check types, and make the OpenAPI schema."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=200)]
OptionalName = Annotated[str, Meta(max_length=200)]
# the time zone is checked by us, because msgspec's words for it do not say what to do
Moment = Annotated[datetime, Meta(description="RFC 3339 with its zone, as 2026-11-24T20:00:00Z")]


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message of a chat. The content of a message with tool calls may be empty."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    name: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class Passage(Struct, forbid_unknown_fields=True):
    """A passage that was given with the prompt."""

    text: str
    id: Annotated[str, Meta(max_length=200)] = ""
    title: str = ""


class ResponseIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An answer of a model, with what was asked. Text that is stored is never altered."""

    messages: Annotated[list[Message], Meta(min_length=1, description="what was asked, up to the answer")]
    text: str = ""
    id: Annotated[Name | None, Meta(description="your id of the answer; a repeat under it adds nothing")] = None
    context: Annotated[list[Passage], Meta(description="passages given with the prompt")] = []
    thinking: str = ""
    steps: Annotated[list[dict[str, Any]] | None, Meta(description="of a trajectory, in order")] = None
    model: Annotated[OptionalName, Meta(description="name and version of the model")] = ""
    model_version: Annotated[UUID | None, Meta(description="the id of a model of Redpen's")] = None
    sampling: Annotated[dict[str, Any], Meta(description="temperature, top_p, seed, finish_reason and the like")] = {}
    metadata: Annotated[dict[str, Any], Meta(description="yours; rates can be split by its keys")] = {}
    user: Annotated[OptionalName, Meta(description="whom it was written for: a pseudonym")] = ""
    conversation: OptionalName = ""
    turn: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    parent: Annotated[OptionalName, Meta(description="the answer that this one replaces: our id or yours")] = ""
    language: Annotated[str, Meta(max_length=35, description="BCP 47, as de-AT")] = ""
    at: Annotated[Moment | None, Meta(description="when it was written, if not now")] = None


class SpanIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A phrase that a user marked. Offsets are half-open and count Unicode code points of the answer's stored text."""

    start: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    end: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    quote: Annotated[str, Meta(description="what stands there, exactly")]
    sentiment: Literal[-1, 0, 1] = -1
    severity: Literal[1, 2, 3] = 2
    label: Annotated[str, Meta(max_length=60, description="the key of a label of the project")] = ""
    critique: str = ""


class ReactionIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a user did with an answer, or (kind `shown`) that they saw it. It may come before its answer."""

    response: Annotated[Name, Meta(description="the answer: your id or ours")]
    kind: Annotated[str, Meta(min_length=1, max_length=40, description="a kind that the project declared")]
    id: Annotated[Name | None, Meta(description="your id of the event; a repeat under it adds nothing")] = None
    user: Annotated[OptionalName, Meta(description="a pseudonym; without one it enters no rate")] = ""
    at: Annotated[Moment | None, Meta(description="when it happened, if not now")] = None
    text: Annotated[str, Meta(description="what the user wrote with it")] = ""
    retract: Annotated[bool, Meta(description="the user takes this kind of reaction back")] = False
    spans: Annotated[list[SpanIn], Meta(max_length=50, description="phrases that the user marked")] = []
    metadata: dict[str, Any] = {}


class Fault(Struct, omit_defaults=True):
    """One thing that was wrong, and where."""

    message: str
    pointer: str = ""
    code: str = "invalid"


class Problem(Struct, omit_defaults=True):
    """RFC 9457, with a stable code and a JSON pointer for each thing that was wrong."""

    title: str
    status: int
    detail: str
    code: str
    problems: list[Fault] = []


class Result(Struct, omit_defaults=True):
    """The fate of one item: stored, repeated (it was here), refused (see `problem`), or retry (send it again)."""

    status: Literal["stored", "repeated", "refused", "retry"]
    id: str | None = None
    external_id: str | None = None
    response: str | None = None
    redacted: int = 0
    problem: Problem | None = None


class BatchResult(Struct):
    """One result for each position of the request."""

    stored: int
    repeated: int
    refused: int
    retry: int
    results: list[Result]


class Retracted(Struct):
    status: Literal["retracted"]
    id: str
