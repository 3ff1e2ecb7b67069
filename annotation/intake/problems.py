"""Errors of the hot path: the same words, codes and shape as everywhere (redpen.accounts.errors), as plain objects."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from annotation.intake.shapes import Fault, Problem
from redpen.accounts import errors
from redpen.accounts.errors import RedpenError

ALLOWED = {"role": "system, user, assistant or tool", "sentiment": "-1, 0 or 1", "severity": "1, 2 or 3"}
PATH = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$")


class TimedOut(RedpenError):
    code, status, title = "request.too_slow", 408, "This took too long to arrive"


class WrongKey(errors.NotSignedIn):
    code, title = "key.unknown", "This key opens nothing"


class ScopeMissing(errors.MissingRole):
    code, title = "key.scope_missing", "This key may not do this"


class WrongOrigin(errors.MissingRole):
    code, title = "key.wrong_origin", "This page may not use this key"


class StillRunning(errors.Conflict):
    code, title = "idempotency.still_running", "The first request under this key is still running"


def unreadable(error: Exception) -> RedpenError:
    """For a body, or a line, that is no JSON."""
    if isinstance(error, RecursionError):
        return errors.NotReadable("The JSON is nested too deep.")
    return errors.NotReadable(f"This is not JSON: {str(error).rstrip('.')}.")


def misfit(error: msgspec.ValidationError) -> RedpenError:
    """For JSON of another shape: msgspec's words, and where as a JSON pointer."""
    said = str(error)
    pointer = ""
    if found := PATH.search(said):
        said = said[: found.start()]
        pointer = pointer_of(found["path"])
    code = "unknown" if "unknown field" in said else "invalid"
    if missing := re.search(r"missing required field `(\w+)`", said):
        pointer, said, code = f"{pointer}/{missing[1]}", f"'{missing[1]}' is missing", "required"
    elif unknown := re.search(r"unknown field `(.*)`", said):
        pointer = f"{pointer}/{unknown[1]}"
        said = f"There is no field '{unknown[1][:60]}'; what is your own goes under metadata"
    elif "Invalid enum value" in said and (allowed := ALLOWED.get(pointer.rpartition("/")[2])):
        said = f"{said.replace('Invalid enum value', 'It is').rstrip('.')}, and must be {allowed}"
    message = f"{said.rstrip('.')}."
    return errors.Invalid(message, problems=[{"pointer": pointer, "message": message, "code": code}])


def pointer_of(path: str) -> str:
    """msgspec's `.messages[0].role` as /messages/0/role; `[...]` is any key of an object."""
    return "".join(f"/{part.strip('[]')}" for part in re.findall(r"\[[^]]*]|[^.\[\]]+", path))


def as_problem(error: RedpenError) -> Problem:
    said: dict[str, Any] = error.as_problem()
    return Problem(
        title=said["title"],
        status=said["status"],
        detail=said["detail"],
        code=said["code"],
        problems=[Fault(**fault) for fault in said.get("problems", ())],
    )
