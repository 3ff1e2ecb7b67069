"""`manage.py recipes`: the methods there are."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from training.recipes.registry import RECIPES


class Command(BaseCommand):
    help = "Lists the recipes: with --names one name a line, with --json their cards with the schema of their options."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--names", action="store_true", help="names only, one a line")
        how.add_argument("--json", action="store_true", help="everything, as JSON")

    def handle(self, *, names: bool, json: bool, **options: Any) -> None:
        if json:
            self.stdout.write(as_json())
            return
        for name, recipe in sorted(RECIPES.items()):
            self.stdout.write(name if names else f"{name}\n  {recipe.title}: {recipe.summary}\n  {recipe.paper}")


def as_json() -> str:
    return json.dumps([recipe.card() for recipe in RECIPES.values()], indent=1, ensure_ascii=False)
