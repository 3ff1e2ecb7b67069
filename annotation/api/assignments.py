"""Dealing work and what becomes of it: next, heartbeat, draft, submit, skip, reopen."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import tasks
from annotation.actions.dealing import Deal
from annotation.actions.judgements import Compared
from annotation.api import outputs, shapes
from annotation.api.base import ProjectView, Text, read, uuid
from annotation.errors import BadValue
from annotation.models import Assignment, Campaign
from annotation.models.campaigns import TaskKind
from annotation.queries.assignments import for_page, tasks_by_kind
from annotation.queries.unread import unread_answers


class ChosenInput(serializers.Serializer):
    choice = Text(help_text="left, right, tie or neither")
    strength = serializers.IntegerField(default=2, help_text="1 slightly, 2 clearly, 3 far better")
    reason = Text(default="")
    dimension = Text(default="")


class DoneInput(serializers.Serializer):
    active_seconds = serializers.FloatField(default=0)
    deal_next = serializers.BooleanField(default=False)


class SubmitInput(DoneInput):
    verdict = Text(default="", help_text="good, bad or empty: on the whole answer")
    words = Text(default="")
    preference = ChosenInput(required=False, allow_null=True)


class SkipInput(DoneInput):
    reason = Text()
    text = Text(default="")


class HeartbeatInput(serializers.Serializer):
    active_seconds = serializers.FloatField(default=0)


class Mine(ProjectView):
    """Work in my hands, whatever became of it."""

    needs: ClassVar[dict[str, str]] = {"GET": "label", "POST": "label", "PUT": "label"}

    def mine(self, pk: UUID) -> Assignment:
        return self.get_object(for_page(), pk=pk, user=self.request.user)

    def shape(self, row: Assignment) -> dict[str, Any]:
        return shapes.assignment(for_page().get(pk=row.pk), me=self.request.user)

    def deal(self, kind: str, campaign: Campaign | None = None) -> dict[str, Any]:
        found = tasks.deal_next(user=self.request.user, project=self.project, kind=kind, campaign=campaign)
        left = tasks.left_for(user=self.request.user, project=self.project, kind=kind, campaign=campaign)
        held = self.shape(found.assignment) if found.assignment else None
        return shapes.deal(Deal(found.assignment, found.why, left), assignment=held)

    def closed(self, row: Assignment, *, extra: bool, deal_next: bool) -> Response:
        following = self.deal(row.task.kind) if deal_next else None
        return Response({"assignment": self.shape(row), "extra": extra, "next": following})


class NextView(Mine):
    @extend_schema(
        summary="The next piece of work for me: what I hold already comes first",
        parameters=[
            OpenApiParameter("kind", str, enum=TaskKind.values, required=True),
            OpenApiParameter("campaign", UUID, required=False),
        ],
        request=None,
        responses=outputs.DealOutput,
    )
    def post(self, request: Request, slug: str) -> Response:
        kind = request.query_params.get("kind", TaskKind.SPANS)
        if kind not in TaskKind.values:
            raise BadValue("/kind", f"`kind` is one of {', '.join(TaskKind.values)}.")
        campaign = None
        if name := request.query_params.get("campaign"):
            campaign = self.get_object(Campaign.objects.all(), pk=uuid(name, "campaign"))
        return Response(self.deal(kind, campaign))

    needs: ClassVar[dict[str, str]] = {"POST": "label"}


class TasksView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see_own", "POST": "campaigns.change"}

    @extend_schema(summary="How many pieces of work there are, by kind and state", responses=outputs.TasksOutput)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"tasks": tasks_by_kind(self.project), "unread": unread_answers(self.project).count()})

    @extend_schema(
        summary="Ask people about answers of which nothing was said",
        request=None,
        responses=outputs.NewTasksOutput,
    )
    def post(self, request: Request, slug: str) -> Response:
        asked = tasks.ask_about_unread(author=self.author, project=self.project)
        return Response({"spans": asked.spans, "pairs": asked.pairs})


class AssignmentView(Mine):
    needs: ClassVar[dict[str, str]] = {"GET": "label"}

    @extend_schema(summary="One piece of work of mine", responses=outputs.AssignmentOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(self.shape(self.mine(pk)))


class HeartbeatView(Mine):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    @extend_schema(summary="I am still at it: renews the lease", request=HeartbeatInput, responses=outputs.LeaseOutput)
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        held, given = self.mine(pk), read(HeartbeatInput, request.data)
        row = tasks.heartbeat(author=self.author, assignment=held, **given)
        return Response({"state": row.state, "lease_expires_at": shapes.when(row.lease_expires_at)})


class DraftView(Mine):
    needs: ClassVar[dict[str, str]] = {"PUT": "label"}

    @extend_schema(summary="Keep what is not yet a record", request=dict, responses=outputs.DraftOutput)
    def put(self, request: Request, slug: str, pk: UUID) -> Response:
        held = self.mine(pk)
        if not isinstance(request.data, dict):
            raise BadValue("", "A draft is a JSON object.")
        row = tasks.save_draft(author=self.author, assignment=held, draft=request.data)
        return Response({"draft": row.draft})


class SubmitView(Mine):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    @extend_schema(summary="Hand the work in: its marks count", request=SubmitInput, responses=outputs.ClosedOutput)
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        held, given = self.mine(pk), read(SubmitInput, request.data)
        follow, compared = given.pop("deal_next"), given.pop("preference", None)
        row, extra = tasks.submit(
            author=self.author,
            assignment=held,
            given=tasks.Given(**given, preference=Compared(**compared) if compared else None),
        )
        return self.closed(row, extra=extra, deal_next=follow)


class SkipView(Mine):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    @extend_schema(summary="Leave it, with a reason", request=SkipInput, responses=outputs.ClosedOutput)
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        held, given = self.mine(pk), read(SkipInput, request.data)
        follow = given.pop("deal_next")
        row = tasks.skip(author=self.author, assignment=held, **given)
        return self.closed(row, extra=False, deal_next=follow)


class ReopenView(Mine):
    needs: ClassVar[dict[str, str]] = {"POST": "label"}

    @extend_schema(summary="Undo submit or skip", request=None, responses=outputs.ReopenedOutput)
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        row = tasks.reopen(author=self.author, assignment=self.mine(pk))
        return Response({"assignment": self.shape(row)})
