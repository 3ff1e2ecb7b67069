from django.apps import AppConfig
from django.contrib.staticfiles.apps import StaticFilesConfig


class OpsConfig(AppConfig):
    name = "redpen.ops"
    label = "ops"


class StaticFiles(StaticFilesConfig):
    """Without django-htmx's files: htmx is vendored in frontend/static, and theirs import what they do not bring."""

    ignore_patterns = [*StaticFilesConfig.ignore_patterns, "django_htmx"]
