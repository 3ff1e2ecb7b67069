"""An app that takes the guard against doubles out of the intake's statement: for the self-test of the ledger."""

from django.apps import AppConfig


class Unguarded(AppConfig):
    name = "tests.faults.unguarded"

    def ready(self) -> None:
        from annotation.intake import events

        events.INSERT = events.INSERT.replace("ON CONFLICT (dedup) DO NOTHING", "")
