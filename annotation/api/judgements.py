"""Comparisons and reports."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import judgements
from annotation.api import outputs, shapes
from annotation.api.base import ProjectView, Text, read
from annotation.errors import BadValue
from annotation.models import Assignment
from annotation.models import Response as Answer


class PreferenceInput(serializers.Serializer):
    a = serializers.UUIDField()
    b = serializers.UUIDField()
    choice = Text(help_text="a, b, tie or neither")
    strength = serializers.IntegerField(default=2, help_text="1 slightly, 2 clearly, 3 far better")
    dimension = Text(default="", max_length=60)
    reason = Text(default="")
    shown_first = Text(default="", max_length=1)
    assignment = serializers.UUIDField(required=False, allow_null=True)


class ReportInput(serializers.Serializer):
    reason = Text()
    text = Text(default="")
    assignment = serializers.UUIDField(required=False, allow_null=True)


class JudgementView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    def answer(self, pk: UUID, pointer: str) -> Answer:
        found = Answer.objects.filter(project=self.project, pk=pk).select_related("project").first()
        if found is None:
            raise BadValue(pointer, "There is no such answer in this project.")
        return found

    def held(self, pk: UUID | None) -> Assignment | None:
        if pk is None:
            return None
        return self.get_object(Assignment.objects.select_related("task"), pk=pk, user=self.request.user)


class PreferencesView(JudgementView):
    @extend_schema(
        summary="Which of two answers is better",
        request=PreferenceInput,
        responses=outputs.once(outputs.PreferenceOutput),
    )
    def post(self, request: Request, slug: str) -> Response:
        given = read(PreferenceInput, request.data)
        row, is_new = judgements.prefer(
            author=self.author,
            a=self.answer(given.pop("a"), "/a"),
            b=self.answer(given.pop("b"), "/b"),
            assignment=self.held(given.pop("assignment", None)),
            shown_first=given.pop("shown_first"),
            compared=judgements.Compared(**given),
            client_key=self.client_key,
        )
        return Response(shapes.preference(row), status=201 if is_new else 200)


class ReportsView(JudgementView):
    @extend_schema(
        summary="Tell an admin about an answer",
        request=ReportInput,
        responses=outputs.once(outputs.NamedOutput),
    )
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        answer = self.get_object(Answer.objects.select_related("project"), pk=pk)
        given = read(ReportInput, request.data)
        row, is_new = judgements.report(
            author=self.author,
            response=answer,
            assignment=self.held(given.pop("assignment", None)),
            client_key=self.client_key,
            **given,
        )
        return Response({"id": str(row.pk)}, status=201 if is_new else 200)
