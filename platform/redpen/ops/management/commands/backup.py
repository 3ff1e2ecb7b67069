from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from redpen.ops import archive, backup, database
from redpen.services.claims import Taken
from redpen.services.postgres import PostgresFailed


class Command(BaseCommand):
    help = "Write the database and the files that belong to it into one archive. Redpen may go on running."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("destination", type=Path, help="a new file, or a folder in which one is made")
        parser.add_argument("--without-base", action="store_true", help="leave out base models, which can be got again")

    def handle(self, *args, destination: Path, without_base: bool, **options) -> None:
        try:
            with database.running(self.stderr.write):
                path, manifest = backup.make_backup(destination, with_base=not without_base, say=self.stderr.write)
        except (
            backup.BackupRefused,
            archive.FileChanged,
            database.ProgramFailed,
            database.psycopg.Error,
            Taken,
            PostgresFailed,
            OSError,
        ) as error:
            raise CommandError(f"No backup was made. {error}") from error
        rows = sum(manifest["tables"].values())
        size = path.stat().st_size / 1e6
        self.stdout.write(
            f"{path}: {rows} rows in {len(manifest['tables'])} tables, {len(manifest['files'])} files, {size:.1f} MB"
        )
