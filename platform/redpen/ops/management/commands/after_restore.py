from django.core.management.base import BaseCommand

from redpen.ops import restore


class Command(BaseCommand):
    help = "What follows a restore: erase again whom the ledger names. `restore` does it; this is for other ways."

    def handle(self, *args, **options) -> None:
        restore.follow_up(self.stdout.write)
        self.stdout.write("Done.")
