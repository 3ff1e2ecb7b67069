"""Rates of reactions, for people of the project (session) and for programs (key)."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation import text as texts
from annotation.api import shapes
from annotation.api.base import ProjectView
from annotation.api.keyed import KeyedView, choice, moment, short
from annotation.queries.rates import Asked, Group, Rates, Share, rates

FILTERS = [
    OpenApiParameter("since", str, description="from this time; the last 30 days, by the hour the last 7"),
    OpenApiParameter("until", str, description="before this time"),
    OpenApiParameter("grain", str, enum=["hour", "day"], description="also over time, by the hour or the day"),
    OpenApiParameter("split", str, description="model, language, model_version, or a slice of the project"),
    OpenApiParameter("model", str, description="only answers of this model"),
    OpenApiParameter("slice", str, description="with `value`: only answers with this value of a slice"),
    OpenApiParameter("value", str),
    OpenApiParameter(
        "left_out", str, enum=["without", "with", "only"], description="users whose reactions are not believed"
    ),
]
TEST = OpenApiParameter("test", bool, description="test data instead of live data")


class ShareOutput(serializers.Serializer):
    n = serializers.IntegerField(help_text="exposures with this reaction")
    rate = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(help_text="of Wilson's 95 % interval")
    high = serializers.FloatField()


class GroupOutput(serializers.Serializer):
    value = serializers.CharField(help_text="the model or the slice's value; empty: all, or answers that say none")
    exposures = serializers.IntegerField(help_text="users who were shown an answer, once an answer")
    kinds = serializers.DictField(child=ShareOutput())


class MomentOutput(serializers.Serializer):
    at = serializers.DateTimeField()
    groups = GroupOutput(many=True)


class RatesOutput(serializers.Serializer):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    counted_up_to = serializers.DateTimeField(help_text="what came by then is counted")
    split = serializers.CharField()
    total = GroupOutput()
    groups = GroupOutput(many=True)
    more_groups = serializers.IntegerField(help_text="smaller groups that are not listed")
    over_time = MomentOutput(many=True)


def asked_from(params: Any, *, test: bool) -> Asked:
    """The question of a query string; raises BadValue."""
    for name, value in params.items():
        texts.check(value, f"/{name}")
    return Asked(
        since=moment(params, "since"),
        until=moment(params, "until"),
        grain=choice(params, "grain", ("", "hour", "day"), ""),
        split=short(params, "split", 60),
        model=short(params, "model") if "model" in params else None,
        slice=short(params, "slice", 60),
        value=short(params, "value"),
        left_out=choice(params, "left_out", ("", "without", "with", "only"), ""),
        test=test,
    )


def share(one: Share) -> dict[str, Any]:
    low, high = one.interval
    return {"n": one.n, "rate": one.rate, "low": low, "high": high}


def group(one: Group, kinds: list[str]) -> dict[str, Any]:
    return {"value": one.value, "exposures": one.exposures, "kinds": {key: share(one.share(key)) for key in kinds}}


def shape(found: Rates) -> dict[str, Any]:
    kinds = [kind.key for kind in found.kinds]
    return {
        "since": shapes.when(found.since),
        "until": shapes.when(found.until),
        "counted_up_to": shapes.when(found.counted_up_to),
        "split": found.asked.split,
        "total": group(found.total, kinds),
        "groups": [group(one, kinds) for one in found.groups],
        "more_groups": found.more,
        "over_time": [
            {"at": shapes.when(at), "groups": [group(one, kinds) for one in groups.values()]}
            for at, groups in found.over_time.items()
        ],
    }


class RatesView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "records.see"}
    filters = (*(one.name for one in FILTERS), TEST.name)

    @extend_schema(
        summary="How often users react: shares of exposures with intervals",
        parameters=[*FILTERS, TEST],
        responses=RatesOutput,
    )
    def get(self, request: Request, slug: str) -> Response:
        test = choice(request.query_params, "test", ("true", "false"), "false") == "true"
        return Response(shape(rates(self.project, asked_from(request.query_params, test=test))))


class KeyedRatesView(KeyedView):
    scopes: ClassVar[dict[str, str]] = {"GET": "read"}
    filters = tuple(one.name for one in FILTERS)

    @extend_schema(
        summary="How often users react: shares of exposures with intervals",
        description="Of live data, or of test data with a test key.",
        parameters=FILTERS,
        responses=RatesOutput,
    )
    def get(self, request: Request) -> Response:
        return Response(shape(rates(self.project, asked_from(request.query_params, test=self.test))))
