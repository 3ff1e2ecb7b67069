"""Making a backup: the database and the files that belong to it, as of one moment.

The dump and its row counts come from one snapshot of the database. The files are read after it: whatever a row points
at was whole on disk before the row was committed, so an archive may hold files that no row knows, never the reverse.
"""

from __future__ import annotations

import os
import platform
import tarfile
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import django
import psycopg
from django.conf import settings

from redpen.env import REPOSITORY
from redpen.ops import archive as archives
from redpen.ops import database

Say = Callable[[str], None]


class BackupRefused(Exception):
    """It would overwrite something, or there is nothing to back up."""


def make_backup(destination: Path, *, with_base: bool = True, say: Say) -> tuple[Path, dict[str, Any]]:
    """Write the archive and return its path and manifest. `destination` is a new file, or a folder for one."""
    made_at = datetime.now(UTC)
    if destination.is_dir():
        destination /= f"redpen-{made_at:%Y%m%d-%H%M%S}.tar"
    if destination.exists():
        raise BackupRefused(f"{destination} is there already. Choose another name.")
    if not destination.parent.is_dir():
        raise BackupRefused(f"There is no folder {destination.parent}.")
    partial = destination.with_name(f".{destination.name}.partial")
    dump = destination.with_name(f".{destination.name}.dump")
    try:
        manifest = {"format": archives.FORMAT, "made_at": made_at.isoformat(timespec="seconds")}
        say("Database")
        manifest |= _dump_database(dump)
        # the archive holds password hashes: it is for its owner alone from the first byte on
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                manifest["database"] = archives.add_file(archive, archives.DUMP, dump)
                manifest |= _add_files(archive, with_base=with_base, say=say)
                archives.add_manifest(archive, manifest)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(destination)
    finally:
        partial.unlink(missing_ok=True)
        dump.unlink(missing_ok=True)
    return destination, manifest


def _dump_database(dump: Path) -> dict[str, Any]:
    with database.connect() as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.read_only = True
        snapshot = session.execute("SELECT pg_export_snapshot()").fetchone()[0]
        if session.execute("SELECT to_regclass('public.django_migrations')").fetchone()[0] is None:
            raise BackupRefused("The database has no tables of Redpen.")
        described = {
            "tables": database.row_counts(session),
            "migrations": [list(row) for row in session.execute("SELECT app, name FROM django_migrations ORDER BY id")],
            "versions": versions(session),
        }
        os.close(os.open(dump, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        options = ("--format=custom", "--no-owner", "--no-privileges", "--exclude-schema=redpen_before_restore")
        database.run_program("pg_dump", *options, f"--snapshot={snapshot}", f"--file={dump}")
        return described


def versions(session: psycopg.Connection) -> dict[str, str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return {
        "redpen": project["version"],
        "postgres": session.execute("SHOW server_version").fetchone()[0],
        "python": platform.python_version(),
        "django": django.get_version(),
    }


def _add_files(archive: tarfile.TarFile, *, with_base: bool, say: Say) -> dict[str, Any]:
    files, vanished = {}, []
    for name, path in archives.artifacts(settings.DATA_DIR, with_base=with_base):
        entry = archives.add_file(archive, archives.FILES + name, path)
        if entry is None:
            vanished.append(name)  # a running job tidied up; no row points at such a file
            continue
        files[name] = entry
        if len(files) % 1000 == 0:
            say(f"{len(files)} files")
    return {"files": files, "vanished": vanished, "with_base": with_base}
