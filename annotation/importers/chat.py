"""Messages of other tools in our chat form: role, content as text, tool calls. What is no text is named, not kept."""

from __future__ import annotations

import json
from typing import Any

ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
    "function": "tool",
}
KNOWN = ("system", "user", "assistant", "tool")


def as_message(value: Any, *, default: str) -> dict[str, Any]:
    """One message; whatever is no message is what `default` said."""
    if not isinstance(value, dict):
        return {"role": default, "content": content_of(value)}
    said = str(value.get("role") or value.get("type") or default).lower()
    role = ROLES.get(said, said)
    message: dict[str, Any] = {"role": role if role in KNOWN else default}
    message["content"] = content_of(next((value[name] for name in ("parts", "content", "text") if value.get(name)), ""))
    called = parts(value, "parts") + parts(value, "tool_calls")
    calls = [call for one in called if (call := tool_call(one))]
    if calls:
        message["tool_calls"] = calls
    if isinstance(value.get("name"), str):
        message["name"] = value["name"]
    if role == "tool":
        ids = [value.get("tool_call_id"), value.get("id"), *(p.get("id") for p in called if isinstance(p, dict))]
        if name := next((one for one in ids if isinstance(one, str)), ""):
            message["tool_call_id"] = name
    return message


def parts(message: dict[str, Any], name: str) -> list[Any]:
    found = message.get(name)
    return found if isinstance(found, list) else []


def content_of(value: Any) -> str:
    """Text of a content: a text, a list of parts, or any JSON, which is written out."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := part_text(part)))
    if isinstance(value, dict) and isinstance(text := value.get("text", value.get("content")), str):
        return text
    return json.dumps(value, ensure_ascii=False)


def part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return content_of(part)
    kind = str(part.get("type", "text"))
    if kind in ("text", "input_text", "output_text"):
        return content_of(part.get("text", part.get("content")))
    if kind == "tool_call_response":
        return content_of(part.get("result", part.get("response")))
    if kind == "tool_result":
        return content_of(part.get("content"))
    if kind in ("tool_call", "tool_use", "reasoning", "thinking"):
        return ""
    what = part.get("modality") or kind.removeprefix("input_").removesuffix("_url")
    return f"[{what}]"  # an image, a file: it was there, and is not kept


def tool_call(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        return None
    about = part.get("function") if isinstance(part.get("function"), dict) else part
    if part.get("type") not in ("tool_call", "tool_use", "function", None) or not isinstance(about.get("name"), str):
        return None
    arguments = about.get("arguments", about.get("args", about.get("input")))
    call = {"id": part.get("id"), "name": about["name"], "arguments": arguments}
    return {name: value for name, value in call.items() if value is not None}
