"""The endpoints of this app, mounted under /api/v1/."""

from django.urls import URLPattern, URLResolver, include, path

from annotation.api import assignments, erasures, files, intake, judgements, prompts, rates, records, spans, webhooks

of_project: list[URLPattern | URLResolver] = [
    path("tasks", assignments.TasksView.as_view(), name="api-tasks"),
    path("assignments/next", assignments.NextView.as_view(), name="api-assignment-next"),
    path("assignments/<uuid:pk>", assignments.AssignmentView.as_view(), name="api-assignment"),
    path("assignments/<uuid:pk>/heartbeat", assignments.HeartbeatView.as_view(), name="api-assignment-heartbeat"),
    path("assignments/<uuid:pk>/draft", assignments.DraftView.as_view(), name="api-assignment-draft"),
    path("assignments/<uuid:pk>/submit", assignments.SubmitView.as_view(), name="api-assignment-submit"),
    path("assignments/<uuid:pk>/skip", assignments.SkipView.as_view(), name="api-assignment-skip"),
    path("assignments/<uuid:pk>/reopen", assignments.ReopenView.as_view(), name="api-assignment-reopen"),
    path("responses/<uuid:pk>/spans", spans.SpansView.as_view(), name="api-response-spans"),
    path("responses/<uuid:pk>/critiques", judgements.CritiquesView.as_view(), name="api-response-critiques"),
    path("responses/<uuid:pk>/ratings", judgements.RatingsView.as_view(), name="api-response-ratings"),
    path("responses/<uuid:pk>/rewrites", judgements.RewritesView.as_view(), name="api-response-rewrites"),
    path("responses/<uuid:pk>/reports", judgements.ReportsView.as_view(), name="api-response-reports"),
    path("spans/<uuid:lineage>", spans.OneSpanView.as_view(), name="api-span"),
    path("spans/<uuid:lineage>/restore", spans.RestoreSpanView.as_view(), name="api-span-restore"),
    path("records", records.RecordsView.as_view(), name="api-records"),
    path("records/<uuid:lineage>", records.RecordView.as_view(), name="api-record"),
    path("prompts", prompts.PromptsView.as_view(), name="api-prompts"),
    path("prompts/<uuid:pk>", prompts.PromptView.as_view(), name="api-prompt"),
    path("responses", prompts.AnswersView.as_view(), name="api-responses"),
    path("responses/<uuid:pk>", prompts.AnswerView.as_view(), name="api-response"),
    path("imports", files.ImportsView.as_view(), name="api-imports"),
    path("imports/<uuid:pk>", files.ImportView.as_view(), name="api-import"),
    path("export", files.ExportView.as_view(), name="api-export"),
    path("webhooks", webhooks.WebhooksView.as_view(), name="api-webhooks"),
    path("webhooks/<uuid:pk>", webhooks.WebhookView.as_view(), name="api-webhook"),
    path("webhooks/<uuid:pk>/rotate", webhooks.RotateView.as_view(), name="api-webhook-rotate"),
    path("webhooks/<uuid:pk>/ping", webhooks.PingView.as_view(), name="api-webhook-ping"),
    path("webhooks/<uuid:pk>/deliveries", webhooks.DeliveriesView.as_view(), name="api-webhook-deliveries"),
    path("deliveries/<uuid:pk>", webhooks.DeliveryView.as_view(), name="api-delivery"),
    path("deliveries/<uuid:pk>/redeliver", webhooks.RedeliverView.as_view(), name="api-delivery-redeliver"),
    path("preferences", judgements.PreferencesView.as_view(), name="api-preferences"),
    path("rates", rates.RatesView.as_view(), name="api-rates"),
    path("erasures", erasures.ErasuresView.as_view(), name="api-erasures"),
    path("erasures/<uuid:pk>", erasures.ErasureView.as_view(), name="api-erasure"),
    path("intake", intake.IntakeView.as_view(), name="api-intake"),
    path("reaction-kinds", intake.KindsView.as_view(), name="api-reaction-kinds"),
    path("reaction-kinds/<slug:key>", intake.KindView.as_view(), name="api-reaction-kind"),
]
urlpatterns: list[URLPattern | URLResolver] = [path("projects/<slug:slug>/", include(of_project))]
