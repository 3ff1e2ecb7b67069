"""The API's description."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import api_docs

urlpatterns: list[URLPattern | URLResolver] = [path("api/docs", api_docs.page, name="api_docs")]
