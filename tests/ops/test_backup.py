"""A backup restored into an empty place is the same, table by table, row by row, file by file."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg.sql import SQL, Identifier

from redpen.accounts.actions.invitations import invite
from redpen.accounts.actions.projects import create_project
from redpen.env import REPOSITORY
from redpen.ops import archive as archives
from redpen.ops import backup, database
from tests.cast import make_cast

pytestmark = pytest.mark.django_db(transaction=True)


class Place:
    """A database and a data folder of their own, reached as an installation reaches its own: by its environment."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name, self.data_dir = name, data_dir
        self.parameters = {**database.parameters(), "dbname": name}

    def manage(self, *arguments: str) -> subprocess.CompletedProcess:
        host, user = self.parameters["host"].replace("/", "%2F"), self.parameters["user"]
        environment = {
            **os.environ,
            "DATABASE_URL": f"postgresql://{user}@{host}/{self.name}",
            "DATA_DIR": str(self.data_dir),
            "DJANGO_SETTINGS_MODULE": "redpen.settings",
        }
        command = [sys.executable, str(REPOSITORY / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")

    def restore(self, source: Path, *options: str) -> subprocess.CompletedProcess:
        return self.manage("restore", str(source), *options)

    def tables(self) -> dict[str, list[tuple]]:
        return rows_of(self.parameters)

    def files(self) -> dict[str, bytes]:
        return files_of(self.data_dir)


def rows_of(parameters: dict[str, str]) -> dict[str, list[tuple]]:
    """Every row of every table as text, sorted; and how the tables and their triggers are built."""
    with psycopg.connect(**parameters) as session:
        session.execute("SET search_path = public")
        names = [name for (name,) in session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        found = {
            name: sorted(
                row for (row,) in session.execute(SQL("SELECT t::text FROM {} AS t").format(Identifier("public", name)))
            )
            for name in names
        }
        for what, query in {
            "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace",
            "triggers": "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
            "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        }.items():
            found[f"({what})"] = sorted(tuple(map(plainly, row)) for row in session.execute(query))
        return found


def plainly(definition: str) -> str:
    """Postgres spells the casts of the same CHECK in another way once it was dumped and loaded."""
    return re.sub(r"::(text|character varying)(\[\])?|[()]", "", definition)


def files_of(data_dir: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in archives.artifacts(data_dir)}


@pytest.fixture
def place(tmp_path):
    """An empty place."""
    name = f"restored_{os.getpid()}"
    administrator = {**database.parameters(), "dbname": "postgres"}
    with psycopg.connect(**administrator, autocommit=True) as session:
        session.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
        session.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    yield Place(name, tmp_path / "elsewhere")
    with psycopg.connect(**administrator, autocommit=True) as session:
        session.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """An installation with people, a trail and artifacts; its data folder is apart from the tests' own."""
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path / "here")
    cast = make_cast()
    create_project(creator=cast.ben, name="مشروع 🦊", description="line\r\nline\ttab \\ backslash ' quote")
    invite(project=cast.project, actor=cast.ada, role="viewer", note="für Nia")
    for name, content in {
        "first_start": b"demo\n",
        "snapshots/a/rows.jsonl": b'{"text": "\xf0\x9f\xa6\x8a"}\n' * 1000,
        "runs/b/attempt-1/events.jsonl": b"",
        "models/c/adapter.safetensors": bytes(range(256)) * 20000,
        "base/tiny/config.json": b"{}",
        "uploads/" + "deep/" * 20 + "a file.txt": b"x",
    }.items():
        path = settings.DATA_DIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (settings.DATA_DIR / "log").mkdir()
    (settings.DATA_DIR / "log" / "web.log").write_text("stays")
    return cast


def test_a_restored_backup_is_the_same(filled, place, tmp_path, capsys):
    before, files = rows_of(database.parameters()), files_of(settings.DATA_DIR)
    call_command("backup", str(tmp_path / "all.tar"))
    assert "6 files" in capsys.readouterr().out
    assert oct((tmp_path / "all.tar").stat().st_mode)[-3:] == "600"

    done = place.restore(tmp_path / "all.tar")
    assert done.returncode == 0, done.stderr
    assert place.tables() == before
    assert place.files() == files
    assert not (place.data_dir / "log").exists()
    assert not list(place.data_dir.glob("restore.*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.tar", "elsewhere", "here"]


def test_a_restored_place_works_and_can_be_backed_up_again(filled, place, tmp_path):
    call_command("backup", str(tmp_path / "all.tar"))
    assert place.restore(tmp_path / "all.tar").returncode == 0
    assert "No planned migration operations" in place.manage("migrate", "--plan").stdout
    again = place.manage("backup", str(tmp_path / "again.tar"))
    assert again.returncode == 0, again.stderr
    first, second = (manifest_of(tmp_path / name) for name in ("all.tar", "again.tar"))
    assert (first["tables"], first["files"]) == (second["tables"], second["files"])
    assert place.restore(tmp_path / "again.tar", "--replace").returncode == 0
    assert place.tables() == rows_of(database.parameters())


def test_extensions_are_shared_by_what_was_there_and_what_comes(filled, place, tmp_path):
    """An index that needs one is restored, over tables that need it too, and put back when the restore fails."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_trgm")
        cursor.execute("CREATE INDEX by_trigram ON accounts_project USING gin (name gin_trgm_ops)")
    try:
        before = rows_of(database.parameters())
        call_command("backup", str(tmp_path / "all.tar"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP EXTENSION pg_trgm CASCADE")
    bad = rewritten(
        tmp_path / "all.tar", tmp_path / "bad.tar", with_manifest(lambda one: one["tables"].update(accounts_user=7))
    )
    assert place.restore(tmp_path / "all.tar").returncode == 0
    assert "do not have the rows" in place.restore(bad, "--replace").stderr
    assert place.tables() == before
    assert place.restore(tmp_path / "all.tar", "--replace").returncode == 0
    assert place.tables() == before


def manifest_of(path: Path) -> dict:
    with tarfile.open(path) as archive:
        return archives.read_manifest(archive)


def test_the_manifest_says_what_is_inside(filled, tmp_path):
    call_command("backup", str(tmp_path))
    [path] = tmp_path.glob("redpen-*.tar")
    manifest = manifest_of(path)
    assert manifest["tables"]["accounts_user"] == 6
    assert ["accounts", "0001_initial"] in manifest["migrations"]
    assert set(manifest["versions"]) == {"redpen", "postgres", "python", "django"}
    assert set(manifest["files"]) == set(files_of(settings.DATA_DIR))


def test_it_refuses_to_restore_over_data_unless_told_to(filled, place, tmp_path):
    call_command("backup", str(tmp_path / "all.tar"))
    assert place.restore(tmp_path / "all.tar").returncode == 0
    with psycopg.connect(**place.parameters) as session:
        session.execute("UPDATE accounts_user SET name = 'Other'")
    (place.data_dir / "models/c/adapter.safetensors").write_text("other")
    (place.data_dir / "models/later").mkdir()

    changed = place.tables()
    refused = place.restore(tmp_path / "all.tar")
    assert refused.returncode == 1
    assert "There is data here already" in refused.stderr
    assert "--replace" in refused.stderr
    assert place.tables() == changed

    assert place.restore(tmp_path / "all.tar", "--replace").returncode == 0
    assert place.tables() == rows_of(database.parameters())
    assert place.files() == files_of(settings.DATA_DIR)
    assert not (place.data_dir / "models/later").exists()


def rewritten(source: Path, target: Path, change) -> Path:
    """A copy of an archive in which `change(name, bytes)` gives each member's new bytes, or None to leave it out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = change(member.name, old.extractfile(member).read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return target


def with_manifest(change):
    def rewrite(name, content):
        if name != archives.MANIFEST:
            return content
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    return rewrite


DAMAGES = [
    (lambda name, body: body[:-1] + b"!" if name.endswith("rows.jsonl") else body, "is damaged"),
    (lambda name, body: None if name.endswith("rows.jsonl") else body, "lacks"),
    (lambda name, body: None if name == archives.MANIFEST else body, "no manifest"),
    (with_manifest(lambda manifest: manifest["files"].pop("first_start")), "does not know"),
    (with_manifest(lambda manifest: manifest.update(format=99)), "format is 99"),
    (with_manifest(lambda manifest: manifest["migrations"].append(["accounts", "0099_later"])), "accounts.0099_later"),
    (with_manifest(lambda manifest: manifest["tables"].update(accounts_user=7)), "do not have the rows"),
]


def test_a_damaged_archive_changes_nothing(filled, place, tmp_path):
    call_command("backup", str(tmp_path / "all.tar"))
    assert place.restore(tmp_path / "all.tar").returncode == 0
    with psycopg.connect(**place.parameters) as session:
        session.execute("UPDATE accounts_user SET name = 'Other'")
    (place.data_dir / "runs/mine").write_text("mine")
    before = place.tables(), place.files()

    for damage, words in DAMAGES:
        bad = rewritten(tmp_path / "all.tar", tmp_path / "bad.tar", damage)
        refused = place.restore(bad, "--replace")
        assert refused.returncode == 1
        assert words in refused.stderr
        assert (place.tables(), place.files()) == before
        assert not list(place.data_dir.glob("restore.*"))


def test_what_is_no_backup_is_refused_in_words(place, tmp_path):
    (tmp_path / "notes.txt").write_text("no tar")
    for source in ("notes.txt", "nowhere.tar"):
        refused = place.restore(tmp_path / source)
        assert refused.returncode == 1
        assert "cannot be restored" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_it_refuses_while_somebody_uses_the_database(filled, place, tmp_path):
    call_command("backup", str(tmp_path / "all.tar"))
    with psycopg.connect(**place.parameters):
        refused = place.restore(tmp_path / "all.tar")
    assert "Stop Redpen" in refused.stderr


def test_a_restore_that_was_cut_off_is_undone_by_the_next(filled, place, tmp_path):
    """As it lies there when the power fails between the files that came and the end."""
    call_command("backup", str(tmp_path / "all.tar"))
    assert place.restore(tmp_path / "all.tar").returncode == 0
    before = place.tables(), place.files()
    with psycopg.connect(**place.parameters, autocommit=True) as session:
        session.execute("ALTER SCHEMA public RENAME TO redpen_before_restore")
        session.execute("CREATE SCHEMA public")
        session.execute("CREATE TABLE public.half (id int)")
    old = place.data_dir / "restore.old"
    old.mkdir()
    for name in ("models", "runs"):
        (place.data_dir / name).rename(old / name)
    (old / "coming").write_text("models\nruns")
    (place.data_dir / "models").mkdir()
    (place.data_dir / "models/half").write_text("half")

    refused = place.restore(tmp_path / "all.tar")
    assert "There is data here already" in refused.stderr
    assert (place.tables(), place.files()) == before


def test_a_backup_is_one_moment_even_while_people_write(filled, place, tmp_path, monkeypatch):
    """Rows that come after the snapshot of the database are in neither the counts nor the dump."""
    counted = database.row_counts

    def count_then_write(session):
        counts = counted(session)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE accounts_project SET name = 'later'")
            cursor.execute("DELETE FROM accounts_invitation")
        return counts

    before = rows_of(database.parameters())
    monkeypatch.setattr(database, "row_counts", count_then_write)
    call_command("backup", str(tmp_path / "all.tar"))
    assert rows_of(database.parameters()) != before
    assert place.restore(tmp_path / "all.tar").returncode == 0
    assert place.tables() == before


def test_a_backup_does_not_overwrite(filled, tmp_path):
    (tmp_path / "all.tar").write_text("precious")
    with pytest.raises(backup.BackupRefused, match="there already"):
        backup.make_backup(tmp_path / "all.tar", say=lambda line: None)
    assert (tmp_path / "all.tar").read_text() == "precious"


def test_a_file_that_grows_meanwhile_is_taken_as_it_was(tmp_path):
    growing = tmp_path / "events.jsonl"
    growing.write_bytes(b"1234")

    class Growing(tarfile.TarFile):
        def addfile(self, member, fileobj=None):
            with growing.open("ab") as file:
                file.write(b"5678")
            super().addfile(member, fileobj)

    with Growing.open(tmp_path / "a.tar", "w") as archive:
        entry = archives.add_file(archive, "files/runs/events.jsonl", growing)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.extractfile("files/runs/events.jsonl").read() == b"1234"
    assert entry["bytes"] == 4


def test_without_base_models_those_that_are_there_stay(filled, place, tmp_path):
    call_command("backup", str(tmp_path / "all.tar"), "--without-base")
    (place.data_dir / "base/other").mkdir(parents=True)
    (place.data_dir / "base/other/config.json").write_text("{}")
    done = place.restore(tmp_path / "all.tar")
    assert done.returncode == 0, done.stderr
    assert sorted(name for name in place.files() if name.startswith("base/")) == ["base/other/config.json"]
