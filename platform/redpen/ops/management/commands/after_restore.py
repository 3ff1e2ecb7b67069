from django.core.management.base import BaseCommand, CommandError

from redpen.ops import restore


class Command(BaseCommand):
    help = "What follows a restore: erase again whom the ledger names. `restore` does it; this is for other ways."

    def handle(self, *args, **options) -> None:
        try:
            restore.follow_up(self.stdout.write)
        except restore.RestoreUnfinished as error:
            raise CommandError(str(error)) from error
        self.stdout.write("Done.")
