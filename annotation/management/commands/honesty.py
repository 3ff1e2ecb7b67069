"""manage.py honesty [--project SLUG] [--everybody]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.actions import counting, judging
from redpen.accounts.models import Project


class Command(BaseCommand):
    help = "Judge which users of products are honest: those who did something since the last time."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", metavar="SLUG", help="as in /p/SLUG/; without it, all projects")
        parser.add_argument("--everybody", action="store_true", help="also those who did nothing since")

    def handle(self, *args: Any, **options: Any) -> None:
        project = None
        if options["project"]:
            project = Project.objects.filter(slug=options["project"]).first()
            if project is None:
                raise CommandError(f"There is no project '{options['project']}'.")
        counting.catch_up()
        done = judging.judge_due(project=project, everything=True, everybody=options["everybody"], most=10_000)
        if done.busy:
            raise CommandError("Somebody else is judging at this moment. Try again shortly.")
        self.stdout.write(f"{done.judged} users judged: {done.left_out} left out now, {done.let_in} let in again")
