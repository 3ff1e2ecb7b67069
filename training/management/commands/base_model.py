"""`manage.py base_model`: which models training may start from."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from redpen.accounts.errors import RedpenError
from training.actions.base_models import add_base_model, ensure_packaged
from training.models import BaseModel


class Command(BaseCommand):
    help = "Lists the base models, registers the ones in the box (ensure), or adds a folder or a hub's model (add)."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("list", help="one a line: name, where it is, its size")
        what.add_parser("ensure", help="register the models in the box; nothing is unpacked yet")
        add = what.add_parser("add", help="look at a model and register it, or say why it cannot be used")
        add.add_argument("location", help="a folder, a hub's name (owner/model), smollm2-135m or tiny")
        add.add_argument("--name", help="what to call it (its folder's name by default)")

    def handle(self, *, what: str, location: str = "", name: str | None = None, **options: Any) -> None:
        if what == "ensure":
            ensure_packaged()
        elif what == "add":
            self.stderr.write(f"Looking at {location} ...")
            try:
                base = add_base_model(name=name or location.rstrip("/").rsplit("/", 1)[-1], location=location)
            except RedpenError as error:
                raise CommandError(error.message) from error
            report = base.check_report
            self.stdout.write(f"{base}: {report.get('parameters', 0):,} parameters, ready.")
            for note in report.get("notes", []):
                self.stdout.write(f"- {note}")
            if mask := report.get("mask"):
                shown = "".join(f"[[{text}]]" if trained else text for text, trained in mask)
                self.stdout.write(f"A conversation as it is trained, the trained part in brackets:\n{shown}")
        else:
            for base in BaseModel.objects.order_by("name"):
                size = base.check_report.get("parameters")
                self.stdout.write(f"{base}\t{base.location}\t{f'{size:,} parameters' if size else 'not looked at yet'}")
