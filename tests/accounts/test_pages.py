"""The pages of people and projects, through a browser's eyes: what is sent, what comes back, where one lands."""

import re

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from redpen.accounts import audit
from redpen.accounts.actions.invitations import invite
from redpen.accounts.models import Invitation, Membership, Project, User
from redpen.accounts.rules import role_of
from tests.cast import PASSWORD, join, make_user

SIGN_IN = "/sign-in/"


def sign_in(client, email, password=PASSWORD, **more):
    return client.post(SIGN_IN, {"username": email, "password": password, **more})


def test_signing_in_brings_one_back_to_where_one_was(cast):
    client = cast.client()
    page = "/p/lantern/members/?x=1"
    sent = client.get(page)
    assert (sent.status_code, sent.url) == (302, f"/sign-in/?{urlencode({'next': page})}")
    answer = sign_in(client, "Ada@Example.ORG", next=page)
    assert (answer.status_code, answer.url) == (302, page)


def test_next_does_not_lead_to_other_sites(cast):
    assert sign_in(cast.client(), "ada@example.org", next="https://evil.example/").url == "/"


def test_a_wrong_password_is_a_422_with_words_and_after_five_a_429(cast):
    client = cast.client()
    for _ in range(5):
        answer = sign_in(client, "ada@example.org", "wrong")
        assert answer.status_code == 422
        assert "do not belong together" in answer.text
    answer = sign_in(client, "ada@example.org")
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert "Wait 15 minutes" in answer.text


def test_the_demo_logins_are_shown_only_where_the_demo_is(cast):
    assert "red-pen-demo" not in cast.client().get(SIGN_IN).text
    Project.objects.filter(pk=cast.project.pk).update(is_demo=True)
    page = cast.client().get(SIGN_IN).text
    assert page.count("Sign in as") == 5
    assert "<script>" not in page


@pytest.mark.django_db
def test_an_empty_installation_says_how_to_begin(client):
    assert "createsuperuser" in client.get(SIGN_IN).text


def test_signing_out_takes_a_post(cast):
    client = cast.client(cast.ada)
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").url == SIGN_IN
    assert client.get("/account/").url.startswith(SIGN_IN)


def test_a_new_project_opens_with_its_maker_as_admin(cast):
    answer = cast.client(cast.vic).post("/projects/new/", {"name": "Harbour", "description": ""})
    assert (answer.status_code, answer.url) == (302, "/p/harbour/")
    assert role_of(cast.vic, Project.objects.get(slug="harbour")) == "admin"
    assert cast.client(cast.vic).post("/projects/new/", {"name": " "}).status_code == 422


def test_the_link_of_an_invitation_is_shown_once_and_works(cast):
    client = cast.client(cast.ada)
    answer = client.post("/p/lantern/members/invite/", {"role": "reviewer", "note": "Nia"})
    assert (answer.status_code, answer.url) == (302, "/p/lantern/members/")
    page = client.get(answer.url)
    [link] = re.findall(r'value="http://testserver(/invite/[^"]+/)"', page.text)
    assert page["Cache-Control"].count("no-store")
    assert "testserver/invite/" not in client.get(answer.url).text

    visitor = cast.client()
    assert "as <strong>reviewer</strong>" in visitor.get(link).text
    refused = visitor.post(link, {"name": "Nia", "email": "ada@example.org", "password": PASSWORD})
    assert refused.status_code == 422
    assert "There is an account with this address already" in refused.text
    joined = visitor.post(link, {"name": "Nia", "email": "nia@example.org", "password": PASSWORD})
    assert (joined.status_code, joined.url) == (302, "/p/lantern/")
    assert visitor.get("/account/").status_code == 200
    assert role_of(User.objects.get(name="Nia"), cast.project) == "reviewer"
    assert cast.client().get(link).status_code == 409


def test_somebody_with_an_account_joins_with_one_button(cast):
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    client = cast.client(cast.zoe)
    assert "Join as viewer" in client.get(f"/invite/{token}/").text
    assert client.post(f"/invite/{token}/").url == "/p/lantern/"


def test_an_invitation_is_taken_back(cast):
    invitation, token = invite(project=cast.project, actor=cast.ada, role="viewer")
    client = cast.client(cast.ada)
    assert client.post(f"/p/lantern/invitations/{invitation.pk}/revoke/").status_code == 302
    assert Invitation.objects.get().revoked_at
    assert cast.client().get(f"/invite/{token}/").status_code == 409


def member_url(cast, user, what):
    return f"/p/lantern/members/{Membership.objects.get(project=cast.project, user=user).pk}/{what}/"


def test_an_admin_changes_a_role_and_removes(cast):
    client = cast.client(cast.ada)
    client.post(member_url(cast, cast.ben, "role"), {"role": "developer"})
    assert role_of(cast.ben, cast.project) == "developer"
    client.post(member_url(cast, cast.ben, "remove"))
    assert role_of(cast.ben, cast.project) is None


def test_the_last_admin_is_told_why_he_stays(cast):
    answer = cast.client(cast.ada).post("/p/lantern/leave/")
    assert answer.status_code == 409
    assert "keeps at least one admin" in answer.text


def test_leaving_ends_what_one_sees(cast):
    client = cast.client(cast.vic)
    assert client.post("/p/lantern/leave/").url == "/account/"
    assert client.get("/p/lantern/members/").status_code == 404


def test_only_admins_see_addresses_of_others(cast):
    assert "ben@example.org" in cast.client(cast.ada).get("/p/lantern/members/").text
    seen = cast.client(cast.vic).get("/p/lantern/members/").text
    assert "Ben" in seen
    assert "ben@example.org" not in seen


def test_a_password_is_changed_and_other_sessions_end(cast):
    here, elsewhere = cast.client(), cast.client()
    for client in (here, elsewhere):
        sign_in(client, "ada@example.org")
    new = "another good password"
    answer = here.post("/account/password/", {"old_password": "x", "new_password1": new, "new_password2": new})
    assert answer.status_code == 422
    answer = here.post("/account/password/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert answer.url == "/account/"
    assert here.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302


def test_a_reset_link_from_an_admin_sets_a_password_once(cast):
    client = cast.client(cast.ada)
    page = client.get(client.post(member_url(cast, cast.ben, "reset-link")).url).text
    [link] = re.findall(r'value="http://testserver(/password/reset/[^"]+/)"', page)
    visitor = cast.client()
    form = visitor.get(link, follow=True)
    new = "another good password"
    answer = visitor.post(form.redirect_chain[-1][0], {"new_password1": new, "new_password2": new})
    assert answer.url == SIGN_IN
    assert sign_in(visitor, "ben@example.org", new).url == "/"
    assert cast.client().get(link, follow=True).status_code == 404


def test_without_a_mail_server_the_page_says_who_can_help(cast, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    page = cast.client().get("/password/forgotten/").text
    assert "reset_link" in page
    assert "<form" not in page.partition("<main")[2]


def test_with_one_a_letter_brings_the_link_to_those_who_are_known(cast, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    client = cast.client()
    for email in ("ada@example.org", "nobody@example.org"):
        assert client.post("/password/forgotten/", {"email": email}).url == SIGN_IN
    [letter] = mail.outbox
    assert letter.to == ["ada@example.org"]
    [link] = re.findall(r"http://testserver(/password/reset/\S+)", letter.body)
    assert client.get(link, follow=True).status_code == 200


def test_the_name_is_changed(cast):
    cast.client(cast.ben).post("/account/name/", {"name": "Benedict"})
    cast.ben.refresh_from_db()
    assert cast.ben.name == "Benedict"
    assert cast.client(cast.ben).post("/account/name/", {"name": ""}).status_code == 422


def test_settings_rename_the_project(cast):
    client = cast.client(cast.ada)
    assert client.post("/p/lantern/settings/", {"name": "Lamp", "description": "x"}).url == "/p/lantern/settings/"
    assert "Lamp" in client.get("/p/lantern/settings/").text


def test_the_audit_page_filters_and_pages(cast):
    client = cast.client(cast.ada)
    for number in range(60):
        client.post("/p/lantern/settings/", {"name": f"Lantern {number}"})
    client.post("/p/lantern/members/invite/", {"role": "viewer"})
    first = client.get("/p/lantern/audit/")
    assert first.text.count("<code>project.changed</code>") == 49
    [following] = re.findall(r'href="([^"]+)" rel="next"', first.text)
    assert client.get(following).text.count("<code>project.changed</code>") == 11
    only = client.get(f"/p/lantern/audit/?action=invitation.made&person={cast.ada.pk}").text
    assert only.count("<code>invitation.made</code>") == 1
    assert "<code>project.changed</code>" not in only
    assert "Nothing of the kind" in client.get(f"/p/lantern/audit/?person={cast.ben.pk}").text
    assert client.get("/p/lantern/audit/?after=nonsense").status_code == 400


@pytest.mark.parametrize("page", ["members", "audit"])
def test_a_list_asks_as_often_for_twenty_rows_as_for_one(cast, page):
    client = cast.client(cast.ada)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/p/lantern/{page}/").status_code == 200
        return len(captured)

    audit.record("project.created", project=cast.project, actor=cast.ada)
    few = queries()
    for number in range(20):
        person = make_user(f"Person{number}")
        join(cast.project, person, "viewer")
        audit.record("project.created", project=cast.project, actor=person)
        invite(project=cast.project, actor=person, role="viewer")
    assert queries() == few
    assert few < 15
