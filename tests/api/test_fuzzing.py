"""schemathesis asks a real server what the schema allows, and much that it does not.

There must be no fault of ours, and no answer that the schema does not know.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import REPOSITORY, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
]
PREPARE = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from redpen.accounts import keys
from redpen.accounts.actions.projects import create_project
from redpen.accounts.models import ApiKey, User
ada, new = User.objects.get_or_create(email="ada@example.org", defaults={"name": "Ada"})
project = create_project(creator=ada, name="fuzz", slug="fuzz")
token = keys.new_token(test=False, public=False)
ApiKey.objects.create(project=project, name="fuzz", prefix=keys.prefix_of(token), secret_hash=keys.hash_of(token),
                      scopes=["responses.write", "reactions.write", "read"])
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(ada.pk), ada.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session.save()
print(token, session.session_key)
"""


@pytest.fixture(scope="module")
def server():
    """A real server, a key, and somebody's session."""
    with running() as redpen:
        redpen.start_and_wait(300)
        token, session = redpen.manage("shell", "-c", PREPARE).split()[-2:]
        yield redpen, token, session


def ask_everything(redpen, *options: str) -> None:
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "run",
        redpen.url("/api/v1/schema/?format=json"),
        "--seed=1",
        "--request-timeout=30",
        "--no-color",
        *options,
    ]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=redpen.data_dir, env={**os.environ, **hooks}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    assert "generated" in done.stdout


def test_no_request_with_a_key_brings_a_fault_of_ours_or_an_answer_that_the_schema_does_not_know(server):
    redpen, token, _ = server
    ask_everything(
        redpen,
        f"--header=Authorization: Bearer {token}",
        "--exclude-tag=session",
        f"--checks={','.join([*CHECKS, 'unsupported_method'])}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=30",
    )


def test_nothing_that_is_read_with_a_session_brings_a_fault_of_ours_or_an_unknown_answer(server):
    redpen, _, session = server
    ask_everything(
        redpen,
        f"--header=Cookie: redpen_session={session}",
        "--include-tag=session",
        *(f"--exclude-method={method}" for method in ("POST", "PUT", "PATCH", "DELETE")),
        f"--checks={','.join(CHECKS)}",
        "--phases=coverage,fuzzing",
        "--max-examples=5",
    )
