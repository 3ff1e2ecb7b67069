"""A real server and a real Chromium, joined for the browser tests.

The server is the one that people use, `redpen.asgi` under uvicorn, in a thread of the tests' process, on the tests'
database. `Browser.signed_in(user)` opens a page in which that person is signed in; whatever the console complains
about on it (a JavaScript error, a violated content security policy, a missing file) fails the test.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.test import Client
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, Playwright, Response

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}


def chromium_path() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


def launch(playwright: Playwright) -> Chromium:
    return playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)


class LiveServer:
    """uvicorn in a thread. `url("/p/lantern/")` is an address on it."""

    def __init__(self) -> None:
        from redpen.asgi import application

        self.begun = self.ended = 0
        request_started.connect(self._begin)
        request_finished.connect(self._end)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(application, log_config=None, log_level="error", access_log=False, lifespan="off")
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _begin(self, **_: Any) -> None:
        self.begun += 1

    def _end(self, **_: Any) -> None:
        self.ended += 1

    def wait_idle(self) -> None:
        """Until no request is being answered: a closing page may have sent its draft; the tables are emptied next."""
        deadline = time.monotonic() + 5
        quiet = 0
        while quiet < 3 and time.monotonic() < deadline:
            quiet = quiet + 1 if self.begun <= self.ended else 0
            time.sleep(0.02)

    def stop(self) -> None:
        request_started.disconnect(self._begin)
        request_finished.disconnect(self._end)
        self.server.should_exit = True
        self.thread.join(10)


class Browser:
    """Pages for one test, each with its own cookies unless it is opened in the context of another."""

    def __init__(self, chromium: Chromium, server: LiveServer) -> None:
        self.chromium = chromium
        self.server = server
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.allowed: list[str] = []

    def context(self, user: Any = None, **options: Any) -> BrowserContext:
        options = {"viewport": WIDE, "base_url": self.server.url(""), "locale": "en-GB", **options}
        context = self.chromium.new_context(**options)
        context.set_default_timeout(8000)
        context.on("page", self._watch)
        if user is not None:
            client = Client()
            client.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": self.server.url("/")}])
        self.contexts.append(context)
        return context

    def signed_in(self, user: Any = None, path: str | None = None, **options: Any) -> Page:
        """A page in which `user` is signed in (nobody, for None), at `path` where given."""
        page = self.context(user, **options).new_page()
        if path is not None:
            page.goto(path)
        return page

    def allow(self, part: str) -> None:
        """Complaints that contain `part` are expected in this test."""
        self.allowed.append(part)

    def close(self) -> list[str]:
        """Close everything; what was complained about and not allowed."""
        for context in self.contexts:
            context.close()
        self.server.wait_idle()
        return [text for text in self.complaints if not any(part in text for part in self.allowed)]

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error.stack or error}"))
        page.on("console", lambda message: self._console(page, message.type, message.text))
        page.on("response", self._response)

    def _console(self, page: Page, kind: str, text: str) -> None:
        # a refused or unreachable call of the API is the page's business; missing files are seen in _response
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(f"{page.url}: {text}")

    def _response(self, response: Response) -> None:
        if response.status >= 500 or (response.status == 404 and "/static/" in response.url):
            self.complaints.append(f"{response.status} for {response.request.method} {response.url}")


def screenshot(page: Page, name: str, *, full: bool = False) -> Path:
    """Into the folder that the end of the test run names; nothing compares them, people look at them."""
    folder = Path(tempfile.gettempdir()) / "redpen-screenshots"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=full, animations="disabled")
    return path
