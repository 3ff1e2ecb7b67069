"""Launching, watching and judging what is learned."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import training, training_comparisons, training_models, training_runs

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/train/", training.choose, name="train"),
    path("p/<slug:slug>/train/<slug:recipe>/", training.launch, name="train_recipe"),
    path("p/<slug:slug>/train/<slug:recipe>/data/", training.data, name="train_data"),
    path("p/<slug:slug>/runs/", training_runs.runs, name="runs"),
    path("p/<slug:slug>/runs/<int:number>/", training_runs.run, name="run"),
    path("p/<slug:slug>/runs/<int:number>/status/", training_runs.status, name="run_status"),
    path("p/<slug:slug>/runs/<int:number>/samples/", training_runs.samples, name="run_samples"),
    path("p/<slug:slug>/runs/<int:number>/curve/", training_runs.curve, name="run_curve"),
    path("p/<slug:slug>/runs/<int:number>/cancel/", training_runs.cancel, name="run_cancel"),
    path("p/<slug:slug>/runs/<int:number>/go-on/", training_runs.go_on, name="run_go_on"),
    path("p/<slug:slug>/runs/<int:number>/again/", training_runs.again, name="run_again"),
    path("p/<slug:slug>/comparisons/", training_comparisons.comparisons, name="comparisons"),
    path("p/<slug:slug>/comparisons/new/", training_comparisons.new, name="comparison_new"),
    path("p/<slug:slug>/comparisons/<int:number>/", training_comparisons.comparison, name="comparison"),
    path("p/<slug:slug>/comparisons/<int:number>/status/", training_comparisons.status, name="comparison_status"),
    path("p/<slug:slug>/comparisons/<int:number>/plot.svg", training_comparisons.plot, name="comparison_plot"),
    path("p/<slug:slug>/comparisons/<int:number>/cancel/", training_comparisons.cancel, name="comparison_cancel"),
    path("p/<slug:slug>/comparisons/<int:number>/resume/", training_comparisons.resume, name="comparison_resume"),
    path("p/<slug:slug>/snapshots/<uuid:snapshot_id>/", training_runs.snapshot, name="snapshot"),
    path("p/<slug:slug>/models/", training_models.models, name="models"),
    path("p/<slug:slug>/models/<uuid:model_id>/", training_models.model, name="model"),
    path("p/<slug:slug>/models/<uuid:model_id>/stage/", training_models.stage, name="model_stage"),
]
