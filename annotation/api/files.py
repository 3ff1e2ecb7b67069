"""Files in and out: imports as jobs, the export as a stream."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import tasks
from annotation.actions.imports import create_import
from annotation.api import outputs, shapes
from annotation.api.base import PAGED, ProjectView, page
from annotation.errors import BadValue
from annotation.exports.redpen_jsonl import TYPES, export_text
from annotation.importers.registry import FORMATS
from annotation.models import ImportJob


class ImportInput(serializers.Serializer):
    file = serializers.FileField()
    format = serializers.ChoiceField(list(FORMATS))
    dry_run = serializers.BooleanField(default=False)
    ask = serializers.BooleanField(default=True, help_text="ask people about answers of which nothing is said")


def shape(job: ImportJob) -> dict[str, Any]:
    return {
        "id": str(job.pk),
        "format": job.format,
        "filename": job.filename,
        "dry_run": job.dry_run,
        "state": job.state,
        "report": job.report,
        "error": job.error,
        "created_at": shapes.when(job.created_at),
        "ended_at": shapes.when(job.ended_at),
    }


class ImportsView(ProjectView):
    parser_classes = (MultiPartParser,)
    needs: ClassVar[dict[str, str]] = {"GET": "records.import", "POST": "records.import"}
    filters = PAGED

    @extend_schema(summary="Imports, newest first", responses=outputs.ImportsOutput)
    def get(self, request: Request, slug: str) -> Response:
        rows, following = page(ImportJob.objects.filter(project=self.project), request.query_params)
        return Response({"items": [shape(row) for row in rows], "next": following})

    @extend_schema(summary="Upload a file to import", request=ImportInput, responses={202: outputs.ImportOutput})
    def post(self, request: Request, slug: str) -> Response:
        given = ImportInput(data=request.data)
        given.is_valid(raise_exception=True)
        file = given.validated_data["file"]
        job = create_import(
            user=request.user,
            project=self.project,
            format=given.validated_data["format"],
            filename=file.name,
            chunks=file.chunks(),
            dry_run=given.validated_data["dry_run"],
            ask=given.validated_data["ask"],
        )
        tasks.ring_for_import(job.pk)
        return Response(shape(job), status=202)


class ImportView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.import"}

    @extend_schema(summary="One import: how far, and its report", responses=outputs.ImportOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shape(self.get_object(ImportJob.objects.all(), pk=pk)))


class ExportView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.export"}
    filters = ("type",)

    @extend_schema(
        summary="All that counts, as JSON lines (docs/import.md), streamed",
        parameters=[OpenApiParameter("type", str, many=True, enum=list(TYPES), description="only these types")],
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        types = request.query_params.getlist("type")
        if unknown := set(types) - set(TYPES):
            raise BadValue("/type", f"There is no type {', '.join(sorted(unknown))}. There are: {', '.join(TYPES)}.")
        return stream(self.project, types or None)


def stream(project: Any, types: list[str] | None = None) -> StreamingHttpResponse:
    """The export as a download."""
    response = StreamingHttpResponse(export_text(project, types=types), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}.jsonl"'
    response["X-Accel-Buffering"] = "no"
    return response
