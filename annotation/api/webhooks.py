"""Webhooks and the log of their deliveries."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.actions import webhooks
from annotation.actions.webhooks import LISTENABLE
from annotation.api import shapes
from annotation.api.base import PAGED, ProjectView, Text, page, read
from annotation.errors import BadValue
from annotation.models.webhooks import Event, Webhook, WebhookDelivery

DELIVERIES = WebhookDelivery.objects.select_related("webhook", "project")
CURSOR = [OpenApiParameter("cursor", UUID), OpenApiParameter("limit", int)]
STATE = OpenApiParameter("state", str, enum=WebhookDelivery.State.values)


class WebhookInput(serializers.Serializer):
    url = Text(help_text="https, a public address; no redirects are followed")
    events = serializers.ListField(child=serializers.ChoiceField(LISTENABLE), allow_empty=False)
    name = Text(required=False, help_text="what it is for; up to 60 characters")
    test = serializers.BooleanField(required=False, default=False, help_text="hears of test data, and of nothing else")


class WebhookChange(serializers.Serializer):
    url = Text(required=False)
    events = serializers.ListField(child=serializers.ChoiceField(LISTENABLE), required=False, allow_empty=False)
    name = Text(required=False)
    enabled = serializers.BooleanField(required=False, help_text="true: what waited is sent")


class NoInput(serializers.Serializer):
    """Nothing to say."""


class WebhookOutput(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(LISTENABLE))
    test = serializers.BooleanField()
    enabled = serializers.BooleanField()
    disabled_reason = serializers.CharField(allow_blank=True)
    failures = serializers.IntegerField(help_text="tries in a row that failed")
    held_until = serializers.DateTimeField(allow_null=True, help_text="it fails: nothing is tried before this")
    old_secret_until = serializers.DateTimeField(allow_null=True, help_text="until then two secrets sign")
    delivered_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class WebhookWithSecret(WebhookOutput):
    secret = serializers.CharField(help_text="shown this once")


class WebhooksOutput(serializers.Serializer):
    items = WebhookOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


class DeliveryOutput(serializers.Serializer):
    id = serializers.UUIDField()
    webhook = serializers.UUIDField()
    message = serializers.CharField(help_text="the header webhook-id, the same at each try")
    event = serializers.ChoiceField(Event.choices)
    events = serializers.IntegerField(help_text="how many are in it")
    state = serializers.ChoiceField(WebhookDelivery.State.choices)
    tries = serializers.IntegerField()
    status = serializers.IntegerField(allow_null=True, help_text="the last HTTP status")
    error = serializers.CharField(allow_blank=True)
    tried_at = serializers.DateTimeField(allow_null=True)
    took_ms = serializers.IntegerField(allow_null=True)
    next_try_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class WholeDeliveryOutput(DeliveryOutput):
    data = serializers.ListField(child=serializers.DictField(), help_text="the events")


class DeliveriesOutput(serializers.Serializer):
    items = DeliveryOutput(many=True)
    next = serializers.UUIDField(allow_null=True)


def shape(hook: Webhook) -> dict[str, Any]:
    return {
        "id": str(hook.pk),
        "name": hook.name,
        "url": hook.url,
        "events": hook.events,
        "test": hook.test,
        "enabled": hook.enabled,
        "disabled_reason": hook.disabled_reason,
        "failures": hook.failures,
        "held_until": shapes.when(hook.held_until),
        "old_secret_until": shapes.when(hook.old_until),
        "delivered_at": shapes.when(hook.delivered_at),
        "created_at": shapes.when(hook.created_at),
    }


def delivery_shape(row: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "webhook": str(row.webhook_id),
        "message": row.message,
        "event": row.event,
        "events": len(row.keys),
        "state": row.state,
        "tries": row.tries,
        "status": row.status,
        "error": row.error,
        "tried_at": shapes.when(row.tried_at),
        "took_ms": row.took_ms,
        "next_try_at": shapes.when(row.next_try_at),
        "ended_at": shapes.when(row.ended_at),
        "created_at": shapes.when(row.created_at),
    }


class WebhooksView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "webhooks.see", "POST": "webhooks.change"}
    filters = PAGED

    @extend_schema(
        operation_id="list_project_webhooks",
        summary="Webhooks, newest first",
        parameters=CURSOR,
        responses=WebhooksOutput,
    )
    def get(self, request: Request, slug: str) -> Response:
        rows, following = page(Webhook.objects.filter(project=self.project), request.query_params)
        return Response({"items": [shape(row) for row in rows], "next": following})

    @extend_schema(
        summary="Make a webhook; its secret is shown this once",
        request=WebhookInput,
        responses={201: WebhookWithSecret},
    )
    def post(self, request: Request, slug: str) -> Response:
        given = read(WebhookInput, request.data)
        hook = webhooks.create_webhook(user=request.user, project=self.project, **given)
        hook.refresh_from_db()
        return Response({**shape(hook), "secret": hook.secret}, status=201, headers={"Cache-Control": "no-store"})


class WebhookView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "webhooks.see", "PATCH": "webhooks.change", "DELETE": "webhooks.change"}

    def hook(self, pk: UUID) -> Webhook:
        return self.get_object(Webhook.objects.all(), pk=pk)

    @extend_schema(operation_id="get_project_webhook", summary="One webhook", responses=WebhookOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shape(self.hook(pk)))

    @extend_schema(
        summary="Change a webhook, or switch it off or on", request=WebhookChange, responses={200: WebhookOutput}
    )
    def patch(self, request: Request, slug: str, pk: UUID) -> Response:
        hook = self.hook(pk)
        given = read(WebhookChange, request.data, partial=True)
        return Response(shape(webhooks.change_webhook(user=request.user, hook=hook, **given)))

    @extend_schema(summary="Switch a webhook off; its log stays", responses={200: WebhookOutput})
    def delete(self, request: Request, slug: str, pk: UUID) -> Response:
        return Response(shape(webhooks.switch_off_webhook(user=request.user, hook=self.hook(pk))))


class RotateView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "webhooks.change"}

    @extend_schema(
        summary="A new secret, shown this once; the one before signs too for 24 hours",
        request=NoInput,
        responses={200: WebhookWithSecret},
    )
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        hook = webhooks.rotate_secret(user=request.user, hook=self.get_object(Webhook.objects.all(), pk=pk))
        return Response({**shape(hook), "secret": hook.secret}, headers={"Cache-Control": "no-store"})


class PingView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "webhooks.change"}

    @extend_schema(summary="Send a webhook.test", request=NoInput, responses={202: DeliveryOutput})
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        row = webhooks.ping(user=request.user, hook=self.get_object(Webhook.objects.all(), pk=pk))
        return Response(delivery_shape(row), status=202)


class DeliveriesView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "webhooks.see"}
    filters = (*PAGED, "state")

    @extend_schema(
        summary="What was sent to a webhook, newest first", parameters=[*CURSOR, STATE], responses=DeliveriesOutput
    )
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        rows = DELIVERIES.filter(webhook=self.get_object(Webhook.objects.all(), pk=pk)).defer("payload")
        if state := request.query_params.get("state"):
            if state not in WebhookDelivery.State.values:
                raise BadValue("/state", f"`state` is one of {', '.join(WebhookDelivery.State.values)}.")
            rows = rows.filter(state=state)
        found, following = page(rows, request.query_params)
        return Response({"items": [delivery_shape(row) for row in found], "next": following})


class DeliveryView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "webhooks.see"}

    @extend_schema(summary="One delivery, with its events", responses=WholeDeliveryOutput)
    def get(self, request: Request, slug: str, pk: UUID) -> Response:
        row = self.get_object(DELIVERIES, pk=pk)
        return Response({**delivery_shape(row), "data": row.payload})


class RedeliverView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "webhooks.change"}

    @extend_schema(summary="Send it once more, under the same id", request=NoInput, responses={202: DeliveryOutput})
    def post(self, request: Request, slug: str, pk: UUID) -> Response:
        row = webhooks.redeliver(user=request.user, delivery=self.get_object(DELIVERIES, pk=pk))
        return Response(delivery_shape(row), status=202)
