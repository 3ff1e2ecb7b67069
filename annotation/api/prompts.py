"""Prompts and answers over HTTP."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.api import base, outputs, shapes
from annotation.api.base import ProjectView, Text, page, read, uuid
from annotation.errors import BadValue
from annotation.models import Origin, Prompt
from annotation.models import Response as Answer

PAGED = [OpenApiParameter("cursor", UUID), OpenApiParameter("limit", int)]


class PromptInput(serializers.Serializer):
    messages = serializers.JSONField(help_text="[{role, content}, ...]")
    context = serializers.JSONField(required=False, help_text="passages: [{id, title, text}, ...]")
    metadata = serializers.JSONField(required=False)
    external_id = Text(required=False, allow_null=True, help_text="your own id")


class AnswerInput(serializers.Serializer):
    prompt = serializers.UUIDField()
    text = Text(help_text="stored as it is: every offset counts its code points")
    model = Text(required=False)
    origin = serializers.ChoiceField(Origin.choices, default=Origin.MODEL)
    external_id = Text(required=False, allow_null=True, help_text="your own id: what comes twice is taken once")
    metadata = serializers.JSONField(required=False)
    thinking = Text(required=False)
    sampling = serializers.JSONField(required=False)
    conversation = Text(required=False, max_length=200)
    turn = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)


class AddingView(ProjectView):
    """Where prompts or answers are added."""

    def named(self, given: dict[str, Any]) -> dict[str, Any]:
        """`given` under the caller's id or, without one, the Idempotency-Key: a repeated write adds nothing."""
        return given if given.get("external_id") is not None else {**given, "external_id": self.client_key}


class PromptsView(AddingView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see", "POST": "records.import"}
    filters = base.PAGED

    @extend_schema(summary="Prompts, newest first", parameters=PAGED, responses=outputs.PromptsOutput)
    def get(self, request: Request, slug: str) -> Response:
        rows, following = page(Prompt.objects.filter(project=self.project, test=False), request.query_params)
        return Response({"items": [shapes.full_prompt(row) for row in rows], "next": following})

    @extend_schema(summary="Add a prompt", request=PromptInput, responses=outputs.once(outputs.PromptOutput))
    def post(self, request: Request, slug: str) -> Response:
        given = self.named(read(PromptInput, request.data))
        row, is_new = add_prompt(author=self.author, project=self.project, new=NewPrompt(**given))
        return Response(shapes.full_prompt(row), status=201 if is_new else 200)


class PromptView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see"}

    @extend_schema(summary="One prompt", responses=outputs.PromptOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shapes.full_prompt(self.get_object(Prompt.objects.all(), pk=pk)))


class AnswersView(AddingView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see", "POST": "records.import"}
    filters = (*base.PAGED, "prompt", "model")

    @extend_schema(
        summary="Answers, newest first",
        parameters=[*PAGED, OpenApiParameter("prompt", UUID), OpenApiParameter("model", str)],
        responses=outputs.ResponsesOutput,
    )
    def get(self, request: Request, slug: str) -> Response:
        params, rows = request.query_params, Answer.objects.filter(project=self.project, test=False)
        if params.get("prompt"):
            rows = rows.filter(prompt=uuid(params["prompt"], "prompt"))
        if params.get("model"):
            rows = rows.filter(model=params["model"])
        found, following = page(rows, params)
        return Response({"items": [shapes.full_response(row) for row in found], "next": following})

    @extend_schema(
        summary="Add an answer",
        request=AnswerInput,
        responses=outputs.once(outputs.ResponseOutput),
    )
    def post(self, request: Request, slug: str) -> Response:
        given = self.named(read(AnswerInput, request.data))
        prompt = Prompt.objects.filter(project=self.project, pk=given.pop("prompt")).select_related("project").first()
        if prompt is None:
            raise BadValue("/prompt", "There is no such prompt in this project.")
        row, is_new = add_response(author=self.author, prompt=prompt, **given)
        return Response(shapes.full_response(row), status=201 if is_new else 200)


class AnswerView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see"}

    @extend_schema(summary="One answer", responses=outputs.ResponseOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shapes.full_response(self.get_object(Answer.objects.all(), pk=pk)))
