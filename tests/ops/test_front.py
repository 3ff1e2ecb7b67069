"""The ASGI front and the web process: what it answers itself, and what it must never load."""

import subprocess
import sys

from starlette.testclient import TestClient

from redpen.env import REPOSITORY
from tests.running import clean_environment

HEAVY = ["torch", "transformers", "peft", "accelerate", "sklearn", "pyarrow"]


def test_livez_needs_no_database():
    from redpen.asgi import application

    with TestClient(application) as front:
        answer = front.get("/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_a_newline_in_an_address_comes_to_django_like_any_other(db):
    from redpen.asgi import application

    with TestClient(application) as front:
        for path in ("/api/v1/responses/%0Ax", "/api/v1/responses/x%0A", "/api/v1/projects/a%0Ab/records"):
            answer = front.get(path)
            assert answer.status_code in (401, 404)
            assert answer.headers["content-type"] == "application/problem+json"


def test_the_web_process_loads_every_view_without_torch(tmp_path):
    program = f"""
import sys
import redpen.asgi
from django.urls import get_resolver

def views(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from views(pattern.url_patterns)
        else:
            yield pattern.callback

assert sum(1 for view in views(get_resolver().url_patterns)) > 20
from training.recipes.registry import RECIPES
for recipe in RECIPES.values():
    recipe.Config.model_json_schema()
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={
            **clean_environment(),
            "DJANGO_SETTINGS_MODULE": "redpen.settings",
            "DATA_DIR": str(tmp_path),
            "PYTHONPATH": f"{REPOSITORY}/platform:{REPOSITORY}",
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
