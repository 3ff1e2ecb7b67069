"""A product's users: whether they are believed and why, and a person's decision."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions.honesty import decide
from annotation.api import shapes
from annotation.api.base import PAGED, ProjectView, number, read, uuid
from annotation.errors import BadValue
from annotation.models import ProductUser
from annotation.queries import honesty
from annotation.text import check

FILTERS = [
    OpenApiParameter("cursor", UUID),
    OpenApiParameter("limit", int),
    OpenApiParameter("show", str, enum=[show for show in honesty.SHOWS if show], description="without it: all"),
    OpenApiParameter("sort", str, enum=list(honesty.SORTS), description="the highest first"),
    OpenApiParameter("name", str, description="part of the name"),
    OpenApiParameter("test", str, enum=["true", "false"], description="users of test keys"),
]


class ReasonOutput(serializers.Serializer):
    code = serializers.ChoiceField(
        ["always", "never", "one_kind", "change", "burst", "copies", "disagrees", "ring"],
        help_text="see docs/honesty.md",
    )
    words = serializers.CharField(help_text="for people")
    strength = serializers.FloatField(help_text="0 to 1: how surely this alone shows it")
    data = serializers.DictField(help_text="the figures in the words")


class ProductUserOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField(help_text="as in external_user")
    test = serializers.BooleanField()
    shown = serializers.IntegerField(help_text="answers")
    reacted = serializers.IntegerField(help_text="answers reacted to")
    tapped = serializers.DictField(child=serializers.IntegerField(), help_text="answers by kind of reaction")
    first_at = serializers.DateTimeField(allow_null=True, help_text="to the hour")
    last_at = serializers.DateTimeField(allow_null=True, help_text="to the hour")
    score = serializers.FloatField(help_text="0 honest, 1 surely not; left out from 0.9 on")
    reasons = ReasonOutput(many=True)
    left_out = serializers.BooleanField(help_text="of rates and snapshots, where the project's settings say so")
    decided_by = serializers.CharField(allow_null=True, help_text="a person; null: automatic")
    decided_at = serializers.DateTimeField(allow_null=True)
    judged_at = serializers.DateTimeField(allow_null=True)


class ProductUsersOutput(serializers.Serializer):
    items = ProductUserOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


class Decision(serializers.Serializer):
    left_out = serializers.BooleanField(allow_null=True, help_text="null: automatic again")


def shape(user: ProductUser) -> dict[str, Any]:
    return {
        "id": str(user.pk),
        "name": user.name,
        "test": user.test,
        "shown": user.shown,
        "reacted": user.reacted,
        "tapped": user.tapped,
        "first_at": shapes.when(user.first_at),
        "last_at": shapes.when(user.last_at),
        "score": user.score,
        "reasons": user.reasons,
        "left_out": user.left_out,
        "decided_by": str(user.decided_by_id) if user.decided_by_id else None,
        "decided_at": shapes.when(user.decided_at),
        "judged_at": shapes.when(user.judged_at),
    }


def wanted_from(params: Any) -> honesty.Wanted:
    def choice(name: str, choices: Any) -> str:
        value = params.get(name) or ""
        if value and value not in choices:
            raise BadValue(f"/{name}", f"`{name}` is one of {', '.join(one for one in choices if one)}.")
        return value

    name = check(params.get("name") or "", "/name")[:200]
    sort = choice("sort", honesty.SORTS) or "score"
    test = choice("test", ("true", "false")) == "true"
    return honesty.Wanted(show=choice("show", honesty.SHOWS), name=name, sort=sort, test=test)


class ProductUsersView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "honesty.see"}
    filters = (*PAGED, "show", "sort", "name", "test")

    @extend_schema(summary="Users of the product", parameters=FILTERS, responses=ProductUsersOutput)
    def get(self, request: Request, slug: str) -> Response:
        params = request.query_params
        after = uuid(params["cursor"], "cursor") if params.get("cursor") else None
        limit = number(params, "limit", 50, 200)
        rows, following = honesty.listed(project=self.project, wanted=wanted_from(params), after=after, limit=limit)
        return Response({"items": [shape(row) for row in rows], "next": str(following) if following else None})


class ProductUserView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "honesty.see", "PATCH": "honesty.decide"}

    def user(self, pk: UUID) -> ProductUser:
        return self.get_object(ProductUser.objects.select_related("project"), pk=pk)

    @extend_schema(summary="One user of the product", responses=ProductUserOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shape(self.user(pk)))

    @extend_schema(
        summary="Leave a user out, or believe them, whatever the judging finds", request=Decision,
        responses={200: ProductUserOutput},
    )  # fmt: skip
    def patch(self, request: Request, slug: str, pk: UUID) -> Response:
        user = self.user(pk)
        given = read(Decision, request.data)
        return Response(shape(decide(author=self.author, user=user, left_out=given["left_out"])))
