"""Projects and their audit trails."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from redpen.accounts.actions.projects import change_project, create_project
from redpen.accounts.api.base import PersonView, ProjectView, list_of, listed, read
from redpen.accounts.errors import Invalid
from redpen.accounts.models import AuditEvent, Membership, Project
from redpen.accounts.pages import page_of
from redpen.accounts.queries.audit import events_of


class ProjectOutput(serializers.ModelSerializer):
    class Meta:
        model = Project
        fields = ("id", "slug", "name", "description", "created_at")


class MyProjectOutput(serializers.ModelSerializer):
    """A project as one of mine: with my role."""

    project = ProjectOutput()

    class Meta:
        model = Membership
        fields = ("project", "role", "created_at")


class NewProjectInput(serializers.Serializer):
    name = serializers.CharField(max_length=120)
    description = serializers.CharField(max_length=5000, default="", allow_blank=True)
    slug = serializers.SlugField(max_length=60, default="", allow_blank=True, help_text="empty: made from the name")


class ProjectInput(serializers.Serializer):
    name = serializers.CharField(max_length=120, required=False)
    description = serializers.CharField(max_length=5000, required=False, allow_blank=True)


class AuditEventOutput(serializers.ModelSerializer):
    actor = serializers.UUIDField(source="actor_id", allow_null=True)
    actor_name = serializers.CharField(source="actor.name", default="")

    class Meta:
        model = AuditEvent
        fields = ("id", "at", "actor", "actor_name", "agent", "action", "subject_kind", "subject_id", "data")


class ProjectsView(PersonView):
    filters = ("cursor",)

    @extend_schema(operation_id="projects_list", responses=list_of(MyProjectOutput, "MyProject"))
    def get(self, request: Request) -> Response:
        """My projects, by the time I joined them."""
        rows = Membership.objects.filter(user=self.user).select_related("project")
        return Response(listed(page_of(rows, after=request.query_params.get("cursor")), MyProjectOutput))

    @extend_schema(request=NewProjectInput, responses={201: ProjectOutput})
    def post(self, request: Request) -> Response:
        """A new project of mine. Name its slug to make the call safe to repeat: a taken one is a 409."""
        project = create_project(creator=self.user, **read(NewProjectInput, request))
        return Response(ProjectOutput(Project.objects.get(pk=project.pk)).data, status=201)


class OneProjectView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "project.see", "PATCH": "project.change"}

    @extend_schema(responses=ProjectOutput)
    def get(self, request: Request, slug: str) -> Response:
        return Response(ProjectOutput(self.project).data)

    @extend_schema(request=ProjectInput, responses=ProjectOutput)
    def patch(self, request: Request, slug: str) -> Response:
        project = change_project(project=self.project, actor=self.user, **read(ProjectInput, request))
        return Response(ProjectOutput(project).data)


def person(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        problem = {"pointer": "/actor", "message": "`actor` is the id of a person.", "code": "invalid"}
        raise Invalid(problem["message"], problems=[problem]) from None


class AuditView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "audit.see"}
    filters = ("action", "actor", "cursor")

    @extend_schema(
        parameters=[OpenApiParameter(name, str) for name in ("action", "actor", "cursor")],
        responses=list_of(AuditEventOutput, "AuditEvent"),
    )
    def get(self, request: Request, slug: str) -> Response:
        """The trail, newest first."""
        params = request.query_params
        actor = person(params["actor"]) if params.get("actor") else None
        events = events_of(self.project, action=params.get("action", ""), actor=actor)
        return Response(listed(page_of(events, after=params.get("cursor"), newest_first=True), AuditEventOutput))
