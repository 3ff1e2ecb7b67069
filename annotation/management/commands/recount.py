"""`manage.py recount`: count all again from the records, say where the figures were wrong, and put them right."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.actions import counting
from redpen.accounts.models import Project


class Command(BaseCommand):
    help = "Count exposures and rates again from the records, and compare. Ends with 1 where they differed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", help="the slug of one project; all where nothing is said")

    def handle(self, *args: Any, **options: Any) -> None:
        projects = Project.objects.order_by("slug")
        if options["project"]:
            projects = projects.filter(slug=options["project"])
            if not projects:
                raise CommandError(f"There is no project '{options['project']}'.")
        counting.catch_up()
        wrong = 0
        for project in projects:
            drift = counting.check(project)
            wrong += bool(drift)
            words = f"{drift.pairs} pairs and {drift.cells} cells were wrong" if drift else "right"
            self.stdout.write(f"{project.slug}: {words}")
        if wrong:
            raise CommandError("Figures were wrong and are right now. This should not happen: please report it.")
