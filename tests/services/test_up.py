"""`manage.py up` as a person meets it: started, started twice, started with a bad setting."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psycopg
import pytest

from redpen.services.addresses import embedded_database_url
from redpen.services.postgres import WAL_FILE_MB, WAL_READY_MB, Postgres
from tests.running import REPOSITORY, Running, clean_environment, free_port, running, wait_for


@pytest.fixture(scope="module")
def redpen():
    with running() as one:
        yield one.start_and_wait()


def test_the_first_start_says_where_it_is(redpen):
    assert f"http://127.0.0.1:{redpen.port}/" in redpen.output()
    assert redpen.get("/livez") == (200, "ok\n")
    status, body = redpen.get("/readyz")
    assert status == 200
    assert json.loads(body)["checks"]["migrations"] == {"ok": True, "reason": None}


def test_the_first_flood_finds_its_write_ahead_log_made(redpen):
    """All of it on any but a very slow disk, which is not kept waiting for it."""
    with psycopg.connect(embedded_database_url(redpen.data_dir)) as connection:
        (there,) = connection.execute("SELECT count(*) FROM pg_ls_waldir() WHERE length(name) = 24").fetchone()
    assert 8 < there <= 2 + WAL_READY_MB // WAL_FILE_MB


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path, monkeypatch):
    """Else it would try to reach the server, which is not there."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    Postgres(tmp_path).make_wal_ready()


def test_nobody_else_reads_what_it_writes(redpen):
    for path in [redpen.data_dir, *redpen.data_dir.glob("log/*"), *redpen.data_dir.glob("*")]:
        assert path.stat().st_mode & 0o066 == 0, path


def test_a_second_one_over_the_same_data_folder_is_told_who_holds_it(redpen):
    second = Running(redpen.data_dir)
    second.output_file = second.output_file.with_suffix(".second")
    second.start()
    assert second.process.wait(30) == 1
    said = second.output()
    second.output_file.unlink()
    assert f"process {redpen.process.pid} on port {redpen.port}" in said
    assert "DATA_DIR" in said
    assert "Traceback" not in said


def test_a_second_one_on_the_same_port_is_told_who_holds_it(redpen):
    with running(PORT=redpen.port) as second:
        second.start()
        assert second.process.wait(30) == 1
        assert f"Port {redpen.port} is taken by process" in second.output()
        assert "Set PORT to another" in second.output()
        assert "Traceback" not in second.output()


def test_static_files_come_under_hashed_names_with_a_year_to_keep(redpen):
    manifest = json.loads((redpen.data_dir / "static" / "staticfiles.json").read_text())["paths"]
    hashed = manifest["css/tokens.css"]
    assert hashed != "css/tokens.css"
    import urllib.request

    with urllib.request.urlopen(redpen.url(f"/static/{hashed}"), timeout=10) as answer:
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_model_server_is_started_by_its_first_caller(redpen):
    assert redpen.child("model-server") is None
    with socket.create_connection(("127.0.0.1", int(redpen.settings["MODEL_SERVER_PORT"])), timeout=90) as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        wait_for(lambda: redpen.child("model-server"), 30, redpen.output)
        assert caller.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("service", ["postgres", "redis", "web"])
def test_a_killed_service_comes_back(redpen, service):
    """All of them, the supervisor too, are killed in tests/faults."""
    old = redpen.kill(service)
    wait_for(lambda: (child := redpen.child(service)) and child.pid != old, 30, redpen.output)
    wait_for(redpen.ready, 60, lambda: str(redpen.get("/readyz")))


@pytest.mark.slow
def test_servers_named_by_url_are_used_and_none_is_embedded(redpen):
    from redpen.services import addresses

    urls = {
        "DATABASE_URL": addresses.embedded_database_url(redpen.data_dir),
        "REDIS_URL": addresses.embedded_redis_url(redpen.data_dir),
    }
    with running(**urls) as other:
        other.start_and_wait()
        assert other.child("postgres") is None
        assert other.child("redis") is None
        assert not (other.data_dir / "postgres").exists()
        assert "Postgres (DATABASE_URL)" in other.output()
        assert other.ready()
        assert other.stop() == 0
    assert redpen.ready()


@pytest.mark.slow
def test_a_database_that_cannot_be_reached_is_said_in_words():
    with running(DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/redpen", REDIS_URL="redis://127.0.0.1:1/0") as one:
        one.start()
        assert one.process.wait(90) == 1
        assert "DATABASE_URL cannot be reached" in one.output()
        assert "hunter2" not in one.output()
        assert "Traceback" not in one.output()
        assert one.left() == []


def test_the_second_start_takes_seconds_and_keeps_all(redpen):
    """Last in this file: it stops and starts the one that the others use."""
    kept = "from redpen.accounts.models import Project; Project.objects.get_or_create(name='Kept', slug='kept')"
    redpen.manage("shell", "-c", kept)
    assert redpen.stop() == 0
    assert redpen.left() == []
    started = time.monotonic()
    redpen.start_and_wait()
    busy = os.getloadavg()[0] / os.cpu_count()  # the promise is for a machine that does nothing else
    assert time.monotonic() - started < 20 * max(1, busy)
    found = redpen.manage("shell", "-c", "from redpen.accounts.models import Project; print(Project.objects.count())")
    assert found.split()[-1] == "1"


def test_all_bad_settings_are_named_at_once():
    bad = {"PORT": "eighty", "LEASE_SECONDS": "10", "BEAT_SECONDS": "9", "DATABASE_URL": "mysql://u:secret@h/x"}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", "up"],
        capture_output=True,
        text=True,
        env={**clean_environment(), "DJANGO_SETTINGS_MODULE": "redpen.settings", **bad},
        timeout=30,
    )
    assert done.returncode == 2
    for words in ("PORT='eighty'", "BEAT_SECONDS='9'", "half of LEASE_SECONDS", "DATABASE_URL=(hidden)"):
        assert words in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", "up"],
        capture_output=True,
        text=True,
        env={
            **clean_environment(),
            "DJANGO_SETTINGS_MODULE": "redpen.settings",
            "DATA_DIR": str(tmp_path / "file" / "below"),
            "PORT": str(free_port()),
        },
        timeout=30,
    )
    assert done.returncode != 0
    assert "DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr
