"""The web process never imports torch: it would cost 300 MB and seconds at every start."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.path.insert(0, "platform")
import django
django.setup()
from django.urls import URLPattern, get_resolver
from redpen.asgi import application
import training.tasks
from training.recipes.registry import RECIPES

def walk(patterns):
    for one in patterns:
        if isinstance(one, URLPattern):
            yield one.callback
        else:
            yield from walk(one.url_patterns)

views = list(walk(get_resolver().url_patterns))
assert len(views) > 30, len(views)
cards = [recipe.card() for recipe in RECIPES.values()]  # what the launch form is made of
heavy = {"torch", "transformers", "peft", "accelerate", "numpy", "pyarrow", "pandas", "sklearn"} & set(sys.modules)
print("heavy:", sorted(heavy))
"""


def test_no_url_of_the_web_process_and_no_task_imports_torch():
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "heavy: []"
