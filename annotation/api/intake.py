"""How a project takes in what its product sends, and the kinds of reactions that it knows."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import redaction
from annotation.actions.intake import LONGEST_RETENTION, RETAINED, change_intake, change_kind, create_kind
from annotation.api.base import PAGED, ProjectView, Text, page, read
from annotation.models import IntakeSettings, ReactionKind
from annotation.queries.intake import intake_of
from redpen.accounts.api.base import list_of


class IntakeShape(serializers.ModelSerializer):
    redact = serializers.ListField(
        child=serializers.CharField(max_length=40), max_length=20, help_text=", ".join(redaction.NAMES)
    )
    slices = serializers.ListField(
        child=Text(), max_length=100, help_text="metadata keys of responses that rates are split by"
    )
    retention_days = serializers.DictField(
        child=serializers.IntegerField(min_value=1, max_value=LONGEST_RETENTION),
        help_text=f"days after which they are deleted, by kind ({', '.join(RETAINED)}); not named: never",
    )

    class Meta:
        model = IntakeSettings
        fields = ("hash_users", "redact", "slices", "retention_days", "leave_out")


class KindOutput(serializers.ModelSerializer):
    class Meta:
        model = ReactionKind
        fields = ("id", "key", "name", "polarity", "built_in", "created_at")


class KindInput(serializers.Serializer):
    key = serializers.CharField(max_length=40, help_text="what reactions name it by; it never changes")
    name = Text(max_length=60, default="", help_text="for people; empty: made from the key")
    polarity = serializers.IntegerField(min_value=-1, max_value=1, default=0, help_text="-1 bad, 0 neither, 1 good")


class KindChange(serializers.Serializer):
    name = Text(max_length=60, required=False)
    polarity = serializers.IntegerField(min_value=-1, max_value=1, required=False)


class IntakeView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "intake.see", "PATCH": "intake.change"}

    @extend_schema(responses=IntakeShape)
    def get(self, request: Request, slug: str) -> Response:
        return Response(IntakeShape(intake_of(self.project)).data)

    @extend_schema(request=IntakeShape, responses=IntakeShape)
    def patch(self, request: Request, slug: str) -> Response:
        """Change some of it; lists and `retention_days` are replaced as a whole."""
        changes = read(IntakeShape, request.data, partial=True)
        return Response(IntakeShape(change_intake(author=self.author, project=self.project, **changes)).data)


class KindsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see", "POST": "kinds.change"}
    filters = PAGED

    @extend_schema(
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses=list_of(KindOutput, "ReactionKind"),
    )
    def get(self, request: Request, slug: str) -> Response:
        rows, following = page(ReactionKind.objects.filter(project=self.project), request.query_params)
        return Response({"items": KindOutput(rows, many=True).data, "next": following})

    @extend_schema(request=KindInput, responses={201: KindOutput, 200: KindOutput})
    def post(self, request: Request, slug: str) -> Response:
        """Declare a kind of reaction, for good. The same once more is a 200; with another polarity it is a 409."""
        kind, made = create_kind(author=self.author, project=self.project, **read(KindInput, request.data))
        return Response(KindOutput(kind).data, status=201 if made else 200)


class KindView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see", "PATCH": "kinds.change"}

    @extend_schema(responses=KindOutput)
    def get(self, request: Request, slug: str, key: str) -> Response:
        return Response(KindOutput(self.get_object(ReactionKind.objects.all(), key=key)).data)

    @extend_schema(request=KindChange, responses=KindOutput)
    def patch(self, request: Request, slug: str, key: str) -> Response:
        """Another name, or another polarity. What is built in does not change."""
        kind = self.get_object(ReactionKind.objects.select_related("project"), key=key)
        return Response(KindOutput(change_kind(author=self.author, kind=kind, **read(KindChange, request.data))).data)
