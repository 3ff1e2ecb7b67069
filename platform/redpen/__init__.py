"""The Django project: settings, URLs, the ASGI front, the Celery app."""

# Loaded with the project, so that `task.delay()` finds our broker in every process.
from redpen.celery import app as celery_app

__all__ = ["celery_app"]
