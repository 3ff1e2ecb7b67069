"""Snapshots: frozen for a run or for their own sake, listed, counted before they are made."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from pydantic import ValidationError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.api.base import PAGED, ProjectView, page, read
from redpen.accounts.errors import Invalid
from training.actions.snapshots import freeze_query
from training.api import shapes
from training.models import Snapshot
from training.queries import snapshots
from training.snapshots.query import ROW_KINDS, SnapshotQuery


class QueryInput(serializers.Serializer):
    kinds = serializers.ListField(child=serializers.CharField(), help_text=", ".join(ROW_KINDS))
    origins = serializers.ListField(default=list, child=serializers.CharField(), help_text="human, model, program")
    campaigns = serializers.ListField(default=list, child=serializers.UUIDField())
    test = serializers.BooleanField(default=False, help_text="what test keys sent, too")
    name = serializers.CharField(default="", allow_blank=True, max_length=120)


def query_of(given: dict) -> SnapshotQuery:
    try:
        return SnapshotQuery.model_validate({name: given[name] for name in ("kinds", "origins", "campaigns", "test")})
    except ValidationError as error:
        problems = [
            {"pointer": "/" + "/".join(map(str, fault["loc"])), "code": "data.filter", "message": fault["msg"]}
            for fault in error.errors()
        ]
        raise Invalid(problems[0]["message"], problems=problems) from error


class SnapshotsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see", "POST": "training.run"}
    filters = PAGED

    @extend_schema(summary="Snapshots, newest first", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        found, following = page(snapshots.of_project(self.project), request.query_params)
        return Response({"snapshots": [shapes.snapshot(row) for row in found], "next": following})

    @extend_schema(
        summary="Freeze a query now; a worker writes its files (202), ask for it until it is ready",
        request=QueryInput,
        responses={202: dict},
    )
    def post(self, request: Request, slug: str) -> Response:
        from training.tasks import ring_for_snapshot

        given = read(QueryInput, request.data)
        snapshot = freeze_query(project=self.project, query=query_of(given), author=request.user, name=given["name"])
        ring_for_snapshot(snapshot.pk)
        return Response(shapes.snapshot(snapshot), status=202)


class PreviewView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.see"}

    @extend_schema(summary="What a query would freeze: rows by split, and labels", request=QueryInput, responses=dict)
    def post(self, request: Request, slug: str) -> Response:
        return Response(snapshots.preview(self.project, query_of(read(QueryInput, request.data))))


class SnapshotView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="One snapshot", responses={200: dict})
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shapes.snapshot(self.get_object(Snapshot.objects.select_related("created_by"), pk=pk)))
