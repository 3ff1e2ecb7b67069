from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from redpen.ops import archive, database, restore
from redpen.services.claims import Taken
from redpen.services.postgres import PostgresFailed


class Command(BaseCommand):
    help = "Put a backup back: database and files, all or nothing. Redpen must not run meanwhile."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, help="an archive made by `manage.py backup`")
        parser.add_argument("--replace", action="store_true", help="throw away all data that is here now")

    def handle(self, *args, source: Path, replace: bool, **options) -> None:
        try:
            with database.running(self.stderr.write):
                manifest = restore.restore(source, replace=replace, say=self.stderr.write)
        except restore.RestoreUnfinished as error:
            raise CommandError(str(error)) from error
        except (
            restore.RestoreRefused,
            archive.ArchiveRefused,
            database.ProgramFailed,
            database.psycopg.Error,
            Taken,
            PostgresFailed,
        ) as error:
            raise CommandError(f"Nothing was restored; what was here is as it was. {error}") from error
        rows = sum(manifest["tables"].values())
        self.stdout.write(
            f"Restored the backup of {manifest['made_at']}: {rows} rows in {len(manifest['tables'])} tables, "
            f"{len(manifest['files'])} files."
        )
