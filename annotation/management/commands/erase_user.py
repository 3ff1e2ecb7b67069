"""manage.py erase_user USER --project SLUG [--yes]"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.actions.erasing_users import erase_user, finish, found
from annotation.actions.people import Author
from redpen.accounts.errors import RedpenError
from redpen.accounts.models import Project


class Command(BaseCommand):
    help = "Erase a user of the product: their records, the answers written for them, their rows in snapshots."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("user", help="the user's name as the product sends it, or the pseudonym kept of it")
        parser.add_argument("--project", required=True, metavar="SLUG", help="as in /p/SLUG/")
        parser.add_argument("--yes", action="store_true", help="do it; without it, only say what there is")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project '{options['project']}'.")
        try:
            if not options["yes"]:
                there = found(project=project, user=options["user"])
                self.stdout.write(json.dumps({"found": there}, indent=1))
                self.stderr.write("Nothing was erased. Say --yes to erase this for good.")
                return
            row = erase_user(author=Author.program("manage.py erase_user"), project=project, user=options["user"])
        except RedpenError as error:
            raise CommandError(error.message) from error
        row = finish(row.pk) or row
        self.stdout.write(json.dumps({"id": str(row.pk), "erased": row.counts, "report": row.report}, indent=1))
        if row.done_at is None:
            self.stderr.write(f"Some files are not done: waiting for {row.waits_for or 'a worker'}. A worker goes on.")
