"""The page of API keys: what is sent, what comes back, and that a secret is seen once."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from redpen.accounts.actions.keys import create_key, revoke_key, rotate_key
from redpen.accounts.keys import find
from redpen.accounts.models import ApiKey
from tests.cast import make_user

PAGE = "/p/lantern/keys/"
SERVER = {"name": "shop", "place": "secret", "data": "live", "days": "never", "scopes": ["responses.write", "read"]}
BROWSER = {
    "name": "page",
    "place": "public",
    "data": "test",
    "days": "never",
    "origins": "https://shop.example\nhttp://localhost:3000",
}


@pytest.fixture
def dev(cast):
    return cast.client(cast.dev)


def token_in(answer) -> str:
    return re.search(r'id="token-once"[^>]* value="(rp_\w+)"', answer.text)[1]


def test_a_new_key_is_shown_once_with_a_line_to_try_it(dev, caplog):
    caplog.set_level(logging.DEBUG)
    sent = dev.post(PAGE, SERVER)
    assert (sent.status_code, sent.url) == (302, PAGE)
    page = dev.get(PAGE)
    token = token_in(page)
    key = find(token)
    assert (key.name, key.scopes, key.test, key.public) == ("shop", ["responses.write", "read"], False, False)
    assert "curl http://testserver/api/v1/responses" in page.text
    assert f"Authorization: Bearer {token}" in page.text
    assert "no-store" in page["Cache-Control"]
    again = dev.get(PAGE)
    assert token.rpartition("_")[2] not in again.text
    assert key.prefix in again.text
    assert token.rpartition("_")[2] not in caplog.text


def test_a_public_key_takes_its_origins_and_leaves_out_what_was_ticked_for_a_server(dev):
    dev.post(PAGE, {**BROWSER, "scopes": ["responses.write", "read"]})
    page = dev.get(PAGE)
    key = find(token_in(page))
    assert (key.public, key.test, key.scopes) == (True, True, ["reactions.write"])
    assert (key.origins, key.per_minute) == (["https://shop.example", "http://localhost:3000"], 60)
    assert "api/v1/reactions" in page.text
    assert "Origin: https://shop.example" in page.text


def test_an_end_is_chosen_from_a_list(dev):
    dev.post(PAGE, {**SERVER, "days": "90"})
    assert abs(ApiKey.objects.get().expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"scopes": []}, "Say what the key may do"),
        ({"scopes": ["everything"]}, "Select a valid choice"),
        ({"place": "public", "origins": ""}, "Name the pages"),
        ({"place": "public", "origins": "https://a.example https://b.example/chat"}, "write https://b.example instead"),
        ({"per_minute": "-1"}, "This is a number of records"),
        ({"per_minute": "9" * 30}, "This is a number of records"),
        ({"days": "-5"}, "Select a valid choice"),
        ({"data": ""}, "This field is required"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(dev, change, words):
    answer = dev.post(PAGE, {**SERVER, **change})
    assert answer.status_code == 422
    assert 'class="error"' in answer.text
    assert words in answer.text
    assert not ApiKey.objects.exists()


def test_rotating_shows_the_new_key_once_and_says_that_the_old_one_still_works(dev, cast):
    old, old_token = create_key(project=cast.project, actor=cast.dev, name="shop", scopes=["read"])
    sent = dev.post(f"{PAGE}{old.pk}/rotate/", {"overlap_hours": "1"})
    assert (sent.status_code, sent.url) == (302, PAGE)
    page = dev.get(PAGE)
    new = find(token_in(page))
    assert new != old
    assert find(old_token) == old
    assert "rotated" in page.text
    dev.post(f"{PAGE}{new.pk}/rotate/", {"overlap_hours": "0"})
    newest = find(token_in(dev.get(PAGE)))
    assert not ApiKey.objects.filter(pk=new.pk, revoked_at=None).exists()
    assert newest not in (old, new, None)


@pytest.mark.parametrize("hours", ["", "2", "-1", "x"])
def test_an_overlap_that_is_not_on_offer_is_refused(dev, cast, hours):
    key, _ = create_key(project=cast.project, actor=cast.dev, name="shop", scopes=["read"])
    assert dev.post(f"{PAGE}{key.pk}/rotate/", {"overlap_hours": hours}).status_code == 422
    assert ApiKey.objects.count() == 1


def test_a_revoked_key_leaves_the_list_for_the_one_of_ended_keys(dev, cast):
    key, token = create_key(project=cast.project, actor=cast.dev, name="shop", scopes=["read"])
    assert "?state=ended" not in dev.get(PAGE).text
    for _ in range(2):
        assert dev.post(f"{PAGE}{key.pk}/revoke/").status_code == 302
    assert find(token) is None
    page, ended = dev.get(PAGE), dev.get(f"{PAGE}?state=ended")
    assert f"{key.prefix}…</code>" not in page.text
    assert "?state=ended" in page.text
    assert f"{key.prefix}…</code>" in ended.text
    assert "/revoke/" not in ended.text


def test_the_list_says_what_a_key_is_and_when_it_was_used(dev, cast):
    key, _ = create_key(
        project=cast.project, actor=cast.dev, name="page", public=True, origins=["https://shop.example"], test=True
    )
    assert ">never<" in dev.get(PAGE).text
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(minutes=5))
    text = dev.get(PAGE).text
    for words in ("test, public", "reactions.write", "https://shop.example", "60 records a minute", "5 minutes ago"):
        assert words in text


def test_without_a_key_the_page_says_what_to_do_next(dev, cast):
    text = dev.get(PAGE).text
    assert "No key yet" in text
    assert "export REDPEN_KEY" in text
    assert "curl http://testserver/api/v1/responses" in text
    create_key(project=cast.project, actor=cast.dev, name="shop", scopes=["read"])
    assert "No key yet" not in dev.get(PAGE).text


def test_those_who_may_find_the_way_to_it(cast):
    for person, sees in ((cast.ada, True), (cast.dev, True), (cast.mia, False), (cast.ben, False), (cast.vic, False)):
        home = cast.client(person).get("/p/lantern/").text
        assert (f'href="{PAGE}"' in home) is sees
        assert ('href="/p/lantern/live/settings/"' in home) is sees
    assert f'href="{PAGE}"' in cast.client(cast.ada).get("/p/lantern/settings/").text


def test_a_name_is_text_and_no_markup(dev):
    dev.post(PAGE, {**SERVER, "name": "<b>shop</b>"})
    for _ in range(2):
        assert "<b>shop" not in dev.get(PAGE).text


def test_twenty_keys_ask_as_much_as_one(dev, cast):
    first, _ = create_key(project=cast.project, actor=cast.dev, name="key", scopes=["read"])
    counts = []
    for size in (1, 20):
        while ApiKey.objects.count() < size:
            create_key(project=cast.project, actor=cast.ada, name="key", scopes=["read"])
        with CaptureQueriesContext(connection) as queries:
            dev.get(PAGE)
        counts.append(len(queries))
    assert counts[0] == counts[1]
    rotate_key(project=cast.project, actor=cast.ada, key_id=first.pk)
    revoke_key(project=cast.project, actor=cast.ada, key_id=first.pk)


def test_support_staff_see_no_secret_of_keys_or_users(cast):
    from annotation.models import IntakeSettings

    key, _ = create_key(project=cast.project, actor=cast.dev, name="shop", scopes=["read"])
    settings = IntakeSettings.objects.create(project=cast.project)
    staff = cast.client(make_user("Sue", is_staff=True))
    assert key.prefix in staff.get(f"/support/accounts/apikey/{key.pk}/change/").text
    for address, secret in (
        (f"/support/accounts/apikey/{key.pk}/change/", key.secret_hash),
        (f"/support/annotation/intakesettings/{cast.project.pk}/change/", settings.user_secret),
    ):
        answer = staff.get(address)
        assert answer.status_code == 200
        assert secret not in answer.text
