"""The bell: wakes a pump."""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import OperationalError as BellBroken

log = logging.getLogger(__name__)


def ring() -> None:
    """When Redis is away nothing is lost: the sweeper rings again."""
    try:
        current_app.send_task("annotation.tasks.deliver", expires=10)
    except (BellBroken, OSError) as error:
        log.warning("bell.lost", extra={"error": type(error).__name__})
