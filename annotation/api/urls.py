"""The endpoints of this app, mounted under /api/v1/."""

from django.urls import URLPattern, URLResolver, include, path

from annotation.api import assignments, judgements, spans

of_project: list[URLPattern | URLResolver] = [
    path("assignments/next", assignments.NextView.as_view(), name="api-assignment-next"),
    path("assignments/<uuid:pk>", assignments.AssignmentView.as_view(), name="api-assignment"),
    path("assignments/<uuid:pk>/heartbeat", assignments.HeartbeatView.as_view(), name="api-assignment-heartbeat"),
    path("assignments/<uuid:pk>/draft", assignments.DraftView.as_view(), name="api-assignment-draft"),
    path("assignments/<uuid:pk>/submit", assignments.SubmitView.as_view(), name="api-assignment-submit"),
    path("assignments/<uuid:pk>/skip", assignments.SkipView.as_view(), name="api-assignment-skip"),
    path("assignments/<uuid:pk>/reopen", assignments.ReopenView.as_view(), name="api-assignment-reopen"),
    path("responses/<uuid:pk>/spans", spans.SpansView.as_view(), name="api-response-spans"),
    path("responses/<uuid:pk>/reports", judgements.ReportsView.as_view(), name="api-response-reports"),
    path("spans/<uuid:lineage>", spans.OneSpanView.as_view(), name="api-span"),
    path("spans/<uuid:lineage>/restore", spans.RestoreSpanView.as_view(), name="api-span-restore"),
    path("preferences", judgements.PreferencesView.as_view(), name="api-preferences"),
]
urlpatterns: list[URLPattern | URLResolver] = [path("projects/<slug:slug>/", include(of_project))]
