"""How a project takes in what its product sends: what may be set, and which kinds of reactions there are."""

from __future__ import annotations

import time

import pytest
from django.db import transaction

from annotation.actions.intake import BuiltIn, KindTaken, change_intake, change_kind, create_kind
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import IntakeSettings, ReactionKind
from annotation.queries.intake import intake_of, kinds_of
from redpen.accounts.errors import Invalid
from redpen.accounts.models import AuditEvent
from tests.accounts.races import at_the_same_time

JSON = "application/json"
DEFAULTS = {"hash_users": False, "redact": [], "slices": [], "retention_days": {}, "leave_out": True}


@pytest.fixture
def ada(desk):
    return desk.cast.client(desk.cast.ada)


@pytest.fixture
def dev(desk):
    return desk.cast.client(desk.cast.dev)


def lines(action: str) -> list[dict]:
    return list(AuditEvent.objects.filter(action=action).order_by("id").values_list("data", flat=True))


# ---- settings ----


def test_a_project_has_its_defaults_until_somebody_changes_one(ada, desk):
    assert ada.get(desk.api("intake")).json() == DEFAULTS
    assert not IntakeSettings.objects.exists()
    answer = ada.patch(desk.api("intake"), {"hash_users": True}, JSON)
    assert (answer.status_code, answer.json()) == (200, {**DEFAULTS, "hash_users": True})
    assert intake_of(desk.cast.project).hash_users is True
    assert lines("intake.changed") == [{"fields": ["hash_users"]}]


def test_everything_can_be_set_and_is_kept_in_order(ada, desk):
    wanted = {
        "hash_users": True,
        "redact": ["card", "email", "card"],
        "slices": ["country", "app version", "country"],
        "retention_days": {"record": 3650, "reaction": 1},
        "leave_out": False,
    }
    answer = ada.patch(desk.api("intake"), wanted, JSON).json()
    expected = {**wanted, "redact": ["email", "card"], "slices": ["country", "app version"]}
    assert answer == ada.get(desk.api("intake")).json() == expected
    ada.patch(desk.api("intake"), {"redact": [], "retention_days": {}}, JSON)
    assert ada.get(desk.api("intake")).json() == {**expected, "redact": [], "retention_days": {}}


def test_the_key_of_pseudonyms_is_told_to_nobody_and_stays(ada, desk):
    ada.patch(desk.api("intake"), {"hash_users": True}, JSON)
    secret = intake_of(desk.cast.project).user_secret
    ada.patch(desk.api("intake"), {"hash_users": False}, JSON)
    ada.patch(desk.api("intake"), {"hash_users": True}, JSON)
    assert intake_of(desk.cast.project).user_secret == secret
    said = ada.get(desk.api("intake")).text + ada.get(desk.api("audit")).text
    assert secret not in said
    refused = ada.patch(desk.api("intake"), {"user_secret": "0" * 64}, JSON)
    assert (refused.status_code, refused.json()["problems"][0]["pointer"]) == (422, "/user_secret")


def test_a_change_to_what_is_already_so_leaves_no_line(ada, desk):
    for _ in range(2):
        ada.patch(desk.api("intake"), {"slices": ["country"], "leave_out": True}, JSON)
    assert lines("intake.changed") == [{"fields": ["slices"]}]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"hash_users": None}, "/hash_users"),
        ({"hash_users": "perhaps"}, "/hash_users"),
        ({"redact": "email"}, "/redact"),
        ({"redact": ["email", "names"]}, "/redact/1"),
        ({"redact": [["email"]]}, "/redact/0"),
        ({"slices": [""]}, "/slices/0"),
        ({"slices": ["  "]}, "/slices/0"),
        ({"slices": ["ok", "a\x00"]}, "/slices/1"),
        ({"slices": ["x" * 61]}, "/slices/0"),
        ({"slices": [str(number) for number in range(11)]}, "/slices"),
        ({"slices": [1.5]}, "/slices/0"),
        ({"retention_days": {"reaction": 0}}, "/retention_days/reaction"),
        ({"retention_days": {"reaction": 3651}}, "/retention_days/reaction"),
        ({"retention_days": {"reaction": 10**30}}, "/retention_days/reaction"),
        ({"retention_days": {"reaction": None}}, "/retention_days/reaction"),
        ({"retention_days": {"span": 30}}, "/retention_days/span"),
        ({"retention_days": {"a/b~": 30}}, "/retention_days/a~1b~0"),
        ({"retention_days": [30]}, "/retention_days"),
        ({"keep": 30}, "/keep"),
    ],
)
def test_what_cannot_be_set_is_named(ada, desk, change, pointer):
    answer = ada.patch(desk.api("intake"), change, JSON)
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["problems"][0]["pointer"] == pointer
    assert ada.get(desk.api("intake")).json() == DEFAULTS


@pytest.mark.parametrize("body", ["[]", '"x"', '{"slices": ["\\ud800"]}', '{"retention_days": {"\\ud800": 1}}'])
def test_a_strange_body_is_refused_and_breaks_nothing(ada, desk, body):
    assert ada.patch(desk.api("intake"), body, JSON).status_code == 422


def test_a_library_that_is_not_installed_cannot_be_chosen(ada, desk):
    answer = ada.patch(desk.api("intake"), {"redact": ["library"]}, JSON)
    assert (answer.status_code, answer.json()["code"]) == (503, "redaction.not_available")
    assert ada.get(desk.api("intake")).json() == DEFAULTS


@pytest.mark.django_db(transaction=True)
def test_two_who_change_different_settings_both_win(desk):
    author, project = Author.person(desk.cast.ada), desk.cast.project
    change_intake(author=author, project=project, leave_out=False)

    def change(**what):
        with transaction.atomic():
            change_intake(author=author, project=project, **what)
            time.sleep(0.3)  # the other is in the middle of it too

    at_the_same_time(lambda: change(hash_users=True), lambda: change(slices=["country"]))
    kept = intake_of(project)
    assert (kept.hash_users, kept.slices) == (True, ["country"])


# ---- kinds of reactions ----


def test_a_kind_is_declared_once_and_can_then_be_given(dev, desk):
    body = {"key": "thumbs-up", "name": "Thumbs up", "polarity": 1}
    made = dev.post(desk.api("reaction-kinds"), body, JSON)
    assert made.status_code == 201
    assert {**body, "built_in": False}.items() <= made.json().items()
    again = dev.post(desk.api("reaction-kinds"), body, JSON)
    assert (again.status_code, again.json()) == (200, made.json())
    assert made.json() in dev.get(desk.api("reaction-kinds")).json()["items"]
    assert lines("kind.made") == [{"polarity": 1}]


def test_a_product_that_declares_its_kinds_at_each_start_leaves_the_name_that_people_gave(dev, desk):
    body = {"key": "bookmark", "name": "Bookmarked", "polarity": 1}
    dev.post(desk.api("reaction-kinds"), body, JSON)
    dev.patch(desk.api("reaction-kinds/bookmark"), {"name": "Kept"}, JSON)
    again = dev.post(desk.api("reaction-kinds"), body, JSON)
    assert (again.status_code, again.json()["name"]) == (200, "Kept")


def test_a_kind_without_a_name_gets_one_from_its_key(dev, desk):
    assert dev.post(desk.api("reaction-kinds"), {"key": "asked_a-human"}, JSON).json()["name"] == "Asked a human"


def test_another_kind_under_a_key_that_is_taken_is_a_conflict(dev, desk):
    answer = dev.post(desk.api("reaction-kinds"), {"key": "like", "name": "Like", "polarity": -1}, JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "kind.taken")
    assert answer.json()["data"] == {"key": "like", "name": "Like", "polarity": 1}


def test_name_and_polarity_change_and_the_key_stays(dev, desk):
    address = desk.api("reaction-kinds/copy")
    answer = dev.patch(address, {"name": "Took it along", "polarity": 0}, JSON).json()
    assert (answer["key"], answer["name"], answer["polarity"]) == ("copy", "Took it along", 0)
    assert dev.get(address).json() == answer
    assert dev.patch(address, {"polarity": 0}, JSON).json() == answer
    assert lines("kind.changed") == [{"fields": ["name", "polarity"]}]
    assert dev.patch(address, {"key": "copied"}, JSON).status_code == 422


def test_shown_is_built_in_and_does_not_change(dev, desk):
    answer = dev.patch(desk.api("reaction-kinds/shown"), {"polarity": 1}, JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "kind.built_in")
    with pytest.raises(BuiltIn):
        change_kind(
            author=Author.person(desk.cast.ada), kind=ReactionKind.objects.get(key="shown"), name="Seen by somebody"
        )
    with pytest.raises(KindTaken):
        create_kind(author=Author.person(desk.cast.ada), project=desk.cast.project, key="shown", polarity=1)


def test_a_kind_is_never_deleted(dev, desk):
    assert dev.delete(desk.api("reaction-kinds/like")).status_code == 405
    assert ReactionKind.objects.filter(key="like").exists()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/key"),
        ({"key": ""}, "/key"),
        ({"key": "Like"}, "/key"),
        ({"key": "-like"}, "/key"),
        ({"key": "like!"}, "/key"),
        ({"key": "x" * 41}, "/key"),
        ({"key": "ok", "polarity": 2}, "/polarity"),
        ({"key": "ok", "polarity": "good"}, "/polarity"),
        ({"key": "ok", "name": "a\x00"}, "/name"),
        ({"key": "ok", "name": "x" * 61}, "/name"),
        ({"key": "ok", "colour": "red"}, "/colour"),
    ],
)
def test_what_is_no_kind_is_refused_by_name(dev, desk, body, pointer):
    answer = dev.post(desk.api("reaction-kinds"), body, JSON)
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, pointer)


def test_a_name_of_spaces_is_refused_where_a_kind_is_renamed(dev, desk):
    answer = dev.patch(desk.api("reaction-kinds/like"), {"name": "  "}, JSON)
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, "/name")


def test_a_project_has_a_hundred_kinds_and_no_more(desk):
    project, author = desk.cast.project, Author.person(desk.cast.dev)
    there = kinds_of(project).count()
    ReactionKind.objects.bulk_create(
        ReactionKind(project=project, key=f"kind-{number}", name="Kind") for number in range(100 - there)
    )
    with pytest.raises(BadValue):
        create_kind(author=author, project=project, key="one-too-many")
    assert create_kind(author=author, project=project, key="kind-1", name="Kind") == (
        ReactionKind.objects.get(project=project, key="kind-1"),
        False,
    )


def test_a_long_list_of_kinds_pages_by_cursor(dev, desk):
    first = dev.get(desk.api("reaction-kinds"), {"limit": 4}).json()
    second = dev.get(desk.api("reaction-kinds"), {"limit": 4, "cursor": first["next"]}).json()
    keys = {item["key"] for item in first["items"] + second["items"]}
    assert keys == {"shown", "like", "love", "copy", "dislike", "regenerate"}


def test_the_same_word_is_a_kind_of_each_project(desk):
    other = desk.cast.other_project
    kind, made = create_kind(author=Author.person(desk.cast.zoe), project=other, key="like", polarity=-1)
    assert made
    assert kind.project == other
    with pytest.raises(Invalid):
        create_kind(author=Author.person(desk.cast.zoe), project=other, key="Like it")


@pytest.mark.django_db(transaction=True)
def test_two_who_declare_the_same_kind_get_the_same_one(desk):
    outcomes = at_the_same_time(
        *[
            lambda: create_kind(
                author=Author.person(desk.cast.dev), project=desk.cast.project, key="wow", name="Wow", polarity=1
            )
        ]
        * 2
    )
    assert sorted(made for _, made in outcomes) == [False, True]
    assert outcomes[0][0] == outcomes[1][0]
