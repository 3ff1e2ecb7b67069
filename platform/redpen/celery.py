"""The Celery app: two queues, `default` and `train`.

Celery and Redis are only the bell. Rows in Postgres say what is due, and `training.tasks.sweep` finds what a lost bell
missed; a bell that rings twice finds the row already claimed. So nothing here has to be exactly once.
"""

import os

from celery import Celery
from celery.signals import setup_logging
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "redpen.settings")

app = Celery("redpen")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_queues=[Queue("default"), Queue("train")],
    task_default_queue="default",
    task_routes={"training.tasks.work*": {"queue": "train"}},
    # A task that died with its worker is given out again; a worker that stops hands back what it had not begun.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        # Redis gives a task out a second time after this long; a run may take hours, and the sweeper does not wait.
        "visibility_timeout": 12 * 3600,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        # A page that rings the bell must not wait for a Redis that is away; without these it does, for six seconds.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.1,
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_publish_retry=False,
    timezone="UTC",
    beat_schedule={
        "training.sweep": {"task": "training.tasks.sweep", "schedule": 5.0, "options": {"expires": 5}},
        "annotation.count": {"task": "annotation.tasks.count", "schedule": 2.0, "options": {"expires": 2}},
        "annotation.judge_users": {
            "task": "annotation.tasks.judge_users",
            "schedule": 180.0,
            "options": {"expires": 180},
        },
        # once an hour, since a machine may be off at any time of the day; mostly it finds nothing
        "annotation.retain": {"task": "annotation.tasks.retain", "schedule": 3600.0, "options": {"expires": 3600}},
        "annotation.sweep": {"task": "annotation.tasks.sweep", "schedule": 10.0, "options": {"expires": 10}},
    },
)
app.autodiscover_tasks()


@setup_logging.connect
def keep_djangos_logging(**kwargs) -> None:
    """Without a receiver Celery would put its own handlers and format in place of settings.LOGGING."""
