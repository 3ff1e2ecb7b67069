"""What was said on the pages of keys and settings, at the real door of the live API."""

from __future__ import annotations

import subprocess
import time

import httpx
import pytest

from annotation.models import Reaction, Response
from frontend.queries.keys import curl
from redpen.accounts.actions.keys import create_key, revoke_key, rotate_key
from redpen.accounts.models import ApiKey

JSON = "application/json"


@pytest.fixture
def ada(shop):
    return shop.project.memberships.get(role="admin").user


@pytest.fixture
def pages(ada):
    from django.test import Client

    client = Client()
    client.force_login(ada)
    return client


def run(line: str) -> str:
    """The status that curl got, then the body."""
    command = f"{line} \\\n  -sS -w '\\n%{{http_code}}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return f"{status} {body}"


def test_the_lines_that_the_page_shows_work_as_they_stand(shop, server, ada):
    site = server.url("").rstrip("/")
    key, token = create_key(project=shop.project, actor=ada, name="shop", scopes=["responses.write", "read"])
    assert run(curl(site=site, token=token, scopes=key.scopes)).startswith("201 ")
    assert Response.objects.get(external_id="answer-1").text == "Two years."

    page, token = create_key(
        project=shop.project, actor=ada, name="page", public=True, origins=["https://shop.example"]
    )
    assert run(curl(site=site, token=token, scopes=page.scopes, origin=page.origins[0])).startswith("201 ")
    assert Reaction.objects.get().response.external_id == "answer-1"

    reader, token = create_key(project=shop.project, actor=ada, name="reader", scopes=["read"])
    assert "answer-1" in run(curl(site=site, token=token, scopes=reader.scopes))


def test_a_key_that_is_revoked_or_rotated_at_once_is_refused_in_the_same_second(shop, ada):
    assert shop.answer("a-1").status_code == 201
    _, successor = rotate_key(project=shop.project, actor=ada, key_id=shop.key.pk, overlap_hours=0)
    assert shop.answer("a-2").status_code == 401
    shop.client.headers["Authorization"] = f"Bearer {successor}"
    assert shop.answer("a-2").status_code == 201
    new = ApiKey.objects.get(rotated_from=shop.key)
    revoke_key(project=shop.project, actor=ada, key_id=new.pk)
    assert shop.answer("a-3").status_code == 401
    assert shop.client.get("/api/v1/responses").status_code == 401


def test_both_keys_work_while_they_overlap(shop, ada):
    _, successor = rotate_key(project=shop.project, actor=ada, key_id=shop.key.pk)
    assert shop.answer("a-1").status_code == 201
    shop.client.headers["Authorization"] = f"Bearer {successor}"
    assert shop.answer("a-2").status_code == 201


def test_when_a_key_was_last_used_is_seen_soon(shop, server):
    assert shop.answer("a-1").status_code == 201
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if ApiKey.objects.get(pk=shop.key.pk).last_used_at is not None:
            return
        time.sleep(0.2)
    pytest.fail("nobody wrote down that the key was used")


def test_a_kind_that_was_declared_on_the_page_is_taken(shop, pages):
    shop.answer("a-1")
    assert shop.react("bookmark").status_code == 422
    pages.post("/p/lantern/live/settings/kinds/", {"key": "bookmark", "name": "", "polarity": "1"})
    time.sleep(0.3)
    assert shop.react("bookmark").status_code == 201


def test_settings_hold_a_few_seconds_later_for_what_comes_then(shop, pages):
    shop.answer("before", user="ines@example.org", text="Write to ines@example.org")
    settings = {"hash_users": True, "redact": ["email"]}
    assert pages.patch("/api/v1/projects/lantern/intake", settings, JSON).status_code == 200
    time.sleep(5.5)
    shop.answer("after", user="ines@example.org", text="Write to ines@example.org")
    before, after = (Response.objects.get(external_id=name) for name in ("before", "after"))
    assert (before.external_user, before.text) == ("ines@example.org", "Write to ines@example.org")
    assert after.external_user.startswith("u_")
    assert after.text == "Write to [email]"


def test_a_public_key_opens_the_door_from_its_origins_only(shop, server, ada):
    _, token = create_key(project=shop.project, actor=ada, name="page", public=True, origins=["http://localhost:3000"])
    tap = {"response": "a-1", "kind": "like", "user": "u"}
    with httpx.Client(base_url=server.url(""), headers={"Authorization": f"Bearer {token}"}) as page:
        for origin, status in (("http://localhost:3000", 201), ("https://evil.example", 403)):
            assert page.post("/api/v1/reactions", json=tap, headers={"Origin": origin}).status_code == status
