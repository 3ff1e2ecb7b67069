"""The page of live settings: how answers and reactions are taken in, and which kinds there are."""

from __future__ import annotations

import pytest

from annotation.models import ReactionKind
from annotation.queries.intake import intake_of

PAGE = "/p/lantern/live/settings/"
FORM = {"hash_users": "off", "leave_out": "on"}


@pytest.fixture
def ada(desk):
    return desk.cast.client(desk.cast.ada)


def test_an_admin_saves_what_the_form_says(ada, desk):
    body = {
        "hash_users": "on",
        "leave_out": "off",
        "redact": ["email", "iban"],
        "slices": "country\r\n\r\n app version \r\ncountry",
        "keep_reactions": "30",
        "keep_records": "",
    }
    assert ada.post(PAGE, body).status_code == 302
    kept = intake_of(desk.cast.project)
    assert (kept.hash_users, kept.leave_out, kept.redact) == (True, False, ["email", "iban"])
    assert (kept.slices, kept.retention_days) == (["country", "app version"], {"reaction": 30})
    text = ada.get(PAGE).text
    for shown in ('value="30"', "country\napp version", 'value="iban" checked', "hold for what comes"):
        assert shown in text.replace(' id="id_redact_1"', "").replace("\r", "") or shown in text, shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redact": ["names"]}, "Select a valid choice"),
        ({"redact": ["library"]}, "Set REDACTOR"),
        ({"keep_reactions": "0"}, "number of days from 1 to 3,650"),
        ({"keep_reactions": "9" * 40}, "number of days from 1 to 3,650"),
        ({"slices": "x" * 61}, "1 to 60 printable characters"),
        ({"slices": "\n".join(map(str, range(11)))}, "at most 10 keys"),
        ({"hash_users": ""}, "This field is required"),
        ({"leave_out": "maybe"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_set_stands_beside_its_field(ada, desk, change, words):
    answer = ada.post(PAGE, {**FORM, **change})
    assert answer.status_code == 422
    assert words in answer.text
    assert intake_of(desk.cast.project)._state.adding


def test_a_developer_reads_the_settings_and_changes_the_kinds(ada, desk):
    ada.post(PAGE, {**FORM, "redact": ["email"], "keep_reactions": "30"})
    dev = desk.cast.client(desk.cast.dev)
    text = dev.get(PAGE).text
    assert 'name="hash_users"' not in text
    assert "email" in text
    assert "30 days" in text
    assert dev.post(PAGE, FORM).status_code == 403
    assert dev.post(f"{PAGE}kinds/", {"key": "bookmark", "name": "", "polarity": "1"}).status_code == 302
    assert dev.post(f"{PAGE}kinds/like/", {"name": "Liked it", "polarity": "0"}).status_code == 302
    kinds = dict(ReactionKind.objects.values_list("key", "name"))
    assert (kinds["bookmark"], kinds["like"]) == ("Bookmark", "Liked it")
    assert "Liked it" in dev.get(PAGE).text


@pytest.mark.parametrize(
    "body",
    [
        {"key": "Bookmark it", "polarity": "1"},
        {"key": "like", "polarity": "-1"},
        {"key": "bookmark", "polarity": "2"},
        {"key": "", "polarity": "1"},
    ],
)
def test_a_kind_that_cannot_be_is_refused_in_the_open_form(ada, desk, body):
    answer = ada.post(f"{PAGE}kinds/", body)
    assert answer.status_code == 422
    assert "<details open>" in answer.text


def test_shown_cannot_be_changed_and_has_no_form(ada, desk):
    assert "kinds/shown/" not in ada.get(PAGE).text
    assert ada.post(f"{PAGE}kinds/shown/", {"name": "Seen", "polarity": "1"}).status_code == 409
    assert ada.post(f"{PAGE}kinds/nothing/", {"name": "Seen", "polarity": "1"}).status_code == 404
    assert ada.post(f"{PAGE}kinds/like/", {"name": "", "polarity": "1"}).status_code == 422
