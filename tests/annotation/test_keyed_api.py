"""What a key opens and what it does not: projects, scopes, test and live, revoked ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.annotation.keyed import SCOPES, Keyed, asking, make_answer, make_key, make_reaction

READS = ["responses", "reactions", "records", "reaction-kinds"]


@pytest.fixture
def both(desk):
    """An answer with a tap in each project, live and test."""
    from annotation.actions.campaigns import furnish

    cast = desk.cast
    furnish(project=cast.other_project, actor=cast.zoe)
    for project in (cast.project, cast.other_project):
        for test in (False, True):
            name = f"{project.slug}-{'test' if test else 'live'}"
            answer = make_answer(project, f"Answer of {name}", external_id=name, test=test)
            make_reaction(
                project, "dislike", response=answer, external_user="u-1", external_id=f"tap-{name}", test=test
            )
    return cast


@pytest.mark.parametrize("path", READS)
def test_nobody_reads_without_a_key(path, both):
    for asks in (Keyed(""), Keyed("rp_live_nonsense_x"), Keyed("rp_live_\udcff")):
        refused = asks.get(path) if asks.token.isascii() else Keyed("é").get(path)
        assert refused.status_code == 401
        assert refused["Content-Type"] == "application/problem+json"
        assert refused["WWW-Authenticate"] == 'Bearer realm="redpen"'
        assert refused.json()["code"] == "key.unknown"


@pytest.mark.parametrize("path", READS)
def test_a_key_in_the_address_opens_nothing(path, both):
    token = make_key(both.project)[1]
    assert Keyed("").get(path, key=token).status_code == 401


def test_a_session_opens_nothing_and_needs_no_csrf_token(both):
    client = both.client(both.ada, enforce_csrf_checks=True)
    assert client.get("/api/v1/responses").status_code == 401
    token = make_key(both.project)[1]
    body = {"key": "bookmark", "polarity": 1}
    made = client.post(
        "/api/v1/reaction-kinds",
        body,
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert made.status_code == 201


@pytest.mark.parametrize("path", READS)
def test_a_key_without_the_scope_reads_nothing(path, both):
    refused = asking(both.project, scopes=["responses.write", "reactions.write"]).get(path)
    assert refused.status_code == 403
    assert refused.json()["code"] == "key.scope_missing"
    assert "read" in refused.json()["detail"]


@pytest.mark.parametrize("path", READS)
def test_a_public_key_never_reads(path, both):
    public = asking(both.project, scopes=["reactions.write"], public=True, origins=["https://shop.example"])
    assert public.get(path).status_code == 403
    assert public.post("reaction-kinds", {"key": "x"}).status_code == 403


def test_a_key_that_is_revoked_or_expired_stops_at_once(both):
    key, token = make_key(both.project)
    asks = Keyed(token)
    assert asks.get("responses").status_code == 200
    key.expires_at = timezone.now() - timedelta(hours=1)
    key.save()
    assert asks.get("responses").status_code == 401
    key.expires_at, key.revoked_at = None, timezone.now()
    key.save()
    assert asks.get("responses").status_code == 401


def test_when_a_key_was_used_is_written_once_a_minute(both, django_assert_num_queries):
    key, token = make_key(both.project)
    Keyed(token).get("reaction-kinds")
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    with django_assert_num_queries(2):  # the key, the kinds
        Keyed(token).get("reaction-kinds")
    key.last_used_at = timezone.now() - timedelta(minutes=2)
    key.save()
    Keyed(token).get("reaction-kinds")
    key.refresh_from_db()
    assert key.last_used_at > first


@pytest.mark.parametrize("test", [False, True], ids=["live", "test"])
def test_a_key_sees_its_own_project_and_its_own_kind_of_data(test, both):
    asks = asking(both.project, test=test)
    mine = f"lantern-{'test' if test else 'live'}"
    others = [f"{slug}-{kind}" for slug in ("lantern", "quarry") for kind in ("live", "test")]
    others.remove(mine)
    assert [row["external_id"] for row in asks.get("responses").json()["items"] if row["external_id"]] == [mine]
    assert [row["external_id"] for row in asks.get("reactions").json()["items"]] == [f"tap-{mine}"]
    assert [row["response"] for row in asks.get("records", kind="reaction").json()["items"]] == [mine]
    assert asks.get(f"responses/{mine}").json()["text"] == f"Answer of {mine}"
    assert asks.get(f"reactions/tap-{mine}").json()["kind"] == "dislike"
    from annotation.models import Reaction, Response

    for name in others:
        ours = Response.objects.get(external_id=name).pk
        tap = Reaction.objects.get(external_id=f"tap-{name}").pk
        for path in (f"responses/{name}", f"responses/{ours}", f"reactions/tap-{name}", f"reactions/{tap}"):
            assert asks.get(path).status_code == 404, path
        assert asks.get("records", response=str(ours)).status_code == 404
        assert asks.get("reactions", response=str(ours)).json()["items"] == []
        assert asks.get("responses", parent=str(ours)).json()["items"] == []
        assert asks.get("responses", external_id=name).json()["items"] == []


def test_filters_narrow_a_list_of_answers(both):
    project, version = both.project, "018f0000-0000-7000-8000-000000000001"
    first = make_answer(project, external_id="a/1?", model="m-1", conversation="c", turn=1, language="de-AT")
    second = make_answer(
        project, model="m-2", conversation="c", turn=2, external_user="u-9", parent=first, model_version=version
    )
    third = make_answer(project, model="m-2", parent_external_id="not-yet")
    asks = asking(project)

    def ids(**params):
        found = asks.get("responses", **params)
        assert found.status_code == 200, found.text
        return [row["id"] for row in found.json()["items"]]

    assert ids(model="m-2") == [str(third.pk), str(second.pk)]
    assert ids(conversation="c") == [str(second.pk), str(first.pk)]
    assert ids(user="u-9") == ids(model_version=version) == ids(parent="a/1?") == ids(parent=first.pk)
    assert ids(user="u-9") == [str(second.pk)]
    assert ids(language="de-AT") == ids(external_id="a/1?") == [str(first.pk)]
    assert ids(parent="not-yet") == [str(third.pk)]
    assert set(ids(external_id=["a/1?", "lantern-live"])) > {str(first.pk)}
    later = (timezone.now() + timedelta(minutes=1)).isoformat()
    assert len(ids(until=later)) == len(ids())
    assert ids(since=later) == []


def test_an_answer_stands_in_its_conversation(both):
    project = both.project
    turns = [make_answer(project, str(turn), conversation="c", turn=turn, external_id=f"t{turn}") for turn in (1, 2, 3)]
    again = make_answer(project, "2, better", conversation="other", turn=2, parent=turns[1], external_id="t2b")
    tap = make_reaction(project, "like", response=turns[1], external_user="u", external_id="x")
    make_reaction(project, "shown", response=turns[1], external_user="u", external_id="y")
    row = asking(project).get("responses/t2").json()
    assert (row["previous"]["external_id"], row["following"]["external_id"]) == ("t1", "t3")
    assert [one["id"] for one in row["replaced_by"]] == [str(again.pk)]
    assert str(tap.pk) in [one["id"] for one in row["reactions"]]
    assert row["records"] == {"reaction": 2}
    assert asking(project).get("responses/t2b").json()["parent"] == str(turns[1].pk)


def test_filters_narrow_a_list_of_reactions(both):
    from annotation.actions.reactions import withdraw
    from annotation.models import ReactionKind

    project = both.project
    answer = make_answer(project, external_id="r-7")
    like = make_reaction(project, "like", response=answer, external_user="u-7")
    make_reaction(project, "shown", response=answer, external_user="u-7")
    make_reaction(project, "like", response_external_id="later", external_user="u-8")
    kind = ReactionKind.objects.get(project=project, key="like")
    withdraw(author=_author(), response=answer, kind=kind, external_user="u-7")
    asks = asking(project)

    def kinds(**params):
        return [row["kind"] for row in asks.get("reactions", **params).json()["items"]]

    assert kinds(user="u-7") == kinds(response="r-7") == kinds(response=str(answer.pk)) == ["shown"]
    assert kinds(user="u-7", state="ended") == ["like", "like"]
    assert kinds(user="u-7", state="all", kind="like") == ["like", "like"]
    assert kinds(response="later") == ["like"]
    assert asks.get(f"reactions/{like.pk}").json()["end_reason"] == "retracted"


def _author():
    from annotation.actions.people import Author

    return Author(agent="key:x")


@pytest.mark.parametrize("path", ["responses", "reactions", "records"])
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_pages_by_key_show_everything_once(path, order, both, monkeypatch):
    from annotation.api import keyed, keyed_reading

    monkeypatch.setattr(keyed, "SETTLED", timedelta(seconds=-5))
    monkeypatch.setattr(keyed_reading, "SETTLED", timedelta(seconds=-5))
    project = both.project
    answers = [make_answer(project, external_id=f"p-{n}") for n in range(5)]
    for n, answer in enumerate(answers):
        make_reaction(project, "like", response=answer, external_user=f"p-{n}")
    asks, seen, cursor = asking(project), [], {}
    while True:
        got = asks.get(path, limit=2, order=order, **cursor).json()
        seen += [row["id"] for row in got["items"]]
        if got["next"] is None:
            break
        assert len(got["items"]) == 2
        cursor = {"cursor": got["next"]}
    assert len(seen) == len(set(seen)) >= 5
    assert seen == sorted(seen, reverse=order == "desc")


def test_read_forwards_a_list_stops_a_moment_ago(both):
    make_answer(both.project, external_id="just now")
    asks = asking(both.project)
    assert asks.get("responses", order="desc").json()["items"][0]["external_id"] == "just now"
    assert asks.get("responses", order="asc").json()["items"] == []
    assert asks.get("records", order="asc").json()["items"] == []


BAD = {
    "responses": [
        ("cursor", "x"), ("limit", "0"), ("limit", "١"), ("order", "up"), ("model_version", "1"),
        ("since", "yesterday"), ("since", "2026-11-24T20:00:00"),
        ("until", "9999-12-31T23:59:59Z"), ("user", "u" * 201),
        ("model", "m" * 201), ("language", "l" * 36), ("state", "live"),
        ("no such", "filter"), ("since", "2026-13-45T20:00:00Z"),
    ],
    "reactions": [("kind", "nonsense"), ("state", "dead"), ("model", "m")],
    "records": [("kind", "nonsense"), ("state", "dead"), ("text", "x"), ("cursor", "1")],
    "reaction-kinds": [("kind", "x")],
}  # fmt: skip


@pytest.mark.parametrize(("path", "name", "value"), [(path, *pair) for path, pairs in BAD.items() for pair in pairs])
def test_a_filter_that_makes_no_sense_is_refused_by_name(path, name, value, both):
    refused = asking(both.project).get(path, **{name: value})
    assert refused.status_code == 422, refused.text
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["problems"][0]["pointer"].startswith(f"/{name}")


@pytest.mark.parametrize("path", ["responses", "reactions", "records", "export"])
@pytest.mark.parametrize(
    "at", ["7337-02-18T22:35:16.0+21:38", "1970-01-01T00:00:00-23:59", "2026-11-24T20:00:00+02:00"]
)
def test_any_offset_of_a_zone_is_one(path, at, both):
    for name in ("since", "until"):
        answer = asking(both.project).get(path, **{name: at})
        if answer.streaming:
            list(answer.streaming_content)  # an export holds its place until it is read
        assert answer.status_code in (200, 422)


@pytest.mark.parametrize("path", READS)
def test_a_filter_that_cannot_be_text_is_refused(path, both):
    for name in ("model", "user", "external_id", "parent", "response", "kind"):
        assert asking(both.project).get(path, **{name: "\0"}).status_code in (400, 422)


@pytest.mark.parametrize("path", ["responses/%00", "reactions/%00", f"responses/{'x' * 300}", "responses/%ED%A0%80"])
def test_a_name_that_cannot_be_one_is_no_fault_of_ours(path, both):
    from django.test import Client

    token = make_key(both.project)[1]
    got = Client().get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
    assert got.status_code in (400, 404, 422)


def test_other_methods_are_named(both):
    asks = asking(both.project)
    assert asks.post("responses", {}).status_code == 405
    assert asks.post("responses", {})["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert asks.delete("reactions/x")["Allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_a_kind_of_reaction_is_declared_once(both):
    asks = asking(both.project)
    body = {"key": "bookmark", "name": "Bookmarked", "polarity": 1}
    assert asks.post("reaction-kinds", body).status_code == 201
    again = asks.post("reaction-kinds", body)
    assert (again.status_code, again.json()) == (200, {**body, "built_in": False})
    assert body["key"] in [row["key"] for row in asks.get("reaction-kinds").json()["items"]]
    refused = asks.post("reaction-kinds", {**body, "polarity": -1})
    assert (refused.status_code, refused.json()["data"]["polarity"]) == (409, 1)
    unnamed = asks.post("reaction-kinds", {"key": "thumbs_up"}).json()
    assert unnamed == {"key": "thumbs_up", "name": "Thumbs up", "polarity": 0, "built_in": False}
    for bad in ({"key": "Ä"}, {"key": ""}, {"key": "x", "polarity": 2}, {"key": "x", "more": 1}, {}, []):
        assert asks.post("reaction-kinds", bad).status_code == 422, bad


def test_all_scopes_have_a_test():
    from redpen.accounts.models import ApiKey

    assert set(SCOPES) == set(ApiKey.Scope.values)


def test_the_shapes_and_the_schema_say_the_same(both):
    from annotation.api import keyed_shapes as shapes

    asks = asking(both.project)
    pairs = [
        ("responses", shapes.KeyedAnswerOutput),
        ("reactions", shapes.KeyedReactionOutput),
        ("reaction-kinds", shapes.KeyedKindOutput),
    ]
    for path, output in pairs:
        for row in asks.get(path).json()["items"]:
            assert set(row) == set(output().fields)
    in_full = asks.get("responses/lantern-live").json()
    assert set(in_full) == set(shapes.KeyedAnswerInFullOutput().fields)
    record = asks.get("records").json()["items"][0]
    assert set(shapes.KeyedRecordOutput().fields) <= set(record)
