"""Errors that people and programs can act on: a stable code, a message, data. One handler renders them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RedpenError(Exception):
    """Something was asked that cannot be done. `code` is for programs, the message for people, `data` for both.

    `problems` holds one `{"pointer": "/json/pointer", "message": ..., "code": ...}` for each field that was refused.
    """

    code = "refused"
    status = 422
    title = "This was refused"
    retry_after: int | None = None  # seconds, for Retry-After

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        data: Mapping[str, Any] | None = None,
        problems: list[dict[str, Any]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after
        self.message = message
        if code:
            self.code = code
        self.data = dict(data or {})
        self.problems = problems or []

    def as_problem(self) -> dict[str, Any]:
        """The body of `application/problem+json` (RFC 9457) with our `code`."""
        body: dict[str, Any] = {"title": self.title, "status": self.status, "code": self.code, "detail": self.message}
        if self.data:
            body["data"] = self.data
        if self.problems:
            body["problems"] = self.problems
        return body


class NotReadable(RedpenError):
    code, status, title = "request.not_readable", 400, "This could not be read"


class NotSignedIn(RedpenError):
    code, status, title = "auth.not_signed_in", 401, "Sign in first"


class MissingRole(RedpenError):
    code, status, title = "auth.missing_role", 403, "Your role does not allow this"


class NoToken(RedpenError):
    """A write without the token that says it comes from a page of ours."""

    code, status, title = "auth.csrf", 403, "This does not come from an open page"


class NotFound(RedpenError):
    """Not there, or not yours: alike, so that nobody learns what other projects hold."""

    code, status, title = "not_found", 404, "Not found"


class WrongMethod(RedpenError):
    code, status, title = "request.wrong_method", 405, "This is not how it is asked"


class NotAcceptable(RedpenError):
    code, status, title = "request.not_acceptable", 406, "Not available in this form"


class Conflict(RedpenError):
    code, status, title = "conflict", 409, "This no longer fits"


class TooLarge(RedpenError):
    code, status, title = "request.too_large", 413, "This is too large"


class WrongMediaType(RedpenError):
    code, status, title = "request.wrong_media_type", 415, "This kind of content is not taken here"


class Invalid(RedpenError):
    """Readable, but refused: see `problems`."""

    code, status, title = "invalid", 422, "This was refused"


class TooMany(RedpenError):
    code, status, title, retry_after = "request.too_many", 429, "Too many at once", 60


class Broken(RedpenError):
    """Our own fault. Rendered by the handler of 500s; nothing raises it."""

    code, status, title = "broken", 500, "Something broke here"


class Unavailable(RedpenError):
    code, status, title, retry_after = "unavailable", 503, "Not available just now", 5
