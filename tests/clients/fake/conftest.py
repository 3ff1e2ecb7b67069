"""Fixtures over the fake server: one for each test, and a client of it."""

import pytest

from redpen_client import delivery as delivery_module
from tests.clients.fake.making import made
from tests.clients.fake_server import FakeServer


@pytest.fixture
def server():
    one = FakeServer().start()
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(delivery_module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(delivery_module, "LONGEST_WAIT", 0.2)


@pytest.fixture
def client(server):
    with made(server) as one:
        yield one
