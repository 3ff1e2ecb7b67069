"""Errors as programs read them: `application/problem+json` (RFC 9457) with a stable code, whoever raised them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.views import set_rollback

from redpen.accounts import errors
from redpen.accounts.errors import RedpenError

CONTENT_TYPE = "application/problem+json"


def exception_handler(exception: Exception, context: dict[str, Any]) -> JsonResponse | None:
    """DRF's hook (settings.REST_FRAMEWORK). None: not foreseen, so it becomes a 500 with a traceback in the log."""
    error = translate(exception)
    if error is None:
        return None
    set_rollback()
    return problem_response(error)


def problem_response(error: RedpenError) -> JsonResponse:
    """The body of an error. ASCII with escapes: it may quote half of a surrogate pair, which UTF-8 cannot spell."""
    return JsonResponse(error.as_problem(), status=error.status, headers=headers_of(error), content_type=CONTENT_TYPE)


def headers_of(error: RedpenError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Session realm="redpen"'
    return headers


def translate(exception: Exception) -> RedpenError | None:
    """Our error for an exception that somebody can act on; None for a fault of ours."""
    match exception:
        case RedpenError():
            return exception
        case Http404() | exceptions.NotFound():
            return errors.NotFound("There is nothing here, or it is not yours to see.")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return errors.NotSignedIn("Sign in, or send a valid session cookie.")
        case PermissionDenied() | exceptions.PermissionDenied():
            words = str(exception) or "You may not do this."
            return errors.NoToken(words) if words.startswith("CSRF") else errors.MissingRole(words, code="auth.refused")
        case exceptions.MethodNotAllowed():
            return errors.WrongMethod("This address does not take this method; see the header Allow.")
        case exceptions.NotAcceptable():
            return errors.NotAcceptable("Ask for application/json.")
        case exceptions.UnsupportedMediaType():
            return errors.WrongMediaType(str(exception.detail))
        case exceptions.Throttled():
            return errors.TooMany(str(exception.detail), retry_after=int(exception.wait or 60))
        case exceptions.ValidationError():
            return _invalid(exception)
        case RequestDataTooBig() | TooManyFilesSent():
            return errors.TooLarge("The request is larger than this address takes. Send it in parts.")
        case UnreadablePostError() | SuspiciousOperation() | exceptions.ParseError():
            return errors.NotReadable(str(exception) or "The request could not be read.")
        case OperationalError() | InterfaceError():
            return errors.Unavailable("The database does not answer just now. Nothing was changed; try again shortly.")
        case exceptions.APIException():
            return RedpenError(str(exception.detail), code=exception.default_code)
    return None


def wants_json(request: HttpRequest) -> bool:
    """Whether the one who asks is a program: anything below /api/, or somebody who takes JSON and no HTML."""
    if request.path.startswith("/api/"):
        return True
    return not request.accepts("text/html") and (request.accepts("application/json") or request.accepts(CONTENT_TYPE))


def _invalid(exception: exceptions.ValidationError) -> RedpenError:
    problems = list(_problems(exception.detail, ""))
    if len(problems) == 1:
        pointer, message = problems[0]["pointer"], problems[0]["message"]
        words = f"{pointer.rpartition('/')[2]}: {message}" if pointer else message
    else:
        words = f"{len(problems)} values were refused; see `problems`."
    return errors.Invalid(words, problems=problems)


def _problems(detail: Any, pointer: str):
    """DRF's nested errors, flat: one line for each, with the JSON pointer of what was refused."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            part = str(key).replace("~", "~0").replace("/", "~1")
            yield from _problems(value, pointer if key == "non_field_errors" else f"{pointer}/{part}")
    elif isinstance(detail, list):
        for position, value in enumerate(detail):
            nested = isinstance(value, dict | list)
            yield from _problems(value, f"{pointer}/{position}" if nested else pointer)
    else:
        yield {"pointer": pointer, "message": str(detail), "code": getattr(detail, "code", "invalid")}
