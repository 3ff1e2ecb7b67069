"""Marks on an answer."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import spans
from annotation.api import outputs, shapes
from annotation.api.base import ProjectView, Text, read, uuid
from annotation.errors import BadValue
from annotation.models import Assignment, Label, SpanCritique
from annotation.models import Response as Answer
from annotation.queries import spans as reads
from redpen.accounts.errors import NotFound


class SaidInput(serializers.Serializer):
    """What may also change later."""

    start = serializers.IntegerField(min_value=0, help_text="code points")
    end = serializers.IntegerField(min_value=0, help_text="exclusive")
    quote = Text(help_text="what stands there: it must match")
    label = serializers.UUIDField(required=False, allow_null=True)
    sentiment = serializers.IntegerField(required=False, help_text="-1, 0 or 1; by default the label's")
    severity = serializers.IntegerField(required=False)
    critique = Text(required=False)
    replacement = Text(required=False, allow_null=True)
    group = serializers.UUIDField(required=False, allow_null=True)


class MarkInput(SaidInput):
    assignment = serializers.UUIDField(required=False, allow_null=True)
    part = Text(default="text", max_length=100)
    said_at = serializers.DateTimeField(required=False, help_text="when it was said, where that was before it arrived")


class AmendInput(SaidInput):
    version = serializers.IntegerField(required=False, help_text="refused with 409 when it is no longer the live one")


class SpanView(ProjectView):
    def label(self, pk: UUID | None) -> Label | None:
        if pk is None:
            return None
        found = Label.objects.filter(project=self.project, pk=pk).first()
        if found is None:
            raise BadValue("/label", "There is no such label in this project.")
        return found

    def span(self, lineage: UUID) -> SpanCritique:
        """The latest version, for its author or somebody who sees all records."""
        rows = reads.versions(project=self.project, lineage=lineage)
        row = (rows if self.sees_everything else rows.filter(author=self.request.user)).first()
        if row is None:
            raise NotFound("There is no such mark, or it is not yours to see.")
        return row

    def shape(self, row: SpanCritique) -> dict[str, Any]:
        return shapes.span(row, me=self.request.user)


class SpansView(SpanView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see_own", "POST": "label"}
    filters = ("mine", "assignment")

    def answer(self, pk: UUID) -> Answer:
        return self.get_object(Answer.objects.select_related("project"), pk=pk)

    @extend_schema(summary="The live marks on an answer: mine, or everybody's", responses=outputs.SpansOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        only_mine = not self.sees_everything or request.query_params.get("mine") == "1"
        rows = reads.of_response(response=self.answer(pk), author=request.user if only_mine else None)
        if name := request.query_params.get("assignment"):
            rows = rows.filter(assignment=uuid(name, "assignment"))
        return Response({"items": [self.shape(row) for row in rows]})

    @extend_schema(summary="Mark a phrase", request=MarkInput, responses=outputs.once(outputs.SpanOutput))
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        answer, given = self.answer(pk), read(MarkInput, request.data)
        where = {name: given.pop(name) for name in ("start", "end", "quote", "part")}
        about = {"said_at": given.pop("said_at")} if "said_at" in given else {}
        held = given.pop("assignment", None)
        assignment = None
        if held is not None:
            rows = Assignment.objects.select_related("task")
            assignment = self.get_object(rows, pk=held, user=request.user)
        said = spans.judgement(label=self.label(given.pop("label", None)), **given)
        row, is_new = spans.mark_span(
            author=self.author,
            response=answer,
            said=said,
            assignment=assignment,
            client_key=self.client_key,
            **where,
            **about,
        )
        return Response(self.shape(row), status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


class OneSpanView(SpanView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see_own", "PATCH": "label", "DELETE": "label"}

    @extend_schema(summary="The latest version of a mark", responses=outputs.SpanOutput)
    def get(self, request: Request, slug: str, lineage: UUID) -> Response:
        return Response(self.shape(self.span(lineage)))

    @extend_schema(summary="Say it otherwise: a new version", request=AmendInput, responses=outputs.SpanOutput)
    def patch(self, request: Request, slug: str, lineage: UUID) -> Response:
        live, changes = self.span(lineage), read(AmendInput, request.data, partial=True)
        version = changes.pop("version", None)
        if "label" in changes:
            label = self.label(changes.pop("label"))
            changes["label_id"] = label.pk if label else None
            if label is not None:
                changes.setdefault("sentiment", label.sentiment)
        row = spans.amend_span(
            author=self.author, live=live, changes=changes, version=version, client_key=self.client_key
        )
        return Response(self.shape(row))

    @extend_schema(summary="Take it back; it stays readable", responses={200: outputs.SpanOutput})
    def delete(self, request: Request, slug: str, lineage: UUID) -> Response:
        return Response(self.shape(spans.retract_span(author=self.author, live=self.span(lineage))))


class RestoreSpanView(SpanView):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    @extend_schema(summary="Undo a retraction", request=None, responses={200: outputs.SpanOutput})
    def post(self, request: Request, slug: str, lineage: UUID) -> Response:
        row = spans.restore_span(author=self.author, last=self.span(lineage), client_key=self.client_key)
        return Response(self.shape(row))
