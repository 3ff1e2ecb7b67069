"""The keys of a project. A token is in the answer that makes it, and never again."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from redpen.accounts.actions import keys
from redpen.accounts.api.base import ProjectView, list_of, listed, read
from redpen.accounts.errors import Invalid
from redpen.accounts.models import ApiKey
from redpen.accounts.pages import page_of
from redpen.accounts.queries.keys import STATES, find_key, keys_of, state_of


class KeyOutput(serializers.ModelSerializer):
    state = serializers.SerializerMethodField(help_text="works, ends soon, rotated, expired or revoked")
    created_by = serializers.UUIDField(source="created_by_id", allow_null=True)
    rotated_to = serializers.UUIDField(source="rotated_to_id", allow_null=True)

    class Meta:
        model = ApiKey
        fields = (
            *("id", "name", "prefix", "scopes", "test", "public", "origins", "per_minute", "state", "created_by"),
            *("created_at", "last_used_at", "expires_at", "rotated_to", "revoked_at"),
        )

    def get_state(self, key: ApiKey) -> str:
        return state_of(key)


class NewKeyOutput(KeyOutput):
    token = serializers.CharField(help_text="the key itself; shown this once")

    class Meta(KeyOutput.Meta):
        fields = (*KeyOutput.Meta.fields, "token")


class KeyInput(serializers.Serializer):
    name = serializers.CharField(max_length=60, help_text="what it is for")
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=40),
        max_length=10,
        default=list,
        help_text=", ".join(ApiKey.Scope.values),
    )
    test = serializers.BooleanField(default=False, help_text="what it writes is test data, and it reads only that")
    public = serializers.BooleanField(default=False, help_text="for web pages: writes reactions, from `origins` only")
    origins = serializers.ListField(child=serializers.CharField(max_length=300), max_length=100, default=list)
    per_minute = serializers.IntegerField(
        allow_null=True, default=None, help_text="records a minute; of a public key for each address, 60 if not said"
    )
    expires_at = serializers.DateTimeField(allow_null=True, default=None)


class RotateInput(serializers.Serializer):
    overlap_hours = serializers.IntegerField(
        min_value=0, max_value=keys.LONGEST_OVERLAP, default=keys.OVERLAP, help_text="0: the old key ends at once"
    )


class KeysView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "keys.see", "POST": "keys.change"}
    filters = ("state", "cursor")

    @extend_schema(
        parameters=[OpenApiParameter("state", str, enum=STATES), OpenApiParameter("cursor", str)],
        responses=list_of(KeyOutput, "Key"),
    )
    def get(self, request: Request, slug: str) -> Response:
        """The project's keys, the newest first."""
        params = request.query_params
        state = params.get("state", "")
        if state and state not in STATES:
            message = f"`state` is one of {', '.join(STATES)}."
            raise Invalid(message, problems=[{"pointer": "/state", "message": message, "code": "invalid"}])
        page = page_of(keys_of(self.project, state=state), after=params.get("cursor"), newest_first=True)
        return Response(listed(page, KeyOutput))

    @extend_schema(request=KeyInput, responses={201: NewKeyOutput})
    def post(self, request: Request, slug: str) -> Response:
        """Make a key. The token is in this answer only: keep it, or make another."""
        key, token = keys.create_key(project=self.project, actor=self.user, **read(KeyInput, request))
        return shown_once(key, token)


class KeyView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "keys.see", "DELETE": "keys.change"}

    @extend_schema(responses=KeyOutput)
    def get(self, request: Request, slug: str, key_id: UUID) -> Response:
        return Response(KeyOutput(find_key(self.project, key_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, key_id: UUID) -> Response:
        """Revoke a key, at once and for good. Harmless when repeated."""
        keys.revoke_key(project=self.project, actor=self.user, key_id=key_id)
        return Response(status=204)


class RotateKeyView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "keys.change"}

    @extend_schema(request=RotateInput, responses={201: NewKeyOutput})
    def post(self, request: Request, slug: str, key_id: UUID) -> Response:
        """A successor with the same powers; the old key works for `overlap_hours` more."""
        checked = read(RotateInput, request)
        key, token = keys.rotate_key(project=self.project, actor=self.user, key_id=key_id, **checked)
        return shown_once(key, token)


def shown_once(key: ApiKey, token: str) -> Response:
    body: dict[str, Any] = {**KeyOutput(key).data, "token": token}
    return Response(body, status=201, headers={"Cache-Control": "no-store"})
