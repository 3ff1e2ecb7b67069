"""Models: listed, moved between stages, and asked to score a text."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import text as texts
from annotation.api.base import PAGED, ProjectView, Text, page, read
from annotation.errors import BadValue
from annotation.models import Response as Answer
from training import model_client
from training.actions.models import model_of, set_stage
from training.api import shapes
from training.queries import models


class StageInput(serializers.Serializer):
    stage = serializers.CharField(help_text="candidate, production or retired")


class ScoreInput(serializers.Serializer):
    response = serializers.UUIDField(required=False, allow_null=True, help_text="a stored answer, instead of the rest")
    question = Text(default="", help_text="what was asked, in place of messages")
    messages = serializers.ListField(default=list, child=serializers.DictField())
    context = serializers.ListField(default=list, child=serializers.DictField())
    text = Text(default="", help_text="the answer to score")


class ModelsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "models.see"}
    filters = PAGED

    @extend_schema(summary="Models, newest first", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        found, following = page(models.of_project(self.project), request.query_params)
        return Response({"models": [shapes.model(row) for row in found], "next": following})


class ModelView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "models.see", "PATCH": "training.run"}

    @extend_schema(summary="One model", responses={200: dict})
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shapes.model(model_of(self.project, pk)))

    @extend_schema(summary="Move a model to another stage", request=StageInput, responses={200: dict})
    def patch(self, request: Request, slug: str, pk: UUID) -> Response:
        given = read(StageInput, request.data)
        return Response(shapes.model(set_stage(model=model_of(self.project, pk), author=request.user, **given)))


class ScoreView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "models.score"}

    @extend_schema(summary="Score an answer token by token", request=ScoreInput, responses={200: dict})
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        model = model_of(self.project, pk)
        if not models.can_score(model):
            raise BadValue("", f"{model} is a {model.get_kind_display()}; only span reward models score words.")
        return Response(self.scored(model, read(ScoreInput, request.data)))

    def scored(self, model: Any, given: dict[str, Any]) -> dict[str, Any]:
        messages, context, text = given["messages"], given["context"], given["text"]
        if given.get("response"):
            answer = self.get_object(Answer.objects.select_related("prompt"), pk=given["response"])
            messages, context, text = answer.prompt.messages, answer.prompt.context, answer.text
        else:
            for name in ("question", "messages", "context", "text"):  # what UTF-8 cannot spell reaches no server
                texts.check_json(given[name], f"/{name}")
            messages = messages or [{"role": "user", "content": given["question"]}]
        if not text.strip():
            raise BadValue("/text", "There is nothing to score: write or paste an answer, or pick one.")
        found = model_client.score(model, messages=messages, context=context, text=text)
        return {"model": str(model.pk), "text": text, "messages": messages, **found}
