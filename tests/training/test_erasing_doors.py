"""Erasing a user by the page, by the session API and with a key."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from annotation.actions import erasing_users, reactions
from annotation.actions.people import Author
from annotation.models import Erasure, Reaction, ReactionKind
from tests.annotation.conftest import make_desk
from tests.annotation.keyed import asking

WHO = "customer 4711/ö"


@pytest.fixture
def shop(cast, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    desk = make_desk(cast)
    kind = ReactionKind.objects.get(project=cast.project, key="like")
    told = {"author": Author.program("x"), "kind": kind, "event_at": timezone.now(), "external_user": WHO}
    reactions.react(response=desk.answer, text="mine", **told)
    reactions.react(response_external_id="t", test=True, **told)
    return desk


@pytest.fixture
def rung(monkeypatch):
    """The erasures for which a worker was woken."""
    found = []
    monkeypatch.setattr("annotation.tasks.finish_erasure.delay", found.append)
    return found


def test_an_admin_looks_then_erases_and_sees_what_went(shop, rung):
    ada, url = shop.cast.client(shop.cast.ada), reverse("privacy", args=[shop.cast.project.slug])
    page = ada.get(url)
    assert "Nobody." in page.content.decode()
    looked = ada.post(url, {"user": WHO})
    assert looked.status_code == 200
    assert looked.context["counts"] == [("Reaction", 2)]
    assert Reaction.objects.count() == 2
    done = ada.post(url, {"user": WHO, "sure": "yes"})
    row = Erasure.objects.get()
    assert (done.status_code, done.url) == (302, reverse("erasure", args=[shop.cast.project.slug, row.pk]))
    assert (Reaction.objects.count(), row.asked_by, rung) == (0, shop.cast.ada, [str(row.pk)])
    part = ada.get(done.url, headers={"HX-Request": "true"})
    assert "hx-get" in part.content.decode()
    assert "<html" not in part.content.decode()
    erasing_users.finish(row.pk)
    page = ada.get(done.url).content.decode()
    assert "Everything is erased" in page
    assert "hx-get" not in page.split('id="report"')[1]
    assert WHO not in page
    assert WHO not in ada.get(url).content.decode()


@pytest.mark.parametrize("user", ["", "x" * 201, "a\0b", "a\nb"])
def test_a_name_that_cannot_be_one_is_refused_in_the_form(shop, user):
    url = reverse("privacy", args=[shop.cast.project.slug])
    page = shop.cast.client(shop.cast.ada).post(url, {"user": user, "sure": "yes"})
    assert page.status_code == 422
    assert Erasure.objects.count() == 0


def test_the_session_api_erases_and_tells_how_far_it_is(shop, rung):
    ada = shop.cast.client(shop.cast.ada)
    reply = ada.post(shop.api("erasures"), {"user": WHO}, content_type="application/json")
    assert (reply.status_code, reply.json()["status"], reply.json()["erased"]) == (202, "finishing", {"reaction": 2})
    erasing_users.finish(reply.json()["id"])
    told = ada.get(shop.api(f"erasures/{reply.json()['id']}")).json()
    assert (told["status"], told["report"]) == ("erased", {"snapshots": [], "runs": [], "models": []})
    assert ada.get(shop.api("erasures")).json()["items"] == [told]
    refused = ada.post(shop.api("erasures"), {"user": ""}, content_type="application/json")
    assert (refused.status_code, refused.json()["problems"][0]["pointer"]) == (422, "/user")


def test_a_product_erases_its_user_with_a_key(shop, rung):
    key = asking(shop.cast.project, scopes=["reactions.write"])
    reply = key.delete("users/customer%204711%2F%C3%B6")
    assert (reply.status_code, reply.json()["erased"]) == (200, {"reaction": 2})
    again = key.delete("users/customer%204711%2F%C3%B6")
    assert (again.status_code, again.json()["erased"]) == (200, {})
    assert Erasure.objects.filter(agent__startswith="key:rp_live_").count() == 2


def test_a_test_key_erases_test_data_only(shop, rung, tmp_path):
    reply = asking(shop.cast.project, scopes=["reactions.write"], test=True).delete("users/customer%204711%2F%C3%B6")
    assert reply.json()["erased"] == {"reaction": 1}
    assert Reaction.objects.get().test is False
    assert not (tmp_path / "erasures.jsonl").exists()  # or a restore would erase the live data


@pytest.mark.parametrize(("about", "status"), [({"scopes": ["read"]}, 403), ({"scopes": ["responses.write"]}, 403)])
def test_a_key_needs_the_scope(shop, about, status):
    assert asking(shop.cast.project, **about).delete("users/u").status_code == status
    assert Reaction.objects.count() == 2


def test_a_name_with_a_nul_is_a_422(shop):
    assert asking(shop.cast.project).delete("users/a%00b").status_code in (400, 422)
