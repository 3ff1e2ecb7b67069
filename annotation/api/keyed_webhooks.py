"""Webhooks and their log, read with a key: whether what was told has arrived."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.api.keyed import KeyedView, choice, paged
from annotation.api.keyed_reading import PAGE_PARAMETERS
from annotation.api.webhooks import STATE, DeliveriesOutput, WebhooksOutput, delivery_shape, shape
from annotation.models import Webhook, WebhookDelivery
from redpen.accounts.errors import NotFound

PAGED = ("cursor", "limit", "order")


class WebhooksView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    filters = PAGED

    @extend_schema(
        operation_id="list_webhooks",
        tags=["webhooks"],
        summary="The webhooks of this project that hear of this key's data, newest first",
        parameters=PAGE_PARAMETERS,
        responses=WebhooksOutput,
    )
    def get(self, request: Request) -> Response:
        rows, following = paged(self.mine(Webhook), request.query_params)
        return Response({"items": [shape(row) for row in rows], "next": following})


class DeliveriesView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    filters = (*PAGED, "state")

    @extend_schema(
        operation_id="list_deliveries",
        tags=["webhooks"],
        summary="What was sent to a webhook, and whether it arrived, newest first",
        parameters=[*PAGE_PARAMETERS, STATE],
        responses=DeliveriesOutput,
    )
    def get(self, request: Request, pk: UUID) -> Response:
        if not self.mine(Webhook).filter(pk=pk).exists():
            raise NotFound("There is no webhook of this id here, or it is not this key's to see.")
        rows = WebhookDelivery.objects.filter(project=self.project, webhook=pk).defer("payload")
        if state := choice(request.query_params, "state", ("", *WebhookDelivery.State.values), ""):
            rows = rows.filter(state=state)
        found, following = paged(rows, request.query_params)
        return Response({"items": [delivery_shape(row) for row in found], "next": following})
