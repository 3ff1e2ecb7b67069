"""Recipes, and runs: launched, watched, cancelled, let go on, tried again."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotation.api.base import PAGED, ProjectView, page, read
from annotation.errors import BadValue
from training.actions.going_on import go_on
from training.actions.runs import Launch, cancel_run, launch_run, query_for, run_of, try_again
from training.api import shapes
from training.queries import models as model_queries
from training.queries import recipes, runs
from training.queries.snapshots import preview


class LaunchInput(serializers.Serializer):
    recipe = serializers.CharField(help_text="its name, as in /recipes")
    preset = serializers.CharField(default="laptop", allow_blank=True, help_text="laptop, paper, or empty")
    config = serializers.DictField(default=dict, help_text="options over the preset's; unknown ones are refused")
    base_model = serializers.CharField(help_text="its name, as in /base-models")
    inputs = serializers.DictField(default=dict, child=serializers.UUIDField(), help_text="kind: id of a model")
    origins = serializers.ListField(default=list, child=serializers.CharField(), help_text="human, model, program")
    campaigns = serializers.ListField(default=list, child=serializers.UUIDField())
    test = serializers.BooleanField(default=False, help_text="what test keys sent, too")
    name = serializers.CharField(default="", allow_blank=True)
    seed = serializers.IntegerField(default=0)
    after = serializers.ListField(
        default=list,
        child=serializers.IntegerField(),
        help_text="numbers of runs that must succeed first; what they make is this one's input",
    )


class RecipesView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="The recipes with the JSON schema of their options", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        return Response({"recipes": [recipe.card() for recipe in recipes.all_recipes()]})


class RecipeView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="One recipe, and what data of this project a run of it would use now", responses={200: dict})
    def get(self, request: Request, slug: str, name: str) -> Response:
        recipe = recipes.recipe_named(name)
        return Response({**recipe.card(), "data": preview(self.project, query_for(recipe))})


class BaseModelsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="The models that training may start from", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        return Response({"base_models": [shapes.base_model(row) for row in model_queries.base_models()]})


class RunsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see", "POST": "training.run"}
    filters = PAGED

    @extend_schema(summary="Runs, newest first", responses={200: dict})
    def get(self, request: Request, slug: str) -> Response:
        rows = runs.of_project(self.project).select_related("again_of")
        found, following = page(rows, request.query_params)
        return Response({"runs": [shapes.run(row) for row in found], "next": following})

    @extend_schema(
        summary="Launch a run; with Idempotency-Key a repeated request gives the run of the first",
        request=LaunchInput,
        responses={201: dict, 200: dict},
    )
    def post(self, request: Request, slug: str) -> Response:
        given = read(LaunchInput, request.data)
        launch = Launch(**{**given, **{name: tuple(given[name]) for name in ("origins", "campaigns", "after")}})
        run, fresh = launch_run(project=self.project, author=request.user, launch=launch, client_key=self.client_key)
        return Response(shapes.run(run), status=201 if fresh else 200)


class RunView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}

    @extend_schema(summary="One run", responses={200: dict})
    def get(self, request: Request, slug: str, number: int) -> Response:
        run = run_of(self.project, number)
        inputs = {one.kind: str(one.model_version_id) for one in run.inputs.all()}
        after = list(run.after.order_by("number").values_list("number", flat=True))
        told = {"inputs": inputs, "after": after, "metrics": runs.last_metrics(run), "costs": runs.costs(run)}
        return Response({**shapes.run(run), **told})


class CancelView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.run"}

    @extend_schema(summary="Ask a run to stop", request=None, responses={200: dict})
    def post(self, request: Request, slug: str, number: int) -> Response:
        return Response(shapes.run(cancel_run(run=run_of(self.project, number), author=request.user)))


class GoOnView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.run"}

    @extend_schema(summary="Let a cancelled run go on from its checkpoint", request=None, responses={200: dict})
    def post(self, request: Request, slug: str, number: int) -> Response:
        return Response(shapes.run(go_on(run=run_of(self.project, number), author=request.user)))


class AgainView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"POST": "training.run"}

    @extend_schema(summary="The same run once more, over the same rows", request=None, responses={201: dict, 200: dict})
    def post(self, request: Request, slug: str, number: int) -> Response:
        run, fresh = try_again(run=run_of(self.project, number), author=request.user, client_key=self.client_key)
        return Response(shapes.run(run), status=201 if fresh else 200)


class EventsView(ProjectView):
    needs: ClassVar[dict[str, str]] = {"GET": "training.see"}
    filters = ("attempt", "seq", "type")

    @extend_schema(
        summary="Events of a run after (attempt, seq), in order",
        parameters=[
            OpenApiParameter("attempt", int, description="of the last event that you have"),
            OpenApiParameter("seq", int, description="of the last event that you have"),
            OpenApiParameter("type", str, description="metrics, log, sample, error ... (by comma)"),
        ],
        responses={200: dict},
    )
    def get(self, request: Request, slug: str, number: int) -> Response:
        run = run_of(self.project, number)
        attempt, seq = whole(request, "attempt", 0), whole(request, "seq", -1)
        types = tuple(one for one in request.query_params.get("type", "").split(",") if one)
        found = runs.events_after(run, types=types, attempt=attempt, seq=seq)
        if found:
            attempt, seq = found[-1].attempt, found[-1].seq
        place = {"attempt": attempt, "seq": seq, "more": len(found) == runs.MOST_EVENTS}
        return Response({"events": [shapes.event(row) for row in found], "state": run.state, **place})


def whole(request: Any, name: str, default: int) -> int:
    value = request.query_params.get(name, default)
    try:
        number = int(value)
    except ValueError:
        number = -2
    if not -1 <= number < 2**31:
        raise BadValue(f"/{name}", f"`{name}` is a whole number.")
    return number
