"""Comparisons, words, numbers and better versions of whole answers, reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import judgements
from annotation.api import records, shapes
from annotation.api.base import ProjectView, Text, read
from annotation.api.outputs import PreferenceOutput, RecordOutput, once
from annotation.errors import BadValue
from annotation.models import Assignment, FeedbackRecord
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


class CritiqueInput(serializers.Serializer):
    text = Text(default="")
    verdict = Text(default="", help_text="good, bad or empty")
    assignment = serializers.UUIDField(required=False, allow_null=True)


class RatingInput(serializers.Serializer):
    dimension = Text(help_text="what the number is about")
    value = serializers.FloatField()
    assignment = serializers.UUIDField(required=False, allow_null=True)


class RewriteInput(serializers.Serializer):
    text = Text(help_text="how the answer should have read")
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
        responses=once(PreferenceOutput),
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


class OnAnswerView(JudgementView):
    """One judgement on one answer: `Input` is read, `act` is called, the record is shown."""

    Input: ClassVar[type[serializers.Serializer]]
    act: ClassVar[Callable[..., tuple[FeedbackRecord, bool]]]

    def record(self, request: Request, pk: UUID) -> Response:
        answer = self.get_object(Answer.objects.select_related("project", "prompt"), pk=pk)
        given = read(self.Input, request.data)
        held = self.held(given.pop("assignment", None))
        row, is_new = type(self).act(
            author=self.author, response=answer, assignment=held, client_key=self.client_key, **given
        )
        return Response(records.shape(row), status=201 if is_new else 200)


class CritiquesView(OnAnswerView):
    Input, act = CritiqueInput, judgements.critique

    @extend_schema(summary="Words on the whole answer", request=CritiqueInput, responses=once(RecordOutput))
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        return self.record(request, pk)


class RatingsView(OnAnswerView):
    Input, act = RatingInput, judgements.rate

    @extend_schema(summary="A number on a dimension", request=RatingInput, responses=once(RecordOutput))
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        return self.record(request, pk)


class RewritesView(OnAnswerView):
    Input, act = RewriteInput, judgements.rewrite

    @extend_schema(summary="How the answer should have read", request=RewriteInput, responses=once(RecordOutput))
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        return self.record(request, pk)


class ReportsView(OnAnswerView):
    Input, act = ReportInput, judgements.report

    @extend_schema(summary="Tell an admin about an answer", request=ReportInput, responses=once(RecordOutput))
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        return self.record(request, pk)
