"""Making, rotating and revoking API keys: what is kept, what works afterwards, what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from redpen.accounts.actions.keys import KeyEnded, KeyRotated, create_key, origin, revoke_key, rotate_key
from redpen.accounts.errors import Invalid, NotFound
from redpen.accounts.keys import find
from redpen.accounts.models import ApiKey, AuditEvent
from redpen.accounts.queries.keys import keys_of, state_of
from tests.accounts.races import at_the_same_time
from tests.cast import Cast, make_cast


def make(cast: Cast, **given):
    given = {"name": "shop", "scopes": ["responses.write", "reactions.write"], **given}
    return create_key(project=cast.project, actor=cast.dev, **given)


def public(cast: Cast, **given):
    return make(cast, **{"scopes": [], "public": True, "origins": ["https://shop.example"], **given})


def trail(cast: Cast) -> list[tuple[str, dict]]:
    lines = AuditEvent.objects.filter(project=cast.project, action__startswith="key.").order_by("id")
    return list(lines.values_list("action", "data"))


def test_a_key_opens_its_project_and_only_its_hash_is_kept(cast):
    key, token = make(cast, test=True)
    assert find(token) == key
    assert (find(token).project, key.created_by, key.test) == (cast.project, cast.dev, True)
    assert token.startswith(f"{key.prefix}_")
    assert key.prefix.startswith("rp_test_")
    secret = token.removeprefix(key.prefix)
    assert secret not in str(ApiKey.objects.filter(pk=key.pk).values().get())
    assert find(f"{key.prefix}_{'x' * 40}") is None


def test_the_trail_says_what_was_done_and_no_secret(cast):
    key, token = make(cast)
    new, new_token = rotate_key(project=cast.project, actor=cast.ada, key_id=key.pk, overlap_hours=2)
    revoke_key(project=cast.project, actor=cast.ada, key_id=new.pk)
    assert trail(cast) == [
        ("key.made", {"scopes": ["responses.write", "reactions.write"], "test": False, "public": False}),
        ("key.rotated", {"new": str(new.pk), "overlap_hours": 2}),
        ("key.revoked", {}),
    ]
    said = str(list(AuditEvent.objects.values()))
    assert not [one for one in (token, new_token) if one.rpartition("_")[2] in said]


def test_scopes_are_kept_once_and_in_one_order(cast):
    key, _ = make(cast, scopes=["read", "responses.write", "read"])
    assert key.scopes == ["responses.write", "read"]


def test_a_public_key_writes_reactions_from_its_origins_sixty_a_minute(cast):
    key, token = public(cast, origins=["HTTPS://Shop.Example:443", "http://localhost:3000", "https://shop.example"])
    assert (key.scopes, key.per_minute) == (["reactions.write"], 60)
    assert key.origins == ["https://shop.example", "http://localhost:3000"]
    assert token.startswith("rp_pub_")


def test_a_key_that_is_not_public_has_no_limit_unless_it_is_told_one(cast):
    assert make(cast)[0].per_minute == 0
    assert make(cast, per_minute=600)[0].per_minute == 600


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"name": "  "}, "/name"),
        ({"name": "x" * 61}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["read", "everything"]}, "/scopes/1"),
        ({"origins": ["https://shop.example"]}, "/origins"),
        ({"per_minute": -1}, "/per_minute"),
        ({"per_minute": 2**31}, "/per_minute"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "/expires_at"),
        ({"public": True, "origins": ["https://shop.example"], "scopes": ["reactions.write", "read"]}, "/scopes/1"),
        ({"public": True, "scopes": []}, "/origins"),
        ({"public": True, "scopes": [], "origins": ["https://a.example", "ftp://b.example"]}, "/origins/1"),
        ({"public": True, "scopes": [], "origins": [f"https://a{n}.example" for n in range(21)]}, "/origins"),
        ({"public": True, "scopes": [], "origins": ["https://shop.example"], "per_minute": 0}, "/per_minute"),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_name(cast, given, pointer):
    with pytest.raises(Invalid) as refused:
        make(cast, **given)
    assert [problem["pointer"] for problem in refused.value.problems] == [pointer]
    assert not ApiKey.objects.exists()
    assert not trail(cast)


def test_all_that_is_wrong_is_said_at_once(cast):
    with pytest.raises(Invalid) as refused:
        make(cast, name="", scopes=["all"], per_minute=-5)
    assert [problem["pointer"] for problem in refused.value.problems] == ["/name", "/scopes/0", "/per_minute"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("https://shop.example", "https://shop.example"),
        (" https://Shop.Example ", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("http://localhost", "http://localhost"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:5173", "http://127.0.0.1:5173"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(said, kept):
    assert origin(said) == kept


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("https://shop.example/", "no path: write https://shop.example"),
        ("https://shop.example/chat?x=1", "no path"),
        ("http://shop.example", "Write https://shop.example"),
        ("http://localhost.evil.example", "Write https://"),
        ("http://127.0.0.2", "Write https://"),
        ("ftp://localhost", "localhost only"),
        ("https://*.shop.example", "Name each"),
        ("*", "Name each"),
        ("null", "no origin"),
        ("", "no origin"),
        ("shop.example", "no origin"),
        ("https://user@shop.example", "no origin"),
        ("https://shop.example:0", "no port"),
        ("https://shop.example:99999", "no port"),
        ("https://shop..example", "no host"),
        ("https://[::zz]", "no origin"),
        ("https://[:::1]", "no host"),
        ("https://bücher.example", "xn--"),
        ("https://shop.example\x00", "no origin"),
        ("https://" + "a" * 300, "at most 200"),
        ("https://shop.example'; rm", "no origin"),
    ],
)
def test_what_is_no_origin_is_refused_with_the_way_to_write_it(said, words):
    with pytest.raises(ValueError, match=words):
        origin(said)


def test_a_rotated_key_and_its_successor_both_work_until_the_overlap_ends(cast):
    ends = timezone.now() + timedelta(days=90)
    old, old_token = make(cast, expires_at=ends, per_minute=7)
    new, new_token = rotate_key(project=cast.project, actor=cast.ada, key_id=old.pk)
    assert (find(old_token), find(new_token)) == (old, new)
    powers = ("name", "scopes", "test", "public", "origins", "per_minute")
    assert [getattr(new, name) for name in powers] == [getattr(old, name) for name in powers]
    old.refresh_from_db()
    assert old.rotated_to == new
    assert abs(old.expires_at - timezone.now() - timedelta(hours=24)) < timedelta(minutes=1)
    assert abs(new.expires_at - ends) < timedelta(minutes=1)
    assert (state_of(old), state_of(new)) == ("rotated", "works")
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=30))
    assert find(old_token) is None
    assert find(new_token) == new


def test_an_overlap_of_nothing_ends_the_old_key_at_once(cast):
    old, old_token = make(cast)
    rotate_key(project=cast.project, actor=cast.ada, key_id=old.pk, overlap_hours=0)
    assert find(old_token) is None


def test_an_overlap_makes_no_key_live_longer(cast):
    soon = timezone.now() + timedelta(hours=1)
    old, _ = make(cast, expires_at=soon)
    rotate_key(project=cast.project, actor=cast.ada, key_id=old.pk, overlap_hours=48)
    old.refresh_from_db()
    assert old.expires_at == soon


def test_a_public_key_rotates_into_a_public_one(cast):
    old, _ = public(cast, test=True)
    new, token = rotate_key(project=cast.project, actor=cast.ada, key_id=old.pk)
    assert token.startswith("rp_pubtest_")
    assert (new.public, new.origins, new.per_minute) == (True, ["https://shop.example"], 60)


def test_only_a_key_that_works_and_was_not_rotated_can_be_rotated(cast):
    rotated, revoked, expired = (make(cast)[0] for _ in range(3))
    rotate_key(project=cast.project, actor=cast.ada, key_id=rotated.pk)
    revoke_key(project=cast.project, actor=cast.ada, key_id=revoked.pk)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for key, error in ((rotated, KeyRotated), (revoked, KeyEnded), (expired, KeyEnded)):
        with pytest.raises(error):
            rotate_key(project=cast.project, actor=cast.ada, key_id=key.pk)
    assert ApiKey.objects.count() == 4


@pytest.mark.parametrize("hours", [-1, 721, 10**9])
def test_an_overlap_has_bounds(cast, hours):
    key, _ = make(cast)
    with pytest.raises(Invalid) as refused:
        rotate_key(project=cast.project, actor=cast.ada, key_id=key.pk, overlap_hours=hours)
    assert refused.value.problems[0]["pointer"] == "/overlap_hours"


def test_a_revoked_key_is_shut_at_once_and_revoking_it_again_changes_nothing(cast):
    key, token = make(cast)
    first = revoke_key(project=cast.project, actor=cast.ada, key_id=key.pk)
    assert find(token) is None
    assert revoke_key(project=cast.project, actor=cast.ada, key_id=key.pk).revoked_at == first.revoked_at
    assert [action for action, _ in trail(cast)] == ["key.made", "key.revoked"]


def test_another_projects_key_is_not_there(cast):
    key, token = make(cast)
    for key_id in (key.pk, uuid4()):
        for action in (rotate_key, revoke_key):
            with pytest.raises(NotFound):
                action(project=cast.other_project, actor=cast.zoe, key_id=key_id)
    assert find(token) == key


def test_a_list_can_be_narrowed_to_keys_that_work_or_have_ended(cast):
    works, revoked, expired, later = (make(cast)[0] for _ in range(4))
    revoke_key(project=cast.project, actor=cast.ada, key_id=revoked.pk)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    ApiKey.objects.filter(pk=later.pk).update(expires_at=timezone.now() + timedelta(hours=1))
    assert set(keys_of(cast.project, state="usable")) == {works, later}
    assert set(keys_of(cast.project, state="ended")) == {revoked, expired}
    states = {key.pk: state_of(key) for key in keys_of(cast.project)}
    assert states == {works.pk: "works", revoked.pk: "revoked", expired.pk: "expired", later.pk: "ends soon"}
    assert not keys_of(cast.other_project)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_rotate_a_key_one_gets_the_successor():
    cast = make_cast()
    key, _ = make(cast)

    def rotate():
        with transaction.atomic():
            made = rotate_key(project=cast.project, actor=cast.ada, key_id=key.pk)
            time.sleep(0.3)  # the other is in the middle of it too
        return made

    outcomes = at_the_same_time(rotate, rotate)
    assert sorted(isinstance(outcome, KeyRotated) for outcome in outcomes) == [False, True]
    assert ApiKey.objects.count() == 2
