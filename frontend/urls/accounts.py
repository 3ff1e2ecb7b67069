"""Signing in, projects, members, invitations, the audit trail."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
