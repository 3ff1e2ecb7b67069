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

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
PREPARE = """
from redpen.accounts import keys
from redpen.accounts.actions.projects import create_project
from redpen.accounts.models import ApiKey, User
ada, new = User.objects.get_or_create(email="ada@example.org", defaults={"name": "Ada"})
project = create_project(creator=ada, name="fuzz", slug="fuzz")
token = keys.new_token(test=False, public=False)
ApiKey.objects.create(project=project, name="fuzz", prefix=keys.prefix_of(token), secret_hash=keys.hash_of(token),
                      scopes=["responses.write", "reactions.write", "read"])
print(token)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_brings_a_fault_of_ours_or_an_answer_that_the_schema_does_not_know():
    with running() as redpen:
        redpen.start_and_wait(300)
        token = redpen.manage("shell", "-c", PREPARE).split()[-1]
        command = [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            redpen.url("/api/v1/schema/?format=json"),
            "--header",
            f"Authorization: Bearer {token}",
            "--exclude-tag=session",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=30",
            "--seed=1",
            "--request-timeout=30",
            "--no-color",
        ]
        hooks = {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks", "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            command, cwd=redpen.data_dir, env={**os.environ, **hooks}, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
        assert "Operations:" in done.stdout
