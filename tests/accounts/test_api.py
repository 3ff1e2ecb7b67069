import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from redpen.accounts import audit
from redpen.accounts.actions.invitations import invite
from redpen.accounts.models import Membership
from redpen.accounts.rules import role_of
from tests.cast import join, make_user

JSON = "application/json"


def member(cast, user):
    return str(Membership.objects.get(project=cast.project, user=user).pk)


def test_me_is_who_is_signed_in(cast):
    client = cast.client(cast.ben)
    assert client.get("/api/v1/me").json()["email"] == "ben@example.org"
    assert client.patch("/api/v1/me", {"name": "Benedict"}, JSON).json()["name"] == "Benedict"
    answer = cast.client().get("/api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.not_signed_in")


def test_a_project_is_made_listed_and_renamed(cast):
    client = cast.client(cast.ben)
    made = client.post("/api/v1/projects", {"name": "Harbour", "slug": "port"}, JSON)
    assert (made.status_code, made.json()["slug"]) == (201, "port")
    again = client.post("/api/v1/projects", {"name": "Harbour", "slug": "port"}, JSON)
    assert (again.status_code, again.json()["code"]) == (409, "project.slug_taken")
    listed = client.get("/api/v1/projects").json()
    assert [(item["project"]["slug"], item["role"]) for item in listed["items"]] == [
        ("lantern", "annotator"),
        ("port", "admin"),
    ]
    assert client.patch("/api/v1/projects/port", {"name": "Port"}, JSON).json()["name"] == "Port"


def test_what_a_body_may_not_hold_is_refused_by_name(cast):
    client = cast.client(cast.ben)
    answer = client.post("/api/v1/projects", {"name": "X", "is_demo": True}, JSON)
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["pointer"] == "/is_demo"
    assert client.post("/api/v1/projects", {"name": "a\0b"}, JSON).json()["problems"][0]["pointer"] == "/name"
    assert client.post("/api/v1/projects", "[]", JSON).status_code == 400
    assert client.post("/api/v1/projects", {"slug": "no spaces", "name": "X"}, JSON).status_code == 422


def test_members_are_listed_with_addresses_for_admins_only(cast):
    for_ada = cast.client(cast.ada).get("/api/v1/projects/lantern/members").json()["items"]
    for_vic = cast.client(cast.vic).get("/api/v1/projects/lantern/members").json()["items"]
    assert {item["email"] for item in for_vic} == {""}
    assert "ben@example.org" in {item["email"] for item in for_ada}
    assert [item["role"] for item in for_ada] == [item["role"] for item in for_vic]


def test_a_role_is_changed_and_a_member_removed(cast):
    client = cast.client(cast.ada)
    url = f"/api/v1/projects/lantern/members/{member(cast, cast.ben)}"
    assert client.patch(url, {"role": "reviewer"}, JSON).json()["role"] == "reviewer"
    assert client.patch(url, {"role": "owner"}, JSON).status_code == 422
    assert client.delete(url).status_code == 204
    assert client.delete(url).status_code == 404
    assert role_of(cast.ben, cast.project) is None


def test_one_may_delete_ones_own_membership_and_nobody_elses(cast):
    client = cast.client(cast.vic)
    assert client.delete(f"/api/v1/projects/lantern/members/{member(cast, cast.ben)}").status_code == 403
    assert client.delete(f"/api/v1/projects/lantern/members/{member(cast, cast.vic)}").status_code == 204
    last = cast.client(cast.ada).delete(f"/api/v1/projects/lantern/members/{member(cast, cast.ada)}")
    assert (last.status_code, last.json()["code"]) == (409, "project.last_admin")


def test_an_invitation_is_made_listed_used_and_taken_back(cast):
    client = cast.client(cast.ada)
    made = client.post("/api/v1/projects/lantern/invitations", {"role": "viewer", "note": "Zoe"}, JSON)
    assert made.status_code == 201
    token = made.json()["token"]
    [listed] = client.get("/api/v1/projects/lantern/invitations").json()["items"]
    assert (listed["note"], "token" in listed) == ("Zoe", False)
    joined = cast.client(cast.zoe).post("/api/v1/invitations/accept", {"token": token}, JSON)
    assert (joined.status_code, joined.json()["role"]) == (200, "viewer")
    other = client.post("/api/v1/projects/lantern/invitations", {"role": "viewer"}, JSON).json()["id"]
    assert client.delete(f"/api/v1/projects/lantern/invitations/{other}").status_code == 204


def test_a_reset_link_is_made_for_a_member(cast):
    url = f"/api/v1/projects/lantern/members/{member(cast, cast.ben)}/reset-link"
    assert cast.client(cast.ada).post(url).json()["path"].startswith("/password/reset/")


def test_the_audit_trail_is_filtered_and_paged(cast):
    for number in range(60):
        audit.record("span.marked", project=cast.project, actor=cast.ben, n=number)
    audit.record("span.retracted", project=cast.project, agent="sim:ines")
    client = cast.client(cast.mia)
    first = client.get("/api/v1/projects/lantern/audit").json()
    assert (len(first["items"]), first["items"][0]["agent"]) == (50, "sim:ines")
    second = client.get("/api/v1/projects/lantern/audit", {"cursor": first["next"]}).json()
    assert (len(second["items"]), second["next"]) == (11, None)
    mine = client.get("/api/v1/projects/lantern/audit", {"actor": str(cast.mia.pk)}).json()
    assert mine["items"] == []


@pytest.mark.parametrize("path", ["projects", "projects/lantern/members", "projects/lantern/invitations"])
def test_a_list_asks_as_often_for_twenty_rows_as_for_one(cast, path):
    client = cast.client(cast.ada)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/api/v1/{path}").status_code == 200
        return len(captured)

    invite(project=cast.project, actor=cast.ada, role="viewer")
    few = queries()
    for number in range(20):
        join(cast.project, make_user(f"Person{number}"), "viewer")
        invite(project=cast.project, actor=cast.ada, role="viewer")
    assert queries() == few <= 6


def test_the_schema_is_whole(cast):
    answer = cast.client(cast.ada).get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert answer.status_code == 200
    paths = answer.json()["paths"]
    assert {"/api/v1/me", "/api/v1/projects", "/api/v1/projects/{slug}/members/{member_id}"} <= set(paths)
