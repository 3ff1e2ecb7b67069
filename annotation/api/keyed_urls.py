"""What is asked with a key, mounted under /api/v1/. The key says the project.

`annotation.intake` answers POST /responses, POST /reactions and DELETE /reactions/<id> before Django is asked.
"""

from django.urls import URLPattern, URLResolver, path

from annotation.api import erasures, export, feedback, keyed_kinds, keyed_reading, keyed_webhooks, rates

urlpatterns: list[URLPattern | URLResolver] = [
    path("responses", keyed_reading.AnswersView.as_view(), name="keyed-responses"),
    path("responses/<path:name>", keyed_reading.AnswerView.as_view(), name="keyed-response"),
    path("reactions", keyed_reading.ReactionsView.as_view(), name="keyed-reactions"),
    path("reactions/<path:name>", keyed_reading.ReactionView.as_view(), name="keyed-reaction"),
    path("feedback", feedback.FeedbackView.as_view(), name="keyed-feedback"),
    path("feedback/<path:name>", feedback.OneFeedbackView.as_view(), name="keyed-one-feedback"),
    path("users/<path:user>", erasures.KeyedUserView.as_view(), name="keyed-user"),
    path("export", export.KeyedExportView.as_view(), name="keyed-export"),
    path("records", keyed_reading.RecordsView.as_view(), name="keyed-records"),
    path("rates", rates.KeyedRatesView.as_view(), name="keyed-rates"),
    path("webhooks", keyed_webhooks.WebhooksView.as_view(), name="keyed-webhooks"),
    path("webhooks/<uuid:pk>/deliveries", keyed_webhooks.DeliveriesView.as_view(), name="keyed-webhook-deliveries"),
    path("reaction-kinds", keyed_kinds.KindsView.as_view(), name="keyed-reaction-kinds"),
]
