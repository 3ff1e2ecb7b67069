"""Users of the product who want to be forgotten."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import privacy

urlpatterns: list[URLPattern | URLResolver] = [
    path("p/<slug:slug>/privacy/", privacy.privacy, name="privacy"),
    path("p/<slug:slug>/privacy/erasures/<uuid:pk>/", privacy.erasure, name="erasure"),
]
