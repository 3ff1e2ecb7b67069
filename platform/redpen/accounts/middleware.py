"""One place turns errors into what the one who asks can read: a page, a fragment for htmx, or problem+json."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from redpen.accounts import errors
from redpen.accounts.errors import RedpenError
from redpen.accounts.problems import headers_of, problem_response, translate, wants_json


class ErrorsMiddleware:
    """The innermost middleware: sees what views raise first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return error_response(
                request, errors.NotReadable("The address has a NUL (%00) in it; nothing is called so.")
            )
        response = self.get_response(request)
        if response.status_code == 405 and not response.content:  # Django's require_POST and the like say nothing
            allowed = response.get("Allow", "")
            error = errors.WrongMethod(f"This address takes {allowed or 'nothing'}, not {request.method}.")
            response = error_response(request, error)
            response["Allow"] = allowed
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        error = translate(exception)
        return error_response(request, error) if error is not None else None


def error_response(request: HttpRequest, error: RedpenError) -> HttpResponse:
    """`error` for the one who made `request`."""
    if wants_json(request):
        return problem_response(error)
    htmx = getattr(request, "htmx", None)
    # boosted links and history put whole pages in place, so they get one
    fragment = bool(htmx) and not htmx.boosted and not htmx.history_restore_request
    if isinstance(error, errors.NotSignedIn):
        return _to_sign_in(request, error)
    if fragment:
        body = render_to_string("errors/_error.html", {"error": error}, request=request)
        response = HttpResponse(body, status=error.status)
    elif error.status >= 500:
        # the database may be what broke: this page asks it nothing, not even who is signed in
        response = HttpResponse(render_to_string("errors/broken.html", {"error": error}), status=error.status)
    else:
        response = render(request, "errors/error.html", {"error": error}, status=error.status)
    for name, value in headers_of(error).items():
        response[name] = value
    patch_vary_headers(response, ["HX-Request", "Accept"])
    return response


def _to_sign_in(request: HttpRequest, error: RedpenError) -> HttpResponse:
    """To the sign-in page and back: to the page that was asked for, or on which a button was pressed."""
    back = request.get_full_path() if request.method in ("GET", "HEAD") else _page_of(request)
    address = f"{settings.LOGIN_URL}?{urlencode({'next': back})}"
    if getattr(request, "htmx", None):
        back = request.htmx.current_url_abs_path or back
        address = f"{settings.LOGIN_URL}?{urlencode({'next': back})}"
        return HttpResponse(status=error.status, headers={"HX-Redirect": address, **headers_of(error)})
    return HttpResponseRedirect(address)


def _page_of(request: HttpRequest) -> str:
    referer = urlsplit(request.headers.get("Referer", ""))
    if referer.netloc != request.get_host() or not referer.path.startswith("/"):
        return "/"
    return referer.path + (f"?{referer.query}" if referer.query else "")


# Django's own handlers (redpen.urls): what happens before or after any view


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, translate(exception) or errors.NotReadable("The request could not be read."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, translate(exception) or errors.MissingRole("You may not do this."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, errors.NotFound("There is nothing here, or it is not yours to see."))


def broken(request: HttpRequest) -> HttpResponse:
    number = getattr(request, "id", "")
    words = "This is a fault of ours; nothing more was changed. Try again, and if it stays, tell whoever runs Redpen"
    return error_response(request, errors.Broken(f"{words} this number: {number}." if number else f"{words}."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_response(
        request,
        errors.NoToken(
            "This form was open for too long, or was opened before you signed in. Go back, reload the page and send it "
            "again."
        ),
    )
