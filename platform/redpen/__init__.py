"""The Django project: settings, URLs, the ASGI front, the Celery app."""
