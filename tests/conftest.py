"""What all tests share: Postgres and Redis of their own for the session, in a temporary data folder."""

import shutil
from pathlib import Path

import pytest
from django.conf import settings

from redpen.services import process
from redpen.services.postgres import Postgres
from redpen.services.redis import Redis
from tests.cast import cast  # noqa: F401 - a fixture for all


@pytest.fixture(scope="session")
def postgres():
    """The embedded Postgres, without fsync."""
    server = Postgres(settings.DATA_DIR, fast=True)
    server.initialise()
    running = server.start()
    server.wait(running)
    yield server
    process.stop(running, sign=process.signal.SIGINT)


@pytest.fixture(scope="session")
def redis_server():
    server = Redis(settings.DATA_DIR)
    running = server.start()
    server.wait(running)
    yield server
    process.stop(running)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres, redis_server):
    """pytest-django asks for this before it makes the test database: the servers run from then on."""


def pytest_unconfigure(config):
    folder = Path(settings.DATA_DIR)
    if folder.name.startswith("redpen-tests-"):
        shutil.rmtree(folder, ignore_errors=True)
