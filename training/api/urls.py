"""The endpoints of this app, mounted under /api/v1/."""

from django.urls import URLPattern, URLResolver, include, path

from training.api import comparisons, models, runs, snapshots

of_project: list[URLPattern | URLResolver] = [
    path("recipes", runs.RecipesView.as_view(), name="api-recipes"),
    path("recipes/<slug:name>", runs.RecipeView.as_view(), name="api-recipe"),
    path("base-models", runs.BaseModelsView.as_view(), name="api-base-models"),
    path("runs", runs.RunsView.as_view(), name="api-runs"),
    path("runs/<int:number>", runs.RunView.as_view(), name="api-run"),
    path("runs/<int:number>/events", runs.EventsView.as_view(), name="api-run-events"),
    path("runs/<int:number>/cancel", runs.CancelView.as_view(), name="api-run-cancel"),
    path("runs/<int:number>/go-on", runs.GoOnView.as_view(), name="api-run-go-on"),
    path("runs/<int:number>/again", runs.AgainView.as_view(), name="api-run-again"),
    path("comparisons", comparisons.ComparisonsView.as_view(), name="api-comparisons"),
    path("comparisons/<int:number>", comparisons.ComparisonView.as_view(), name="api-comparison"),
    path("comparisons/<int:number>/plot", comparisons.ComparisonPlotView.as_view(), name="api-comparison-plot"),
    path("comparisons/<int:number>/cancel", comparisons.ComparisonCancelView.as_view(), name="api-comparison-cancel"),
    path("comparisons/<int:number>/resume", comparisons.ComparisonResumeView.as_view(), name="api-comparison-resume"),
    path("snapshots", snapshots.SnapshotsView.as_view(), name="api-snapshots"),
    path("snapshots/preview", snapshots.PreviewView.as_view(), name="api-snapshot-preview"),
    path("snapshots/<uuid:pk>", snapshots.SnapshotView.as_view(), name="api-snapshot"),
    path("models", models.ModelsView.as_view(), name="api-models"),
    path("models/<uuid:pk>", models.ModelView.as_view(), name="api-model"),
    path("models/<uuid:pk>/score", models.ScoreView.as_view(), name="api-model-score"),
]
urlpatterns: list[URLPattern | URLResolver] = [path("projects/<slug:slug>/", include(of_project))]
