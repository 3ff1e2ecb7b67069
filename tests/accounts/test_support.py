"""The site for support staff."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import CompositePrimaryKey
from django.urls import reverse

from redpen.accounts import audit
from redpen.accounts.actions.invitations import invite
from redpen.accounts.models import AuditEvent, User
from tests.cast import make_user

OURS = [
    model
    for name in ("accounts", "annotation", "training")
    for model in apps.get_app_config(name).get_models()
    if not isinstance(model._meta.pk, CompositePrimaryKey)  # figures that are counted again; the admin cannot list them
]


@pytest.fixture
def staff(cast):
    return cast.client(make_user("Sue", is_staff=True))


def address(model, what, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)


def test_only_staff_get_in_and_others_are_told_nothing_of_what_is_there(cast, staff):
    assert staff.get("/support/").status_code == 200
    assert cast.client(cast.ada).get("/support/").status_code == 403
    assert cast.client(cast.ada).get("/support/accounts/user/").status_code == 403
    assert cast.client().get("/support/accounts/user/").url == "/sign-in/?next=%2Fsupport%2Faccounts%2Fuser%2F"


def test_there_is_no_second_sign_in_page_without_limits(cast):
    answer = cast.client().post("/support/login/", {"username": "ada@example.org", "password": "x"})
    assert answer.url.startswith("/sign-in/")


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_table_can_be_looked_at_and_not_edited(staff, model):
    assert admin.site.is_registered(model)
    assert staff.get(address(model, "changelist")).status_code == 200
    assert staff.get(address(model, "add")).status_code == 403


def test_a_record_can_be_read_and_not_changed(cast, staff):
    event = audit.record("project.created", project=cast.project, actor=cast.ada)
    page = staff.get(address(AuditEvent, "change", event.pk))
    assert "project.created" in page.text
    assert 'name="_save"' not in page.text
    assert staff.post(address(AuditEvent, "change", event.pk), {"action": "x"}).status_code == 403
    assert staff.post(address(AuditEvent, "delete", event.pk), {"post": "yes"}).status_code == 403


def test_secrets_are_not_shown(cast, staff):
    invitation, _ = invite(project=cast.project, actor=cast.ada, role="viewer")
    assert invitation.token_hash not in staff.get(address(type(invitation), "change", invitation.pk)).text
    assert cast.ada.password not in staff.get(address(User, "change", cast.ada.pk)).text


def test_an_account_is_closed_in_the_trail_and_its_person_signed_out(cast, staff):
    his = cast.client(cast.ben)
    assert his.get("/account/").status_code == 200
    assert staff.post(address(User, "change", cast.ben.pk), {}).status_code == 302
    cast.ben.refresh_from_db()
    assert not cast.ben.is_active
    assert cast.ben.email == "ben@example.org"
    assert AuditEvent.objects.get().action == "account.closed"
    assert his.get("/account/").status_code == 302


def test_staff_cannot_close_other_staff(cast, staff):
    other = make_user("Tom", is_staff=True)
    assert staff.post(address(User, "change", other.pk), {}).status_code == 403


def test_the_pages_need_no_inline_script_or_style(cast, staff):
    for page in ("/support/", address(User, "changelist"), address(User, "change", cast.ben.pk)):
        text = staff.get(page).text
        assert "<script>" not in text
        assert "<style" not in text
        assert ' style="' not in text
