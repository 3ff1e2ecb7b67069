"""The messages of a model call in chat form, from each of the places where instrumentations have put them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from annotation.importers.chat import as_message, content_of, parts
from annotation.importers.otlp import Call, Event, NotOTLP, parsed

BY_EVENT = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(.+)")


@dataclass
class Output:
    """One answer: its final text, what it thought, the tools it called."""

    text: str
    thinking: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = ""


def input_of(call: Call) -> list[dict[str, Any]]:
    """What the model was given; empty where that was not recorded."""
    about = call.attributes | details(call)
    found: list[Any] = []
    if "gen_ai.system_instructions" in about:
        parts = parsed(about["gen_ai.system_instructions"])
        found.append({"role": "system", "parts": parts if isinstance(parts, list) else [text_part(parts)]})
    if "gen_ai.input.messages" in about:
        found += listed(about["gen_ai.input.messages"], "/attributes/gen_ai.input.messages")
    else:
        found += [message_of(event, role) for event in call.events if (role := BY_EVENT.get(event.name))]
        if not found:
            found += older(call, "prompt")
    return [as_message(one, default="user") for one in found]


def outputs_of(call: Call) -> list[Output]:
    """The answers, one for each choice."""
    about = call.attributes | details(call)
    found: list[Any] = []
    if "gen_ai.output.messages" in about:
        found = listed(about["gen_ai.output.messages"], "/attributes/gen_ai.output.messages")
    if not found:
        found = [choice_of(event) for event in call.events if event.name == "gen_ai.choice"]
    if not found:
        found = older(call, "completion")
    return [output for one in found if (output := output_of(one)) is not None]


def details(call: Call) -> dict[str, Any]:
    """The attributes of the event that repeats the whole call."""
    found: dict[str, Any] = {}
    for event in call.events:
        if event.name == "gen_ai.client.inference.operation.details":
            found |= event.attributes | (event.body if isinstance(event.body, dict) else {})
    return found


def listed(value: Any, pointer: str) -> list[Any]:
    found = parsed(value)
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise NotOTLP(pointer, "Messages are a list of objects, or such a list as JSON text.")
    return found


def text_part(value: Any) -> dict[str, Any]:
    return {"type": "text", "content": value if isinstance(value, str) else str(value)}


def message_of(event: Event, role: str) -> dict[str, Any]:
    said = {**event.attributes, **(event.body if isinstance(event.body, dict) else {})}
    whole = parsed(said.get("gen_ai.event.content"))  # as Azure's client writes it
    if isinstance(whole, dict):
        said |= whole
    if isinstance(event.body, str):
        said["content"] = event.body
    said |= {"content": in_parts(said.get("content")), "tool_calls": parsed(said.get("tool_calls"))}
    kept = {name: said[name] for name in ("content", "tool_calls", "id", "name") if said.get(name) is not None}
    return {"role": role, **kept}


def in_parts(content: Any) -> Any:
    """A list of parts, where the text is one; other text is what was said, even if it looks like JSON."""
    found = parsed(content)
    are_parts = isinstance(found, list) and all(isinstance(one, dict) and "type" in one for one in found)
    return found if are_parts else content


def choice_of(event: Event) -> dict[str, Any]:
    said = {**event.attributes, **(event.body if isinstance(event.body, dict) else {})}
    whole = parsed(said.get("gen_ai.event.content"))
    if isinstance(whole, dict):
        said |= whole
    message = parsed(said.get("message"))
    if not isinstance(message, dict):
        message = {"content": message if message is not None else said.get("content", event.body)}
    return {"role": "assistant", **message, "finish_reason": said.get("finish_reason")}


def older(call: Call, what: str) -> list[Any]:
    """Before the events: whole texts in attributes or events, or numbered attributes."""
    numbered: dict[int, dict[str, Any]] = {}
    for name, value in call.attributes.items():
        if (match := NUMBERED.fullmatch(name)) and match[1] == what:
            numbered.setdefault(int(match[2]), {})[match[3]] = value
    if numbered:
        return [one for _, one in sorted(numbered.items())]
    places = [call.attributes, *(e.attributes for e in call.events if e.name == f"gen_ai.content.{what}")]
    for place in places:
        if (value := place.get(f"gen_ai.{what}")) is not None:
            found = parsed(value)
            return found if isinstance(found, list) else [found]
    return []


def output_of(value: Any) -> Output | None:
    """None where the message holds nothing that can be kept."""
    message = as_message(value, default="assistant")
    thinking = "\n".join(parts_of(value, "reasoning", "thinking"))
    steps = [{"kind": "tool_call", **call} for call in message.get("tool_calls", [])]
    reason = value.get("finish_reason") if isinstance(value, dict) else None
    if not message["content"] and not steps:
        return None
    return Output(message["content"], thinking, steps, str(reason or ""))


def parts_of(message: Any, *kinds: str) -> Iterator[str]:
    if isinstance(message, dict):
        for part in parts(message, "parts"):
            if isinstance(part, dict) and part.get("type") in kinds:
                yield content_of(part.get("content", ""))
