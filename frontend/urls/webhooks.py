"""Webhooks and the log of what they were sent."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import webhooks

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/webhooks/", webhooks.listing, name="webhooks"),
    path("p/<slug:slug>/webhooks/new/", webhooks.new, name="webhook_new"),
    path("p/<slug:slug>/webhooks/<uuid:pk>/", webhooks.page, name="webhook"),
    path("p/<slug:slug>/webhooks/<uuid:pk>/switch/", webhooks.switch, name="webhook_switch"),
    path("p/<slug:slug>/webhooks/<uuid:pk>/secret/", webhooks.rotate, name="webhook_rotate"),
    path("p/<slug:slug>/webhooks/<uuid:pk>/ping/", webhooks.ping, name="webhook_ping"),
    path("p/<slug:slug>/deliveries/<uuid:pk>/", webhooks.delivery, name="webhook_delivery"),
    path("p/<slug:slug>/deliveries/<uuid:pk>/again/", webhooks.redeliver, name="webhook_redeliver"),
]
