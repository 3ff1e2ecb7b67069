"""What programs ask with a key, below /api/v1/: the base of these endpoints, their filters and their pages.

The key says the project, and whether test data or live data is meant: nothing else is ever seen or written. There is no
session and so no CSRF token; a public key, which stands in web pages, opens none of these.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from annotation import text as texts
from annotation.actions.people import Author
from annotation.api.base import MOST, number, uuid
from annotation.errors import BadValue
from annotation.intake.problems import ScopeMissing, WrongKey
from annotation.queries.periods import first_id
from redpen.accounts import keys
from redpen.accounts.api.base import check_filters
from redpen.accounts.errors import NotFound
from redpen.accounts.models import ApiKey, Project

Row = TypeVar("Row", bound=Model)

REALM = 'Bearer realm="redpen"'
USED_EVERY = timedelta(minutes=1)  # how exactly `last_used_at` is kept
# Read forwards, a list stops so long ago: what is being committed now may get a smaller id than what was seen.
SETTLED = timedelta(seconds=5)
PAGED = ("cursor", "limit", "order")
PERIOD = ("since", "until")


class BearerKey(BaseAuthentication):
    """Finds nobody: who asks is a key, and `KeyedView` reads it. The schema learns from this class how."""

    def authenticate(self, request: Request) -> None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return REALM


class KeyInTheSchema(OpenApiAuthenticationExtension):
    target_class = BearerKey
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        words = (
            "A key of the project's settings: `Authorization: Bearer rp_...`. It says the project, and live or test."
        )
        return {"type": "http", "scheme": "bearer", "description": words}


class KeyedView(APIView):
    """`scopes` names what a key must be allowed for each method, `filters` what may stand behind the `?`."""

    authentication_classes = (BearerKey,)
    permission_classes = (AllowAny,)  # `initial` decides
    scopes: ClassVar[dict[str, str]] = {}
    filters: ClassVar[tuple[str, ...]] = ()
    elsewhere: ClassVar[tuple[str, ...]] = ()  # methods of this address that annotation.intake answers
    key: ApiKey
    project: Project

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = "GET" if request.method == "HEAD" else request.method or ""
        if method in self.scopes:  # any other method is a 405
            self.key = key_of(request, self.scopes[method])
            self.project = self.key.project
            for name, value in request.query_params.items():
                texts.check(value, f"/{name}")
            check_filters(request, self.filters)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        """JSON whatever is asked for; where there is a choice, `?format=` makes it."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {
            **super().default_response_headers,
            "Allow": ", ".join(sorted({*self.allowed_methods, *self.elsewhere})),
        }

    @property
    def test(self) -> bool:
        return self.key.test

    @property
    def author(self) -> Author:
        return Author(agent=f"key:{self.key.prefix}")

    def mine(self, model: type[Row]) -> QuerySet[Row]:
        """The rows that this key sees."""
        return model._default_manager.filter(project=self.project, test=self.key.test)

    def handle_exception(self, exc: Exception) -> HttpResponse:
        response = super().handle_exception(exc)
        if response.status_code == 401:
            response["WWW-Authenticate"] = REALM
        return response


def key_of(request: Request, scope: str) -> ApiKey:
    """The key that came with a request; raises WrongKey (401) or ScopeMissing (403)."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise WrongKey("Send a key: `Authorization: Bearer rp_...`. The project's settings make one.")
    key = keys.find(token.strip())
    if key is None:
        raise WrongKey("There is no such key, or it has expired or been revoked. Look in the project's settings.")
    if key.public or scope not in key.scopes:
        may = ", ".join(sorted(key.scopes))
        raise ScopeMissing(f"This key may {may}; this needs {scope}. Make another key in the project's settings.")
    if key.last_used_at is None or timezone.now() - key.last_used_at > USED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    return key


# filters


def moment(params: Any, name: str) -> datetime | None:
    """A time with its zone from the query string."""
    value = params.get(name)
    if not value:
        return None
    try:
        found = parse_datetime(value.replace(" ", "+"))  # an unescaped + of the zone arrives as a blank
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 9999:
        raise BadValue(f"/{name}", f"`{name}` is a time with its zone, such as 2026-11-24T20:00:00Z.")
    return found.astimezone(UTC)  # Postgres takes no offset of 16 hours or more


def choice(params: Any, name: str, values: tuple[str, ...], default: str) -> str:
    value = params.get(name, default)
    if value not in values:
        raise BadValue(f"/{name}", f"`{name}` is one of {', '.join(values)}.")
    return value


def short(params: Any, name: str, most: int = 200) -> str:
    """Text to look for; nothing longer than `most` is stored."""
    value = params.get(name, "")
    if len(value) > most:
        raise BadValue(f"/{name}", f"`{name}` has at most {most} characters.")
    return value


def paged(rows: QuerySet[Row], params: Any, *, most: int = MOST) -> tuple[list[Row], str | None]:
    """One page by key. `cursor` is the last id of the page before; `order=asc` reads forwards, up to a moment ago."""
    limit = number(params, "limit", 50, most)
    forwards = choice(params, "order", ("desc", "asc"), "desc") == "asc"
    if cursor := params.get("cursor"):
        rows = rows.filter(**{"id__gt" if forwards else "id__lt": uuid(cursor, "cursor")})
    if forwards:
        rows = rows.filter(id__lt=first_id(timezone.now() - SETTLED))
    found = list(rows.order_by("id" if forwards else "-id")[: limit + 1])
    more = len(found) > limit
    return found[:limit], str(found[limit - 1].pk) if more else None


def named(name: str) -> Q:
    """Ours or theirs: what `name` may be the id of."""
    try:
        return Q(external_id=name) | Q(pk=UUID(name))
    except ValueError:
        return Q(external_id=name)


def found(rows: QuerySet[Row], name: str, what: str) -> Row:
    """The row that the caller, or else we, call `name`; raises NotFound, for another project's as for none."""
    texts.check(name, "/id")
    both = list(rows.filter(named(name))[:2]) if 0 < len(name) <= 200 else []
    if not both:
        raise NotFound(f"There is no {what} of this name here, or it is not this key's to see.")
    return min(both, key=lambda row: row.external_id != name)  # type: ignore[attr-defined]
