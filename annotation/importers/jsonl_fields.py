"""What a line of each type may hold, and whether a given line does: before anything is looked up."""

from __future__ import annotations

from typing import Any

from annotation import text as texts
from annotation.importers.base import Faults

# field: (types, needed). What all records share is in SHARED.
Fields = dict[str, tuple[tuple[type, ...], bool]]
TEXT, NUMBER, LIST, OBJECT = (str,), (int, float), (list,), (dict,)
SHARED: Fields = {"by": (TEXT, True), "origin": (TEXT, False), "at": (TEXT, False), "metadata": (OBJECT, False)}
SHARED |= {"user": (TEXT, False)}
KEYED: Fields = {"key": (TEXT, True)}
ON_RESPONSE: Fields = {"response": (TEXT, True), "part": (TEXT, False), **KEYED, **SHARED}
FIELDS: dict[str, Fields] = {
    "label": {
        **KEYED,
        "set": (TEXT, True),
        "name": (TEXT, True),
        "sentiment": ((int,), True),
        "description": (TEXT, False),
        "shortcut": (TEXT, False),
    },
    "reaction_kind": {**KEYED, "name": (TEXT, True), "polarity": ((int,), True)},
    "prompt": {**KEYED, "messages": (LIST, True), "context": (LIST, False), "metadata": (OBJECT, False)},
    "response": {
        **KEYED,
        "prompt": (TEXT, True),
        "text": (TEXT, True),
        "thinking": (TEXT, False),
        "steps": (LIST, False),
        "origin": (TEXT, False),
        "model": (TEXT, False),
        "sampling": (OBJECT, False),
        "token_ids": (LIST, False),
        "token_logprobs": (LIST, False),
        "parent": (TEXT, False),
        "conversation": (TEXT, False),
        "turn": ((int,), False),
        "user": (TEXT, False),
        "language": (TEXT, False),
        "at": (TEXT, False),
        "metadata": (OBJECT, False),
    },
    "reviewed": {"response": (TEXT, True), "by": (TEXT, True), "at": (TEXT, False)},
    "span": {
        **ON_RESPONSE,
        "start": ((int,), True),
        "end": ((int,), True),
        "quote": (TEXT, True),
        "sentiment": ((int,), False),
        "severity": ((int,), False),
        "label": (TEXT, False),
        "label_set": (TEXT, False),
        "critique": (TEXT, False),
        "replacement": (TEXT, False),
        "group": (TEXT, False),
        "evidence": (LIST, False),
    },
    "critique": {**ON_RESPONSE, "text": (TEXT, False), "verdict": (TEXT, False)},
    "rating": {**ON_RESPONSE, "dimension": (TEXT, True), "value": (NUMBER, True)},
    "rewrite": {**KEYED, **SHARED, "response": (TEXT, True), "better": (TEXT, True)},
    "outcome": {
        **ON_RESPONSE,
        "stage": (TEXT, True),
        "action": (TEXT, False),
        "result": (TEXT, False),
        "value": (NUMBER, False),
    },
    "preference": {
        **KEYED,
        **SHARED,
        "a": (TEXT, True),
        "b": (TEXT, True),
        "choice": (TEXT, True),
        "strength": ((int,), False),
        "dimension": (TEXT, False),
        "reason": (TEXT, False),
        "shown_first": (TEXT, False),
    },
    "ranking": {**KEYED, **SHARED, "places": (LIST, True), "dimension": (TEXT, False), "reason": (TEXT, False)},
    "choice": {**KEYED, **SHARED, "offered": (LIST, True), "chosen": (TEXT, False), "reason": (TEXT, False)},
    "reaction": {
        **KEYED,
        **SHARED,
        "response": (TEXT, True),
        "kind": (TEXT, True),
        "external_id": (TEXT, False),
        "event_at": (TEXT, True),
        "text": (TEXT, False),
        "retracts": ((bool,), False),
        "spans": (LIST, False),
    },
}
IN_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
ELEMENTS = {"token_ids": (int,), "token_logprobs": (float, int)}
KEY_LENGTH = {"prompt": 200, "response": 200, "label": 60, "reaction_kind": 40}


def check_line(value: Any, faults: Faults) -> None:
    """Note all that is wrong with the line's shape; its text can be stored when nothing was."""
    if not isinstance(value, dict):
        faults.add("", "A line is an object with a type and a key.")
        return
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        faults.add("/type", f"The type is one of {', '.join(FIELDS)}, not {short(kind)}.")
        return
    fields = FIELDS[kind]
    for name in value:
        if name != "type" and name not in fields:
            faults.add(f"/{name}", f"A {kind} has no '{name}'. It has {', '.join(fields)}.")
    for name, (types, needed) in fields.items():
        found = value.get(name)
        if found is None:
            if needed:
                faults.add(f"/{name}", f"'{name}' is missing.")
        elif type(found) not in types:
            faults.add(f"/{name}", f"'{name}' is {IN_WORDS[types[0]]}, not {short(found)}.")
    for name, types in ELEMENTS.items():
        if name in fields and isinstance(found := value.get(name), list):
            wrong = next((one for one in found if type(one) not in types or not abs(one) < 2**31), None)
            if wrong is not None or None in found:
                faults.add(f"/{name}", f"'{name}' holds {IN_WORDS[types[0]]} for each token, not {short(wrong)}.")
    key, longest = value.get("key"), KEY_LENGTH.get(kind, 100)
    if isinstance(key, str) and not (0 < len(key) <= longest and key.isprintable()):
        faults.add("/key", f"A key has 1 to {longest} printable characters.")
    if isinstance(by := value.get("by"), str) and not 0 < len(by) <= 120:
        faults.add("/by", "`by` names who said it, in 1 to 120 characters.")
    with faults.at(""):
        texts.check_json(value)


def short(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 40 else f"{said[:40]}…"
