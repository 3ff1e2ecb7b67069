"""manage.py import_feedback FORMAT FILE --project SLUG [--dry-run]"""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from annotation.actions.people import Author
from annotation.actions.tasks import ask_about_unread
from annotation.importers.base import Report, run
from annotation.importers.registry import FORMATS
from redpen.accounts.models import Project


class Command(BaseCommand):
    help = "Import a file of feedback. What was imported before is not imported again."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("format", choices=list(FORMATS))
        parser.add_argument("file", help="the file, or - for the standard input")
        parser.add_argument("--project", required=True, metavar="SLUG", help="as in /p/SLUG/")
        parser.add_argument("--no-tasks", action="store_true", help="ask nobody about answers that nothing is said of")
        parser.add_argument("--dry-run", action="store_true", help="say what would come in, and keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project '{options['project']}'.")
        author = Author.program(f"import:{options['format']}")
        started = postgres_now()
        importer = FORMATS[options["format"]](project=project, author=author)
        if options["file"] == "-":
            report = run(importer, sys.stdin.buffer, dry_run=options["dry_run"], progress=self.progress)
        else:
            try:
                with Path(options["file"]).open("rb") as stream:
                    report = run(importer, stream, dry_run=options["dry_run"], progress=self.progress)
            except OSError as error:
                raise CommandError(f"{options['file']}: {error.strerror}.") from error
        if not (options["dry_run"] or options["no_tasks"]):
            report.asked = asdict(ask_about_unread(author=author, project=project, since=started))
        self.tell(report)
        if report.refused:
            raise CommandError(f"{report.refused} of {report.items} items were refused; the others are in.")

    def progress(self, report: Report) -> None:
        self.stderr.write(f"{report.items} items read, {report.refused} refused")

    def tell(self, report: Report) -> None:
        for one in report.refusals:
            where = f" {one['pointer']}" if one["pointer"] else ""
            self.stdout.write(f"line {one['line']}, item {one['item']}{where}: {one['message']}")
        if (hidden := report.refused - len({one["item"] for one in report.refusals})) > 0:
            self.stdout.write(f"... and {hidden} more refused items")
        told = [("taken", report.taken), ("there already", report.repeated)]
        if report.left_out:
            told.append(("left out", report.left_out))
        for title, counts in told:
            said = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing"
            self.stdout.write(f"{title}: {said}")
        if any(report.asked.values()):
            self.stdout.write(
                f"to do: {report.asked['spans']} answers to mark, {report.asked['pairs']} pairs to compare"
            )
        if report.dry_run:
            self.stdout.write("dry run: nothing was kept")


def postgres_now() -> datetime:
    """The database's clock: rows that come later bear later times."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]
