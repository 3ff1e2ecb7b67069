"""The way in, and a project's home."""

from django.urls import URLPattern, URLResolver, path

from frontend.views import home

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.projects, name="home"),
    path("p/<slug:slug>/", home.project, name="project"),
]
