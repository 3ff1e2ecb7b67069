"""manage.py demo: a project to look around in, filled by a program."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand

from redpen.accounts.demo import DEMO_LOGINS
from redpen.accounts.models import Project
from training.demo import SLUG, fill_demo, prepare_model
from training.worlds.demo import demo_content


class Command(BaseCommand):
    help = "Fill the demo project: people of each role, answers, what simulated people said of them, work left to do."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--seed", type=int, default=0, help="another world of the same kind")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        added = fill_demo(demo_content(options["seed"]), tell=lambda line: self.stderr.write(f"demo: {line}"))
        new = ", ".join(f"{count} {kind}" for kind, count in added.items())
        self.stdout.write(f"The demo project is at /p/{SLUG}/ ({new} new, {time.monotonic() - started:.0f} s).")
        run = prepare_model(Project.objects.get(slug=SLUG))
        self.stdout.write(
            f"  Its span reward model is made by the worker, in a few minutes: /p/{SLUG}/runs/{run.number}/"
        )
        for login in DEMO_LOGINS:
            self.stdout.write(f"  {login.role:<10} {login.email:<20} {login.password}")
