"""/livez, /readyz, request ids and the headers of every response."""

import pytest
from django.conf import settings
from django.core.management import call_command

from redpen.ops import views


@pytest.mark.django_db
def test_readyz_is_green_when_every_part_answers(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.content
    assert answer.json()["ready"] is True
    assert set(answer.json()["checks"]) == {"database", "migrations", "durability", "restored", "redis"}


@pytest.mark.django_db
def test_readyz_names_the_part_that_does_not_answer(client, settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer["Retry-After"]
    checks = answer.json()["checks"]
    assert checks["redis"] == {"ok": False, "reason": "not reachable (ConnectionError)"}
    assert checks["database"]["ok"] is True


@pytest.mark.django_db
def test_readyz_names_migrations_that_are_missing(client, monkeypatch):
    class Behind(views.MigrationExecutor):
        def migration_plan(self, targets, clean_start=False):
            return [(self.loader.get_migration("accounts", "0001_initial"), False)]

    monkeypatch.setattr(views, "MigrationExecutor", Behind)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "accounts.0001_initial" in answer.json()["checks"]["migrations"]["reason"]


@pytest.mark.django_db
def test_readyz_refuses_a_postgres_that_may_lose_what_it_acknowledged(client, settings):
    settings.REQUIRE_DURABLE = True  # the tests' own server runs without fsync
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "fsync" in answer.json()["checks"]["durability"]["reason"]


@pytest.mark.django_db
def test_readyz_is_red_until_a_restore_has_come_to_its_end(client, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    (tmp_path / "restore.due").write_text("x")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "after_restore" in answer.json()["checks"]["restored"]["reason"]
    call_command("after_restore")
    assert client.get("/readyz").json()["checks"]["restored"]["ok"] is True


@pytest.mark.django_db
def test_readyz_says_nothing_about_addresses(client, settings):
    settings.REDIS_URL = "redis://:a-secret@127.0.0.1:1/0"
    assert b"a-secret" not in client.get("/readyz").content


@pytest.mark.django_db
def test_a_caller_may_bring_the_request_id(client):
    assert client.get("/readyz", headers={"X-Request-ID": "abc-123-def"})["X-Request-ID"] == "abc-123-def"


@pytest.mark.django_db
@pytest.mark.parametrize("offered", ["short", "has space inside", "x" * 65, 'inject"}\n{', ""])
def test_an_unfit_request_id_is_replaced(client, offered):
    given = client.get("/readyz", headers={"X-Request-ID": offered})["X-Request-ID"]
    assert given != offered
    assert len(given) == 32


@pytest.mark.django_db
def test_every_response_carries_the_security_headers(client):
    for url in ("/readyz", "/no-such-page"):
        answer = client.get(url)
        policy = answer["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"


def test_the_policy_allows_nothing_inline():
    for sources in settings.CONTENT_SECURITY_POLICY["DIRECTIVES"].values():
        assert not any("unsafe" in source for source in sources)
