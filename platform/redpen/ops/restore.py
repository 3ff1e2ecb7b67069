"""Putting a backup back: all of it or nothing.

Everything is unpacked and checked before anything is touched. Then the present tables step aside into the schema
`redpen_before_restore` and the present folders into `restore.old`; the archive takes their place; dropping that schema
is the moment from which the restore counts. A restore that was cut off before is undone by the next one.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from psycopg.sql import SQL, Identifier

from redpen.ops import archive as archives
from redpen.ops import database, registry

Say = Callable[[str], None]
ASIDE = "redpen_before_restore"
# rows that `migrate` writes into an empty database by itself
NOT_DATA = {"django_migrations", "django_content_type", "auth_permission"}
PLACES = (*archives.FOLDERS, *archives.SINGLE_FILES)
FOLLOW_UP = "restore.due"  # in DATA_DIR: a backup is back, and what follows is not done; /readyz says so
COMING = "coming"  # in restore.old: what is being moved in; there once everything has stepped aside


class RestoreRefused(Exception):
    """Nothing was changed; the message says why and what to do."""


class RestoreUnfinished(Exception):
    """The backup is back, and what follows it is not done."""


def restore(source: Path, *, replace: bool, say: Say) -> dict[str, Any]:
    """Make database and files what they were when `source` was made; returns its manifest."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    fresh, old = settings.DATA_DIR / "restore.new", settings.DATA_DIR / "restore.old"
    shutil.rmtree(fresh, ignore_errors=True)
    connection.close()
    connection.close_pool()  # our own connections must not stand in the way
    try:
        with tarfile.open(source) as archive, database.connect() as session:
            session.autocommit = True
            manifest = archives.read_manifest(archive)
            _refuse_newer(manifest)
            _refuse_in_use(session)
            _undo_unfinished(session, old, say)
            _refuse_over_data(session, replace)
            _refuse_without_space(manifest)
            say("Unpacking and checking")
            archives.unpack(archive, manifest, into=fresh)
            _put_in_place(session, manifest, fresh, old, say)
    except (tarfile.TarError, OSError) as error:
        raise RestoreRefused(f"{source} cannot be restored: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    say("Migrations since then")
    call_command("migrate", interactive=False, verbosity=0)
    follow_up(say)
    return manifest


def follow_up(say: Say) -> None:
    """What the apps do after a restore. Where it does not come to its end, /readyz stays red and says how to go on."""
    try:
        for said in registry.restored():
            say(said)
    except Exception as error:  # whatever it was: the process ends, and people must hear how to go on
        raise RestoreUnfinished(
            f"The backup is restored, but whom the ledger names is not erased again: {error!r}. "
            "Redpen does not call itself ready before `manage.py after_restore` has come to its end."
        ) from error
    (settings.DATA_DIR / FOLLOW_UP).unlink(missing_ok=True)


def _put_in_place(session: psycopg.Connection, manifest: dict, fresh: Path, old: Path, say: Say) -> None:
    try:
        (settings.DATA_DIR / FOLLOW_UP).write_text("run `manage.py after_restore`\n")
        say("Database")
        _step_aside(session)
        _load(fresh / archives.DUMP)
        counts = database.row_counts(session)
        if counts != manifest["tables"]:
            raise RestoreRefused("The restored tables do not have the rows that the manifest counts.")
        say("Files")
        _replace_files(manifest, fresh / archives.FILES, old)
        if not (settings.DATA_DIR / "first_start").exists():
            (settings.DATA_DIR / "first_start").write_text("empty\n")  # or the next start would fill in the demo
    except BaseException:
        _undo_unfinished(session, old, say)
        (settings.DATA_DIR / FOLLOW_UP).unlink(missing_ok=True)
        raise
    session.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(ASIDE)))


def _step_aside(session: psycopg.Connection) -> None:
    with session.transaction():
        session.execute(SQL("ALTER SCHEMA public RENAME TO {}").format(Identifier(ASIDE)))
        session.execute("CREATE SCHEMA public")
        _move_extensions(session, ASIDE, "public")


def _move_extensions(session: psycopg.Connection, here: str, there: str) -> None:
    """Extensions are the database's, not the backup's: both schemas use the same ones."""
    found = session.execute(
        "SELECT extname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE nspname = %s", [here]
    ).fetchall()
    for (name,) in found:
        session.execute(SQL("ALTER EXTENSION {} SET SCHEMA {}").format(Identifier(name), Identifier(there)))


def _load(dump: Path) -> None:
    contents = database.run_program("pg_restore", "--list", dump)
    # the schema `public` is there already, and a comment on an extension is its owner's, not ours
    left_out = (" SCHEMA - public ", " COMMENT - EXTENSION ")
    wanted = [line for line in contents.splitlines() if not any(part in f"{line} " for part in left_out)]
    listing = dump.with_suffix(".list")
    listing.write_text("\n".join(wanted) + "\n")
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", f"--use-list={listing}")
    database.run_program("pg_restore", *options, f"--dbname={database.parameters()['dbname']}", dump)


def _replace_files(manifest: dict[str, Any], coming: Path, old: Path) -> None:
    # a backup without base models leaves those that are here
    leaving = [place for place in PLACES if place != "base" or manifest["with_base"]]
    _move(leaving, settings.DATA_DIR, old)
    (old / COMING).write_text("\n".join(leaving))
    _move(leaving, coming, settings.DATA_DIR)


def _move(places: Iterable[str], here: Path, there: Path) -> None:
    there.mkdir(parents=True, exist_ok=True)
    for place in places:
        if (here / place).exists():
            (here / place).rename(there / place)


def _undo_unfinished(session: psycopg.Connection, old: Path, say: Say) -> None:
    """Put back what a restore that did not reach its end had moved aside."""
    aside = session.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [ASIDE]).fetchone()
    if aside is None:
        shutil.rmtree(old, ignore_errors=True)  # that one had reached its end, and was only not tidied up
        return
    say("Putting back what was there before")
    if old.exists():
        came = (old / COMING).read_text().splitlines() if (old / COMING).exists() else []
        for present in [settings.DATA_DIR / place for place in came]:
            if present.is_dir():
                shutil.rmtree(present)
            else:
                present.unlink(missing_ok=True)
        _move(PLACES, old, settings.DATA_DIR)
        shutil.rmtree(old)
    with session.transaction():
        _move_extensions(session, "public", ASIDE)
        session.execute("DROP SCHEMA public CASCADE")
        session.execute(SQL("ALTER SCHEMA {} RENAME TO public").format(Identifier(ASIDE)))


def _refuse_newer(manifest: dict[str, Any]) -> None:
    known = set(MigrationLoader(None).disk_migrations)
    unknown = [f"{app}.{name}" for app, name in manifest["migrations"] if (app, name) not in known]
    if unknown:
        raise RestoreRefused(
            f"The backup was made by another Redpen ({manifest['versions']['redpen']}), with migrations that this one "
            f"does not have ({', '.join(unknown[:3])}). Restore it with that one, or a newer one."
        )


def _refuse_in_use(session: psycopg.Connection) -> None:
    others = session.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    ).fetchone()[0]
    if others:
        raise RestoreRefused(f"{others} other connections use the database. Stop Redpen first.")


def _refuse_over_data(session: psycopg.Connection, replace: bool) -> None:
    rows = {name: count for name, count in database.row_counts(session).items() if count and name not in NOT_DATA}
    files = sum("/" in name for name, _ in archives.artifacts(settings.DATA_DIR, with_base=False))
    if (rows or files) and not replace:
        raise RestoreRefused(
            f"There is data here already: {sum(rows.values())} rows in {len(rows)} tables, {files} files in "
            f"{settings.DATA_DIR}. Restore into an empty place, or replace all of that for good with --replace."
        )


def _refuse_without_space(manifest: dict[str, Any]) -> None:
    needed = manifest["database"]["bytes"] + sum(entry["bytes"] for entry in manifest["files"].values())
    free = shutil.disk_usage(settings.DATA_DIR).free
    if needed > free:
        raise RestoreRefused(
            f"The backup needs {needed / 1e9:.1f} GB in {settings.DATA_DIR} and {free / 1e9:.1f} GB are free."
        )
