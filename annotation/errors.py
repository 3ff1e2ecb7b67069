"""What people and programs are told when a record is refused."""

from __future__ import annotations

from typing import Any

from redpen.accounts.errors import Conflict, Invalid, MissingRole


def _short(text: str, limit: int = 60) -> str:
    """`text` in quotes, cut to what fits a line, so that an error can be read."""
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}…'"


class Unstorable(Invalid):
    """Text that Postgres cannot hold: a NUL, or half of a surrogate pair."""

    code = "text.unstorable"

    def __init__(self, *, pointer: str, position: int, character: str) -> None:
        name = "a NUL character (U+0000)" if character == "\0" else f"half of a surrogate pair (U+{ord(character):04X})"
        where = f" of {pointer}" if pointer else ""
        message = f"Character {position}{where} is {name}, which cannot be stored. Remove it and send the text again."
        super().__init__(
            message,
            data={"position": position, "character": f"U+{ord(character):04X}"},
            problems=[{"pointer": pointer, "message": message, "code": self.code}],
        )


class QuoteMismatch(Invalid):
    """The phrase that somebody marked is not what stands at its offsets."""

    code = "span.quote_mismatch"

    def __init__(self, *, start: int, end: int, expected: str, found: str) -> None:
        where = f"The text at {start}-{end} is {_short(found)}, not {_short(expected)}."
        super().__init__(
            f"{where} Reload the answer and mark it again.",
            data={"start": start, "end": end, "expected": expected, "found": found},
            problems=[{"pointer": "/quote", "message": where, "code": self.code}],
        )


class OffsetsOutside(Invalid):
    """The offsets do not lie in the text."""

    code = "span.outside"

    def __init__(self, *, start: int, end: int, length: int) -> None:
        if end < start:
            message = f"The mark ends at {end}, before it starts at {start}."
        else:
            message = f"The mark {start}-{end} does not lie in the text, which has {length} characters."
        super().__init__(
            message,
            data={"start": start, "end": end, "length": length},
            problems=[{"pointer": "/end", "message": message, "code": self.code}],
        )


class BadValue(Invalid):
    """One field holds something that it cannot hold."""

    def __init__(self, pointer: str, message: str, *, code: str = "invalid", **data: Any) -> None:
        super().__init__(
            message, code=code, data=data, problems=[{"pointer": pointer, "message": message, "code": code}]
        )


class OtherContent(Invalid):
    """The same key came with other content: one of the two writes would be lost."""

    code = "idempotency.other_content"

    def __init__(self, *, key: str, differs: list[str]) -> None:
        super().__init__(
            f"The key '{key}' has already brought a record with other content ({', '.join(differs)}). "
            "Use a new key for a new record.",
            data={"key": key, "differs": differs},
        )


class NotYours(MissingRole):
    """Somebody else said it."""

    code = "record.not_yours"


class RecordEnded(Conflict):
    """It was retracted or replaced in the meantime."""

    code = "record.ended"


class RecordChanged(Conflict):
    """Somebody, or another tab, was faster."""

    code = "record.changed"


class AssignmentClosed(Conflict):
    """The work was submitted or skipped: reopen it first."""

    code = "assignment.closed"
