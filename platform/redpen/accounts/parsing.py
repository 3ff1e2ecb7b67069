"""How the API reads JSON: as DRF does, but what no column or no stack can hold is a 400 and never a fault of ours."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

DEEPEST = 100  # levels of lists and objects


class BoundedJSONParser(JSONParser):
    def parse(
        self, stream: BinaryIO, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        encoding = (parser_context or {}).get("encoding", settings.DEFAULT_CHARSET)
        try:
            text = codecs.getreader(encoding)(stream).read()
            found = json.loads(text, parse_constant=refuse, parse_float=finite)
        except RecursionError:
            raise ParseError(f"The JSON is nested more than {DEEPEST} levels deep.") from None
        except (ValueError, LookupError) as error:
            raise ParseError(f"This is not JSON: {words(error)}.") from None
        if too_deep(text, found):
            raise ParseError(f"The JSON is nested more than {DEEPEST} levels deep.")
        return found


def refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def too_deep(text: str, value: Any) -> bool:
    """Whether `value`, spelt `text`, is nested deeper than DEEPEST. Only what has many brackets is looked at."""
    return text.count("[") + text.count("{") > DEEPEST and depth(value) > DEEPEST


def depth(value: Any) -> int:
    """How many lists and objects stand inside each other, found without recursion."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, level = waiting.pop()
        if isinstance(one, dict | list):
            deepest = max(deepest, level)
            waiting += [(inner, level + 1) for inner in (one.values() if isinstance(one, dict) else one)]
    return deepest


def words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not {error.encoding.upper()}"
    if "integer string conversion" in str(error):
        return "a number has more than 4300 digits"
    return str(error).rstrip(".")
