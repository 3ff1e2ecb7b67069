"""Users who are left out: by the judging or by a person, out of rates and snapshots, and back by one click."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from annotation.actions import counting, honesty, judging
from annotation.actions.people import Author
from annotation.erasure import erasing
from annotation.models import IntakeSettings, LeftOut, ProductUser, Reaction, SpanCritique
from redpen.accounts.models import AuditEvent
from tests.annotation.stream import Stream, rates_of
from training.actions.snapshots import build_snapshot, folder
from training.snapshots import files
from training.snapshots.query import SnapshotQuery

JSON = "application/json"
LIKES = {("m-1", "", None): 1, ("m-1", "", "like"): 1}


@pytest.fixture
def shop(cast) -> Stream:
    """Two users of one answer, one of whom will not be believed."""
    stream = Stream(cast.project)
    stream.answer()
    stream.tap(user="bought", spans=[{"start": 9, "end": 13, "quote": "king"}])
    stream.tap(user="honest", minute=1)
    counting.catch_up()
    judging.judge_due(everything=True)
    return stream


@pytest.fixture
def mia(cast):
    return cast.client(cast.mia)


def user_of(shop: Stream, name: str = "bought") -> ProductUser:
    return ProductUser.objects.get(project=shop.project, name=name)


def decide(shop: Stream, cast, left_out: bool | None, name: str = "bought") -> ProductUser:
    return honesty.decide(author=Author.person(cast.mia), user=user_of(shop, name), left_out=left_out)


def found(shop: Stream, name: str, score: float) -> tuple[list[str], list[str]]:
    """As if the judging had found this score."""
    reasons = [{"code": "always", "words": "reacted to everything", "strength": score, "data": {}}]
    one = honesty.Judged(name=name, due=0, score=score, left_out=score >= 0.9, reasons=reasons)
    return honesty.write_judged(project=shop.project, test=False, judged=[one])


def api(cast, path: str) -> str:
    return f"/api/v1/projects/{cast.project.slug}/{path}"


# ---- what is counted of a user ----


def test_a_user_is_summed_up_and_judged_when_something_came(shop):
    one = user_of(shop)
    assert (one.shown, one.reacted, one.tapped, one.versions) == (1, 1, {"like": 1}, {"m-1": [1, 1, 0]})
    assert (one.score, one.reasons, one.left_out, one.due) == (0, [], False, 0)
    before = one.judged_at
    shop.answer("b")
    shop.tap("dislike", on="b", user="honest", minute=2)
    counting.catch_up()
    assert judging.judge_due(everything=True).judged == 2  # in a test nothing is committed: both are new
    assert user_of(shop, "honest").versions == {"m-1": [2, 1, 1]}
    assert user_of(shop).judged_at >= before


def test_who_came_while_judging_stays_due(shop):
    ProductUser.objects.filter(name="bought").update(due=3)
    one = honesty.Judged(name="bought", due=2, score=0.0, left_out=False)
    honesty.write_judged(project=shop.project, test=False, judged=[one])
    assert user_of(shop).due == 1


def test_one_user_counts_with_a_bounded_number_of_answers(shop, monkeypatch):
    for number in range(5):
        shop.answer(f"more-{number}")
        shop.tap(on=f"more-{number}", user="bought", minute=10 + number)
    counting.catch_up()
    monkeypatch.setattr(judging, "most_answers", lambda shown: 3)
    judging.judge_due(everything=True)
    assert rates_of(shop.project, left_out=False)["m-1", "", None] == 3 + 1
    assert rates_of(shop.project, left_out=True)["m-1", "", None] == 3
    shop.answer("later")
    shop.tap(on="later", user="bought", minute=30)
    counting.catch_up()  # known at once, before anybody is judged again
    assert rates_of(shop.project, left_out=True)["m-1", "", None] == 4
    monkeypatch.undo()
    judging.judge_due(everything=True, everybody=True)
    assert rates_of(shop.project, left_out=True) == {}
    assert not counting.check(shop.project)


def test_users_of_test_keys_are_others(shop, cast):
    shop.answer("t", test=True)
    shop.tap(on="t", user="bought", test=True)
    counting.catch_up()
    judging.judge_due(everything=True)
    decide_on = ProductUser.objects.get(name="bought", test=True)
    honesty.decide(author=Author.person(cast.mia), user=decide_on, left_out=True)
    assert rates_of(shop.project, test=False, left_out=True) == {}
    assert rates_of(shop.project, test=True, left_out=True) != {}


# ---- the switch ----


def test_the_judging_leaves_out_and_lets_in_again(shop):
    assert found(shop, "bought", 0.95) == (["bought"], [])
    assert rates_of(shop.project, left_out=True) == rates_of(shop.project, left_out=False) == LIKES
    assert found(shop, "bought", 0.2) == ([], ["bought"])
    assert rates_of(shop.project, left_out=True) == {}
    assert Reaction.objects.count() == 2
    lines = AuditEvent.objects.filter(action="honesty.judged").order_by("id").values_list("data", flat=True)
    assert [(line["left_out"], line["let_in"]) for line in lines] == [(1, 0), (0, 1)]


def test_what_a_person_decided_stays_until_it_is_taken_back(shop, cast):
    found(shop, "bought", 0.95)
    decide(shop, cast, False)
    assert rates_of(shop.project, left_out=True) == {}
    found(shop, "bought", 0.99)
    one = user_of(shop)
    assert (one.left_out, one.score, one.decided_by) == (False, 0.99, cast.mia)
    one = decide(shop, cast, None)
    assert (one.left_out, one.decided_by, one.decided_at) == (True, None, None)
    assert rates_of(shop.project, left_out=True) == LIKES
    decide(shop, cast, True, "honest")
    found(shop, "honest", 0.0)
    assert user_of(shop, "honest").left_out
    assert AuditEvent.objects.filter(action="honesty.decided").count() == 3
    decide(shop, cast, True, "honest")  # said once more
    assert AuditEvent.objects.filter(action="honesty.decided").count() == 3


# ---- snapshots ----


def test_a_snapshot_leaves_them_out_says_so_and_an_older_one_stays_what_it_was(shop, cast):
    reactions = SnapshotQuery(kinds=("reaction", "response"))
    assert SpanCritique.objects.get().external_user == "bought"
    before = build_snapshot(cast.project, reactions, cast.ada)
    assert before.counts["records"] == {"reaction": 2, "span": 1}
    assert "left_out" not in before.counts
    decide(shop, cast, True)
    without = build_snapshot(cast.project, reactions, cast.ada)
    assert without.counts["records"] == {"reaction": 1}
    assert without.counts["left_out"] == {"users": 1, "records": {"reaction": 1, "response": 1}}
    assert files.manifest(folder(without))["query"]["leave_out"] is True
    # the older query over the same records, after the decision
    assert build_again(before) == before.content_hash
    decide(shop, cast, False)
    assert build_again(without) == without.content_hash


def test_a_project_or_a_query_may_keep_everybody(shop, cast):
    decide(shop, cast, True)
    everybody = SnapshotQuery(kinds=("reaction",), leave_out=False)
    assert build_snapshot(cast.project, everybody, cast.ada).counts["records"] == {"reaction": 2}
    IntakeSettings.objects.update_or_create(project=cast.project, defaults={"leave_out": False})
    as_set = build_snapshot(cast.project, SnapshotQuery(kinds=("reaction",)), cast.ada)
    assert (as_set.counts["records"], as_set.query["leave_out"]) == ({"reaction": 2}, False)


def build_again(snapshot) -> str:
    from training.actions.snapshots import write_snapshot
    from training.models import Snapshot

    again = Snapshot.objects.create(project=snapshot.project, name="again", query=snapshot.query)
    return write_snapshot(again).content_hash


# ---- API and pages ----


def test_users_are_listed_by_doubt_filtered_and_paged(shop, cast, mia):
    for name, score in (("bought", 0.95), ("maybe", 0.6), ("honest", 0.1)):
        ProductUser.objects.update_or_create(project=cast.project, test=False, name=name)
        found(shop, name, score)

    def names(query: str = "") -> list[str]:
        return [one["name"] for one in mia.get(api(cast, f"users{query}")).json()["items"]]

    assert names() == ["bought", "maybe", "honest"]
    assert names("?show=left_out") == ["bought"]
    assert names("?show=doubtful") == ["maybe"]
    assert names("?name=on") == ["honest"]
    assert names("?test=true") == []
    assert names("?sort=latest")[-1] == "maybe"  # who was never seen
    for sort in ("score", "shown", "latest"):
        first = mia.get(api(cast, f"users?limit=1&sort={sort}")).json()
        walked = [first["items"][0]["name"]]
        while first["next"]:
            first = mia.get(api(cast, f"users?limit=1&sort={sort}&cursor={first['next']}")).json()
            walked.append(first["items"][0]["name"])
        assert sorted(walked) == ["bought", "honest", "maybe"]
    for bad in ("?show=x", "?sort=x", "?cursor=x", "?limit=0", "?test=1"):
        assert mia.get(api(cast, f"users{bad}")).status_code == 422, bad


def test_one_request_decides_and_one_takes_it_back(shop, cast, mia):
    path = api(cast, f"users/{user_of(shop).pk}")
    said = mia.patch(path, {"left_out": True}, JSON).json()
    assert (said["left_out"], said["decided_by"]) == (True, str(cast.mia.pk))
    said = mia.patch(path, {"left_out": None}, JSON).json()
    assert (said["left_out"], said["decided_by"]) == (False, None)
    assert mia.patch(path, {}, JSON).status_code == 422
    assert mia.patch(path, {"left_out": "perhaps"}, JSON).status_code == 422
    assert cast.client(cast.dev).patch(path, {"left_out": True}, JSON).status_code == 403


def test_the_pages_say_why_and_one_click_takes_it_back(shop, cast, mia):
    found(shop, "bought", 0.95)
    one = user_of(shop)
    page = mia.get(f"/p/{cast.project.slug}/live/users/").text
    assert all(words in page for words in ("bought", "reacted to everything", "left out"))
    of_user = f"/p/{cast.project.slug}/live/users/{one.pk}/"
    assert "Count this user" in mia.get(of_user).text
    page = mia.post(f"{of_user}decision/", {"decision": "in"}, follow=True).text
    assert ("Undo: leave it to the judging" in page, user_of(shop).left_out) == (True, False)
    page = mia.post(f"{of_user}decision/", {"decision": "automatic"}, follow=True).text
    assert ("Undo" in page, user_of(shop).left_out) == (False, True)
    assert mia.post(f"{of_user}decision/", {"decision": "x"}, follow=True).status_code == 200
    assert "Count this user" not in cast.client(cast.vic).get(of_user).text


def test_the_list_asks_as_much_for_one_user_as_for_twenty(shop, cast, mia, django_assert_max_num_queries):
    ProductUser.objects.bulk_create(
        ProductUser(project=cast.project, test=False, name=f"u-{n}", decided_by=cast.mia) for n in range(20)
    )
    with django_assert_max_num_queries(14):
        mia.get(f"/p/{cast.project.slug}/live/users/")


# ---- the command, erasing ----


def test_the_command_judges_who_is_due(shop, cast, capsys):
    call_command("honesty", "--project", cast.project.slug, "--everybody")
    assert "2 users judged: 0 left out now, 0 let in again" in capsys.readouterr().out


def test_what_is_gone_is_no_trouble(shop, cast):
    decide(shop, cast, True)
    with erasing():
        Reaction.objects.filter(external_user="bought").delete()
    counting.recount_users(project=cast.project, test=False, users=["bought"])
    judging.judge_due(everything=True, everybody=True)
    assert (user_of(shop).shown, user_of(shop).left_out) == (0, True)
    assert LeftOut.objects.get().ended_at is None
