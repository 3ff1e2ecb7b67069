"""The outermost middleware: an id for each request, and one log line for it."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from redpen.ops.logs import request_id

log = logging.getLogger("redpen.request")
ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
# asked every few seconds by watchers; a success is not worth a line
QUIET = {"/readyz"}


class RequestLog:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        offered = request.headers.get("X-Request-ID", "")
        request.id = offered if ACCEPTABLE.match(offered) else uuid.uuid4().hex
        token = request_id.set(request.id)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            response["X-Request-ID"] = request.id
            if request.path not in QUIET or response.status_code >= 500:
                log.info("request", extra=describe(request, response, time.perf_counter() - started))
            return response
        finally:
            request_id.reset(token)


def describe(request: HttpRequest, response: HttpResponse, seconds: float) -> dict:
    """What a log may know: the route, not the path or the query, which can carry people's words."""
    match = request.resolver_match
    user = getattr(request, "user", None)
    return {
        "method": request.method,
        "route": match.route if match else None,
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "user": str(user.pk) if user is not None and user.is_authenticated else None,
    }
