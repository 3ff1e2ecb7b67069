"""Erasing a user of the product: asked for by an admin, or by the product itself with a key."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import tasks
from annotation import text as texts
from annotation.actions.erasing_users import erase_user
from annotation.api.base import PAGED, ProjectView, Text, page, read
from annotation.api.keyed import KeyedView
from annotation.api.shapes import when
from annotation.models import Erasure
from redpen.accounts.api.base import list_of


class ErasureInput(serializers.Serializer):
    user = Text(max_length=200, help_text="as the product sends it, or the pseudonym that is kept of it")


class HeldInput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class SnapshotHeld(HeldInput):
    rows = serializers.IntegerField(help_text="rows that went")
    was = serializers.CharField(help_text="the content hash before")


class RunHeld(serializers.Serializer):
    id = serializers.UUIDField()
    number = serializers.IntegerField()


class ReportOutput(serializers.Serializer):
    snapshots = SnapshotHeld(many=True, required=False)
    runs = RunHeld(many=True, required=False, help_text="that read those snapshots")
    models = HeldInput(many=True, required=False, help_text="that had learned from it, at one remove or more")


class ErasureOutput(serializers.Serializer):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(["erased", "finishing"], help_text="finishing: files of snapshots and runs follow")
    erased = serializers.DictField(child=serializers.IntegerField(), help_text="rows that went, by kind")
    report = ReportOutput(help_text="complete once the status is erased")
    waits_for = serializers.CharField(allow_blank=True)
    until = serializers.DateTimeField(help_text="what came later is not touched")
    done_at = serializers.DateTimeField(allow_null=True)


def shape(row: Erasure) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "status": "erased" if row.done_at else "finishing",
        "erased": row.counts,
        "report": row.report,
        "waits_for": row.waits_for,
        "until": when(row.until),
        "done_at": when(row.done_at),
    }


class ErasuresView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "privacy.erase", "POST": "privacy.erase"}
    filters = PAGED

    @extend_schema(
        summary="Users who were erased, without their names",
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses=list_of(ErasureOutput, "Erasure"),
    )
    def get(self, request: Request, slug: str) -> Response:
        rows, following = page(Erasure.objects.filter(project=self.project), request.query_params)
        return Response({"items": [shape(row) for row in rows], "next": following})

    @extend_schema(
        summary="Erase a user of the product, for good", request=ErasureInput, responses={202: ErasureOutput}
    )
    def post(self, request: Request, slug: str) -> Response:
        row = erase_user(author=self.author, project=self.project, user=read(ErasureInput, request.data)["user"])
        tasks.ring_for_erasure(row.pk)
        return Response(shape(row), status=202)


class ErasureView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "privacy.erase"}

    @extend_schema(summary="What went, and what had learned from it", responses=ErasureOutput)
    def get(self, request: Request, slug: str, pk: Any) -> Response:
        return Response(shape(self.get_object(Erasure.objects.all(), pk=pk)))


class KeyedUserView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"DELETE": "reactions.write"}

    @extend_schema(
        operation_id="erase_user",
        tags=["users"],
        summary="Erase a user: what they said, what was written for them, their rows in snapshots",
        parameters=[OpenApiParameter("user", str, OpenApiParameter.PATH, description="as you send it, or its hash")],
        responses={200: ErasureOutput},
    )
    def delete(self, request: Request, user: str) -> Response:
        """Repeated, it erases what came since. A test key erases what test keys sent."""
        texts.check(user, "/user")
        row = erase_user(author=self.author, project=self.project, user=user, only_test=self.test)
        tasks.ring_for_erasure(row.pk)
        return Response(shape(row))
