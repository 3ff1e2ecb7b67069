"""Comparisons of recipes: started, watched, read, cancelled, resumed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.api.base import PAGED, ProjectView, page, read
from annotation.api.shapes import person, when
from training.actions.comparisons import cancel_comparison, comparison_of, resume_comparison, start_comparison
from training.compare.plot import svg
from training.models import Comparison, Trial
from training.queries import comparisons as queries


class ComparisonInput(serializers.Serializer):
    options = serializers.DictField(
        default=dict, help_text="recipes, seeds, base_model, checker, settings, campaigns, test_prompts ..."
    )
    name = serializers.CharField(default="", allow_blank=True)


def shape(row: Comparison) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "number": row.number,
        "name": row.name,
        "options": row.options,
        "created_by": person(row.created_by),
        "created_at": when(row.created_at),
        "cancelled_at": when(row.cancelled_at),
    }


def shape_of_trial(row: Trial) -> dict[str, Any]:
    return {
        "place": row.place,
        "subject": row.subject,
        "part": row.part,
        "seed": row.seed,
        "run": row.run.number,
        "state": row.run.state,
        "after": sorted(one.number for one in row.run.after.all()),
    }


def whole(comparison: Comparison) -> dict[str, Any]:
    """With its graph and what came of it."""
    trials = queries.trials_of(comparison)
    return {
        **shape(comparison),
        **queries.progress_of(comparison, trials),
        "trials": [shape_of_trial(trial) for trial in trials],
        "report": queries.report(comparison, trials).as_json(),
    }


class ComparisonsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see", "POST": "training.run"}
    filters = PAGED

    @extend_schema(summary="Comparisons of recipes, newest first", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        found, following = page(queries.of_project(self.project), request.query_params)
        rows = [
            {**shape(row), "state": queries.state_of_counts(row), "runs": row.runs, "succeeded": row.done}
            for row in found
        ]
        return Response({"comparisons": rows, "next": following})

    @extend_schema(
        summary="Start one; with Idempotency-Key a repeated request gives the one of the first",
        request=ComparisonInput,
        responses={201: dict, 200: dict},
    )
    def post(self, request: Request, slug: str) -> Response:
        given = read(ComparisonInput, request.data)
        made, fresh = start_comparison(project=self.project, author=request.user, client_key=self.client_key, **given)
        return Response(whole(made), status=201 if fresh else 200)


class ComparisonView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="One comparison: its graph of runs, how far it is, the table", responses={200: dict})
    def get(self, request: Request, slug: str, number: int) -> Response:
        return Response(whole(comparison_of(self.project, number)))


class ComparisonPlotView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="Its plot, as SVG", responses={(200, "image/svg+xml"): OpenApiTypes.BINARY})
    def get(self, request: Request, slug: str, number: int) -> HttpResponse:
        return HttpResponse(svg(queries.report(comparison_of(self.project, number))), content_type="image/svg+xml")


class ComparisonCancelView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.run"}

    @extend_schema(summary="Ask all its runs to stop", request=None, responses={200: dict})
    def post(self, request: Request, slug: str, number: int) -> Response:
        stopped = cancel_comparison(comparison=comparison_of(self.project, number), author=request.user)
        return Response(whole(stopped))


class ComparisonResumeView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.run"}

    @extend_schema(summary="Go on: what failed or was cancelled is run again", request=None, responses={200: dict})
    def post(self, request: Request, slug: str, number: int) -> Response:
        resumed, _ = resume_comparison(comparison=comparison_of(self.project, number), author=request.user)
        return Response(whole(resumed))
