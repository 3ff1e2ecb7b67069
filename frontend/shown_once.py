"""Something secret that the next page shows, once: it travels in the person's own browser and is kept nowhere here."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse

COOKIE = "redpen_once"
SALT = "redpen.shown-once"
SECONDS = 60


def put(response: HttpResponse, value: dict[str, str], *, path: str, secure: bool) -> None:
    """Let the page at `path` show `value`, within a minute."""
    response.set_signed_cookie(
        COOKIE,
        json.dumps(value),
        salt=SALT,
        max_age=SECONDS,
        path=path,
        secure=secure,
        httponly=True,
        samesite="Strict",
    )


def take(request: HttpRequest) -> dict[str, str] | None:
    value = request.get_signed_cookie(COOKIE, default=None, salt=SALT, max_age=SECONDS)
    return json.loads(value) if value else None


def forget(response: HttpResponse, *, path: str) -> None:
    response.delete_cookie(COOKIE, path=path, samesite="Strict")
