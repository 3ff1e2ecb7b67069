"""manage.py retention"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from annotation.actions.retention import retain_all


class Command(BaseCommand):
    help = "Delete what is older than the projects' settings allow. A worker does it once an hour."

    def handle(self, *args: Any, **options: Any) -> None:
        counts = retain_all()
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "nothing"
        self.stdout.write(f"deleted: {said}")
