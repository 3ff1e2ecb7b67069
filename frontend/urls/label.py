"""Marking answers and comparing pairs."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import label, pair

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/label/", label.page, name="label"),
    path("p/<slug:slug>/pair/", pair.page, name="pair"),
]
