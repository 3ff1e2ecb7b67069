"""The kinds of reactions that a project knows, read and declared with a key."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions.intake import create_kind
from annotation.api import keyed_shapes as shapes
from annotation.api.base import Text, read
from annotation.api.keyed import KeyedView
from annotation.api.outputs import once
from annotation.models import ReactionKind


@extend_schema_field({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$"})
class KindKey(Text):
    """As the action wants it, whose words for it are better."""


class KeyedKindInput(serializers.Serializer):
    key = KindKey(min_length=1, max_length=40, help_text="a-z, 0-9, - and _: how events name it")
    name = Text(required=False, default="", max_length=60, help_text="for people; made of the key where empty")
    polarity = serializers.ChoiceField([-1, 0, 1], default=0, help_text="1 good, -1 bad, 0 neither")


class KindsView(KeyedView):
    # whoever may write reactions must know their kinds
    scopes: ClassVar[dict[str, str]] = {"GET": "read", "POST": "reactions.write"}

    @extend_schema(
        operation_id="list_reaction_kinds",
        tags=["reactions"],
        summary="The kinds of reactions of this project",
        responses=shapes.KeyedKindsOutput,
    )
    def get(self, request: Request) -> Response:
        rows = ReactionKind.objects.filter(project=self.project).order_by("id")
        return Response({"items": [shapes.kind(row) for row in rows]})

    @extend_schema(
        operation_id="declare_reaction_kind",
        tags=["reactions"],
        summary="Declare a kind of reaction; the same once more changes nothing",
        request=KeyedKindInput,
        responses=once(shapes.KeyedKindOutput),
        examples=[
            OpenApiExample("bookmark", {"key": "bookmark", "name": "Bookmarked", "polarity": 1}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        given = read(KeyedKindInput, request.data)
        row, added = create_kind(author=self.author, project=self.project, **given)
        return Response(shapes.kind(row), status=201 if added else 200)
