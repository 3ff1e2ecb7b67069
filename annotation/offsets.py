"""Code points (ours, Postgres' and Python's) and UTF-16 code units (the browser's), both ways.

frontend/static/js/desk/offsets.js has the same functions; tests/annotation/offset_vectors.json holds both to the same
answers.
"""

from __future__ import annotations

from annotation.errors import BadValue


def utf16_length(text: str) -> int:
    """How long the browser says that `text` is."""
    return len(text) + sum(1 for character in text if character > "\uffff")


def to_utf16(text: str, position: int) -> int:
    """The browser's offset of the code point offset `position`."""
    if not 0 <= position <= len(text):
        raise BadValue(
            "", f"Offset {position} is outside the text, which has {len(text)} characters.", code="offset.outside"
        )
    return utf16_length(text[:position])


def from_utf16(text: str, units: int) -> int:
    """The code point offset of the browser's offset `units`; one that splits a surrogate pair is refused."""
    if not 0 <= units <= utf16_length(text):
        raise BadValue(
            "", f"Offset {units} is outside the text, which has {utf16_length(text)} units.", code="offset.outside"
        )
    seen = 0
    for position, character in enumerate(text):
        if seen == units:
            return position
        seen += 2 if character > "\uffff" else 1
        if seen > units:
            raise BadValue(
                "", f"Offset {units} splits the surrogate pair of character {position}.", code="offset.half_pair"
            )
    return len(text)


def span_to_utf16(text: str, start: int, end: int) -> tuple[int, int]:
    return to_utf16(text, start), to_utf16(text, end)


def span_from_utf16(text: str, start: int, end: int) -> tuple[int, int]:
    return from_utf16(text, start), from_utf16(text, end)
