"""What the endpoints of a project share: who may, the writer's key, pages by key."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db import models
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from annotation.actions.people import Author
from annotation.errors import BadValue
from redpen.accounts.api.base import check_filters
from redpen.accounts.errors import NotFound
from redpen.accounts.models import Project
from redpen.accounts.rules import may, open_project

Row = TypeVar("Row", bound=models.Model)

MOST = 200  # items on one page
PAGED = ("cursor", "limit")


class ProjectView(APIView):
    """An endpoint below /projects/<slug>/. `needs` names the action of redpen.accounts.rules for each method, `filters`
    what may stand behind the `?` of a GET.
    """

    permission_classes = (AllowAny,)  # open_project decides, for everybody alike
    needs: ClassVar[dict[str, str]] = {}
    filters: ClassVar[tuple[str, ...]] = ()
    project: Project

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = "GET" if request.method in ("HEAD", "OPTIONS") else request.method or ""
        if method in self.needs:  # any other method is a 405
            self.project = open_project(request, kwargs["slug"], self.needs[method])
            check_filters(request, self.filters)

    @property
    def author(self) -> Author:
        return Author.person(self.request.user)

    @property
    def sees_everything(self) -> bool:
        return may(self.request.role, "records.see")  # type: ignore[attr-defined]

    @property
    def client_key(self) -> str | None:
        """The writer's key for this write, unique in the project: a random one for each gesture."""
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not (0 < len(key) <= 100 and key.isprintable()):
            raise BadValue("", "Idempotency-Key has 1 to 100 printable characters.", code="idempotency.bad_key")
        return key

    def get_object(self, rows: QuerySet[Row], **where: Any) -> Row:
        """The row in this project; somebody else's and none at all look the same."""
        found = rows.filter(project=self.project, **where).first()
        if found is None:
            raise NotFound("There is nothing here, or it is not yours to see.")
        return found


def read(serializer: type[serializers.Serializer], data: Any, *, partial: bool = False) -> dict[str, Any]:
    """The checked input, or a 422 with a pointer for each field."""
    if not isinstance(data, dict):
        raise BadValue("", "Send a JSON object.")
    checked = serializer(data=data, partial=partial)
    unknown = sorted(set(data) - set(checked.fields))
    if unknown:
        raise BadValue(
            f"/{unknown[0]}", f"There is no field '{unknown[0]}'. The fields are {', '.join(checked.fields)}."
        )
    checked.is_valid(raise_exception=True)
    return checked.validated_data


def page(rows: QuerySet[Row], params: Any, *, most: int = MOST) -> tuple[list[Row], str | None]:
    """One page, newest first, by key: `?cursor=` is the last id of the page before."""
    limit = number(params, "limit", 50, most)
    if cursor := params.get("cursor"):
        rows = rows.filter(id__lt=uuid(cursor, "cursor"))
    found = list(rows.order_by("-id")[: limit + 1])
    more = len(found) > limit
    return found[:limit], str(found[limit - 1].pk) if more else None


def number(params: Any, name: str, default: int, most: int) -> int:
    value = params.get(name, default)
    if not str(value).isascii() or not str(value).isdigit() or not 1 <= int(value) <= most:
        raise BadValue(f"/{name}", f"`{name}` is a number from 1 to {most}.")
    return int(value)


def uuid(value: Any, name: str) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise BadValue(f"/{name}", f"`{name}` is an id.") from None


class Text(serializers.CharField):
    """Text as it came: nothing is trimmed; what cannot be stored is refused by the action, in its words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **options})
        self.validators = [check for check in self.validators if type(check).__name__ not in REPLACED]

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


REPLACED = {"ProhibitNullCharactersValidator", "ProhibitSurrogateCharactersValidator"}
