"""Settings from the environment: defaults, refusals, and the table in the docs."""

import re

import pytest
from pydantic import ValidationError

from redpen import env
from redpen.env import REPOSITORY, Environment
from redpen.services import addresses


@pytest.fixture
def clean(monkeypatch, tmp_path):
    for name in Environment.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return monkeypatch


def test_nothing_needs_to_be_set(clean):
    settings = Environment()
    assert (settings.PORT, settings.HOST, settings.DEMO) == (8000, "127.0.0.1", True)
    assert settings.TRAIN_THREADS >= 1


def test_an_empty_variable_means_the_default(clean):
    clean.setenv("PORT", "")
    assert Environment().PORT == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("LOG_LEVEL", "loud"),
        ("DEBUG", "perhaps"),
        ("REDIS_URL", "localhost:6379"),
        ("DATABASE_URL", "sqlite:///x"),
        ("MODEL_SERVER_URL", "localhost"),
        ("BEAT_SECONDS", "16"),
        ("TRAIN_THREADS", "0"),
    ],
)
def test_a_bad_value_is_refused_by_name(clean, name, value):
    clean.setenv(name, value)
    with pytest.raises(ValidationError) as refusal:
        Environment()
    words = env.explain(refusal.value)
    assert f"{name}=" in words
    assert "pydantic" not in words


def test_the_environment_ends_the_process_with_all_bad_values_and_no_secret(clean, capsys):
    clean.setenv("PORT", "x")
    clean.setenv("DATABASE_URL", "oracle://me:hunter2@h/d")
    with pytest.raises(SystemExit) as end:
        env.read()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "PORT='x'" in said
    assert "DATABASE_URL=(hidden)" in said
    assert "hunter2" not in said


def test_hosts_are_split_by_commas(clean):
    clean.setenv("ALLOWED_HOSTS", "a.example, b.example,")
    assert Environment().ALLOWED_HOSTS == ["a.example", "b.example"]


def test_the_secret_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    first = env.secret_key(tmp_path)
    assert env.secret_key(tmp_path) == first
    assert len(first) >= 50
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_the_settings_table_in_the_docs_is_complete_and_right():
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .*? \| (.*) \|$", text, re.MULTILINE))
    assert rows == {name: field.description for name, field in Environment.model_fields.items()}


def test_a_long_data_folder_gets_its_sockets_elsewhere(tmp_path):
    short = tmp_path / "d"
    long = tmp_path / ("d" * 120)
    assert addresses.socket_directory(short) == short / "run"
    assert str(addresses.socket_directory(long)).startswith("/tmp/redpen-")
    assert addresses.socket_directory(long) != addresses.socket_directory(tmp_path / ("e" * 120))


def test_celery_gets_the_socket_in_its_own_words():
    assert addresses.celery_broker_url("unix:///a/b.sock") == "redis+socket:///a/b.sock"
    assert addresses.celery_broker_url("redis://h:6379/0") == "redis://h:6379/0"
