"""What all tests share: Postgres and Redis of their own for the session, in a temporary data folder."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when transformers is first imported

import pytest
from django.conf import settings

from redpen.services import process
from redpen.services.redis import Redis
from tests.cast import cast  # noqa: F401 - a fixture for all
from tests.servers import PostgresForTests


@pytest.fixture(scope="session")
def postgres():
    servers = PostgresForTests(settings.DATA_DIR)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def redis_server():
    server = Redis(settings.DATA_DIR)
    running = server.start()
    server.wait(running)
    yield server
    process.stop(running)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment, django_db_blocker, postgres, redis_server):
    """In pytest-django's place: the first test that touches the database starts the servers."""
    with django_db_blocker.unblock():
        postgres.migrate()
    postgres.empty_again_after_a_deadlock()


def pytest_unconfigure(config):
    folder = Path(settings.DATA_DIR)
    if folder.name.startswith("redpen-tests-"):
        shutil.rmtree(folder, ignore_errors=True)
