"""What text may be stored. Nothing is normalised or altered: what cannot be held is refused by name and place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from annotation.errors import Unstorable

# Postgres' text holds every code point but NUL; UTF-8 has no surrogates
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def check(value: str, pointer: str = "") -> str:
    """`value` itself; raises Unstorable with the position of the first character that cannot be stored."""
    if found := UNSTORABLE.search(value):
        raise Unstorable(pointer=pointer, position=found.start(), character=found.group())
    return value


def check_json(value: Any, pointer: str = "") -> Any:
    """`check` for every string and key inside a JSON value; a JSON pointer says where."""
    if isinstance(value, str):
        check(value, pointer)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check(str(key), pointer)
            check_json(inner, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, Sequence):
        for index, inner in enumerate(value):
            check_json(inner, f"{pointer}/{index}")
    return value
