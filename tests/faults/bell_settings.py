"""The tests' settings for a Celery worker and a scheduler of their own, on a Redis that is flushed and killed.

BELL_TIMES: how often each Celery message is delivered.
"""

import os

from kombu import Producer

from tests.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["FAULTS_DATABASE"]  # noqa: F405
CELERY_BROKER_URL = os.environ["BELL_REDIS"]
WEBHOOK_ALLOW = ["127.0.0.0/8"]

_publish = Producer.publish


def publish(self, *args, **options):
    for _ in range(int(os.environ.get("BELL_TIMES", "1"))):
        found = _publish(self, *args, **options)
    return found


Producer.publish = publish
