"""A live server and Chromium for the tests in this folder. See harness.py."""

import os

import pytest
from playwright.sync_api import sync_playwright

from tests.browser import harness


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="package")
def chromium():
    """Chromium for this folder's tests; gone before others run, for Playwright's event loop sits in this thread."""
    if harness.chromium_path() is None:
        pytest.fail(
            "Chromium is not installed: `apt-get install chromium`, or `make test`, which does it where it may."
        )
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Django sees that loop too; nothing here runs inside it
    with sync_playwright() as playwright:
        browser = harness.launch(playwright)
        yield browser
        browser.close()
    os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE") if before is None else None


@pytest.fixture(scope="package")
def front(django_db_setup):
    server = harness.LiveServer()
    yield server
    server.stop()


@pytest.fixture
def browser(chromium, front, transactional_db):
    one = harness.Browser(chromium, front)
    yield one
    complaints = one.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def screenshot():
    return harness.screenshot
