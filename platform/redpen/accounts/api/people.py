"""Oneself, and the members of a project with their invitations."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from redpen.accounts.actions import invitations
from redpen.accounts.actions.members import change_role, remove_member
from redpen.accounts.actions.passwords import make_reset_link, rename_person
from redpen.accounts.api.base import PersonView, ProjectView, list_of, listed, read
from redpen.accounts.models import Invitation, Membership, Role, User
from redpen.accounts.pages import page_of
from redpen.accounts.queries.members import open_invitations
from redpen.accounts.rules import may, require


class MeOutput(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ("id", "email", "name", "is_staff", "created_at")


class MeInput(serializers.Serializer):
    name = serializers.CharField(max_length=120)


class MemberOutput(serializers.ModelSerializer):
    """The address is there for those who may change members, and empty for others."""

    user = serializers.UUIDField(source="user_id")
    name = serializers.CharField(source="user.name")
    email = serializers.SerializerMethodField()

    class Meta:
        model = Membership
        fields = ("id", "user", "name", "email", "role", "created_at")

    def get_email(self, membership: Membership) -> str:
        return membership.user.email if self.context.get("with_addresses") else ""


class RoleInput(serializers.Serializer):
    role = serializers.ChoiceField(Role.choices)


class InvitationInput(RoleInput):
    note = serializers.CharField(max_length=120, default="", allow_blank=True, help_text="for whom; admins see it")


class InvitationOutput(serializers.ModelSerializer):
    created_by = serializers.UUIDField(source="created_by_id")

    class Meta:
        model = Invitation
        fields = ("id", "role", "note", "created_by", "created_at", "expires_at")


class NewInvitationOutput(InvitationOutput):
    token = serializers.CharField(help_text="shown this once; the link is /invite/<token>/")

    class Meta(InvitationOutput.Meta):
        fields = (*InvitationOutput.Meta.fields, "token")


class TokenInput(serializers.Serializer):
    token = serializers.CharField(max_length=100)


class LinkOutput(serializers.Serializer):
    path = serializers.CharField(help_text="shown this once: where the member chooses a new password, within a day")


class MeView(PersonView):
    @extend_schema(responses=MeOutput)
    def get(self, request: Request) -> Response:
        return Response(MeOutput(self.user).data)

    @extend_schema(request=MeInput, responses=MeOutput)
    def patch(self, request: Request) -> Response:
        return Response(MeOutput(rename_person(user=self.user, **read(MeInput, request))).data)


class AcceptView(PersonView):
    @extend_schema(request=TokenInput, responses=MemberOutput)
    def post(self, request: Request) -> Response:
        """Join a project with the token of an invitation."""
        membership = invitations.accept_invitation(token=read(TokenInput, request)["token"], user=self.user)
        return Response(MemberOutput(membership).data)


class MembersView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "members.see"}
    filters = ("cursor",)

    @extend_schema(responses=list_of(MemberOutput, "Member"))
    def get(self, request: Request, slug: str) -> Response:
        rows = Membership.objects.filter(project=self.project).select_related("user")
        page = page_of(rows, after=request.query_params.get("cursor"))
        return Response(listed(page, MemberOutput, with_addresses=may(request.role, "members.change")))


class MemberView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"PATCH": "members.change", "DELETE": "project.leave"}

    @extend_schema(request=RoleInput, responses=MemberOutput)
    def patch(self, request: Request, slug: str, member_id: UUID) -> Response:
        role = read(RoleInput, request)["role"]
        membership = change_role(project=self.project, actor=self.user, member_id=member_id, role=role)
        return Response(MemberOutput(membership, context={"with_addresses": True}).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, member_id: UUID) -> Response:
        """Remove a member; with one's own membership: leave."""
        own = Membership.objects.filter(project=self.project, user=self.user, pk=member_id).exists()
        if not own:
            require(request, "members.change")
        remove_member(project=self.project, actor=self.user, member_id=member_id)
        return Response(status=204)


class ResetLinkView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "members.change"}

    @extend_schema(request=None, responses=LinkOutput)
    def post(self, request: Request, slug: str, member_id: UUID) -> Response:
        path = make_reset_link(project=self.project, actor=self.user, member_id=member_id)
        return Response({"path": path}, headers={"Cache-Control": "no-store"})


class InvitationsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "members.change", "POST": "members.change"}
    filters = ("cursor",)

    @extend_schema(responses=list_of(InvitationOutput, "Invitation"))
    def get(self, request: Request, slug: str) -> Response:
        """The invitations that can still be used."""
        page = page_of(open_invitations(self.project), after=request.query_params.get("cursor"), newest_first=True)
        return Response(listed(page, InvitationOutput))

    @extend_schema(request=InvitationInput, responses={201: NewInvitationOutput})
    def post(self, request: Request, slug: str) -> Response:
        invitation, token = invitations.invite(project=self.project, actor=self.user, **read(InvitationInput, request))
        body: dict[str, Any] = {**InvitationOutput(invitation).data, "token": token}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class InvitationView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"DELETE": "members.change"}

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, invitation_id: UUID) -> Response:
        invitations.revoke_invitation(project=self.project, actor=self.user, invitation_id=invitation_id)
        return Response(status=204)
