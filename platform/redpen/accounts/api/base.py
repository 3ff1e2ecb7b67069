"""What the endpoints of people and projects share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from redpen.accounts.errors import Invalid, NotReadable
from redpen.accounts.models import Project, User
from redpen.accounts.pages import Page
from redpen.accounts.rules import open_project, signed_in


class PersonView(APIView):
    """An endpoint outside projects, for whoever is signed in. `filters` names what stands behind the `?` of a GET."""

    permission_classes = (AllowAny,)  # redpen.accounts.rules decides, in its words
    filters: ClassVar[tuple[str, ...]] = ()
    user: User

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.user = signed_in(request)
        check_filters(request, self.filters)


class ProjectView(PersonView):
    """An endpoint below /projects/<slug>. `needs` names the action of redpen.accounts.rules for each method."""

    needs: ClassVar[dict[str, str]] = {}
    project: Project

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = "GET" if request.method in ("HEAD", "OPTIONS") else request.method or ""
        # a method without a need is a 405 for members, and a 404 for strangers as everything here
        self.project = open_project(request, kwargs["slug"], self.needs.get(method, "project.see"))


def check_filters(request: Request, known: Collection[str]) -> None:
    """Refuse a filter that there is not: leaving it out in silence would answer another question."""
    unknown = sorted(set(request.query_params) - set(known))
    if request.method in ("GET", "HEAD") and unknown:
        there = f"There are: {', '.join(known)}." if known else "There are none here."
        problems = [{"pointer": f"/{name}", "message": "Unknown filter.", "code": "unknown"} for name in unknown]
        raise Invalid(f"There is no filter '{unknown[0]}'. {there}", problems=problems)


def read(serializer: type[serializers.Serializer], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """The checked body, or a 422 with a pointer for each field; what is not known is refused by name."""
    if not isinstance(request.data, dict):
        raise NotReadable("Send a JSON object.")
    checked = serializer(data=request.data, partial=partial)
    unknown = sorted(set(request.data) - set(checked.fields))
    if unknown:
        known = ", ".join(checked.fields)
        raise Invalid(
            f"There is no field '{unknown[0]}'. The fields are: {known}.",
            problems=[{"pointer": f"/{name}", "message": "Unknown field.", "code": "unknown"} for name in unknown],
        )
    checked.is_valid(raise_exception=True)
    return checked.validated_data


def listed(page: Page, serializer: type[serializers.Serializer], **context: Any) -> dict[str, Any]:
    """One page as JSON; `next` goes into ?cursor=."""
    return {"items": serializer(page.items, many=True, context=context).data, "next": page.next}


def list_of(serializer: type[serializers.Serializer], name: str) -> type[serializers.Serializer]:
    """The shape of `listed`, for the schema."""
    fields = {"items": serializer(many=True), "next": serializers.CharField(allow_null=True)}
    return type(f"{name}List", (serializers.Serializer,), fields)
