"""Counting joins, settles and counts what came in."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from annotation.actions import counting
from annotation.models import IntakeSettings, LiveEvent, LiveSlice, RateCell, Reaction, Response, SpanCritique
from tests.annotation.stream import NOON, Stream, exposures_of, rates_of


@pytest.fixture
def shop(cast) -> Stream:
    return Stream(cast.project)


def test_a_tap_counts_once_for_its_user_and_tells_that_the_answer_was_seen(shop):
    shop.answer()
    shop.tap("shown", user="u1")
    shop.tap("shown", user="u2", minute=1)
    shop.tap("like", user="u2", minute=2)
    shop.tap("like", user="u2", minute=3, name="again")
    shop.tap("like", user="u3", minute=90)
    counting.catch_up()
    assert rates_of(shop.project) == {("m-1", "", None): 3, ("m-1", "", "like"): 2}
    assert rates_of(shop.project, grain="hour", at=NOON) == {("m-1", "", None): 2, ("m-1", "", "like"): 1}
    assert rates_of(shop.project, name="language") == {("m-1", "en", None): 3, ("m-1", "en", "like"): 2}


def test_counting_again_changes_nothing(shop):
    shop.answer()
    shop.tap()
    counting.catch_up()
    before = list(RateCell.objects.order_by("pk").values())
    assert counting.catch_up().total("recounted") == 0
    assert list(RateCell.objects.order_by("pk").values()) == before
    assert not counting.check(shop.project)


def test_a_reaction_waits_for_its_answer(shop):
    early = shop.tap("dislike")
    counting.catch_up()
    assert LiveEvent.objects.get(reaction=early).model == ""
    assert rates_of(shop.project) == {}
    answer = shop.answer()
    assert counting.catch_up().total("joined") == 1
    assert Reaction.objects.get().response == answer
    assert rates_of(shop.project) == {("m-1", "", None): 1, ("m-1", "", "dislike"): 1}
    line = LiveEvent.objects.get(reaction=early)
    assert (line.model, line.response) == ("m-1", answer)
    assert LiveSlice.objects.get(reaction=early).value == "en"


def test_an_answer_waits_for_the_one_that_it_replaces(shop):
    child = shop.answer("b", parent_external_id="a")
    itself = shop.answer("c", parent_external_id="c")
    counting.catch_up()
    parent = shop.answer("a")
    second = shop.answer("d", parent_external_id="a")
    counting.catch_up()
    found = dict(Response.objects.values_list("pk", "parent"))
    assert found == {child.pk: parent.pk, itself.pk: None, parent.pk: None, second.pk: parent.pk}


def test_what_is_taken_back_is_uncounted_and_the_answer_was_seen_all_the_same(shop):
    shop.answer()
    shop.tap("like", minute=1)
    counting.catch_up()
    shop.tap("like", minute=2, retracts=True)
    counting.catch_up()
    assert rates_of(shop.project) == {("m-1", "", None): 1}
    assert not LiveEvent.objects.exists()


def test_what_is_taken_back_by_its_name_was_never_so(shop):
    shop.answer()
    shop.take_back("wrong")
    shop.tap("like", user="u1", name="wrong")
    shop.tap("love", user="u2", name="right")
    shop.tap("like", user="", name="of nobody")
    counting.catch_up()
    assert set(exposures_of(shop.project)) == {("a", "u2")}
    shop.take_back("right")
    shop.take_back("of nobody")
    counting.catch_up()
    assert rates_of(shop.project) == {}
    assert not LiveEvent.objects.exists()
    assert Reaction.objects.filter(end_reason="retracted").count() == 3


def test_who_has_no_name_is_listed_and_enters_no_rate(shop):
    shop.answer()
    shop.tap("like", user="")
    counting.catch_up()
    assert rates_of(shop.project) == {}
    assert LiveEvent.objects.get().external_user == ""


def test_test_data_is_counted_apart(shop):
    shop.answer()
    shop.answer(test=True, model="m-2")
    shop.tap("like")
    shop.tap("dislike", test=True)
    counting.catch_up()
    assert rates_of(shop.project, test=False) == {("m-1", "", None): 1, ("m-1", "", "like"): 1}
    assert rates_of(shop.project, test=True) == {("m-2", "", None): 1, ("m-2", "", "dislike"): 1}


def test_a_change_of_slices_counts_the_project_again(shop):
    shop.answer("a", metadata={"plan": "pro", "secret": {"no": 1}})
    shop.answer("b", metadata={"plan": "free"})
    shop.tap(on="a")
    shop.tap(on="b")
    shop.tap(on="b", user="")
    counting.catch_up()
    ways = IntakeSettings.objects.create(project=shop.project, slices=["plan", "secret"])
    assert counting.rebuild_due() == 1
    assert rates_of(shop.project, name="plan") == {
        (("m-1", plan, kind)): 1 for plan in ("pro", "free") for kind in (None, "like")
    }
    assert sorted(LiveSlice.objects.filter(name="plan").values_list("value", flat=True)) == ["free", "free", "pro"]
    assert rates_of(shop.project, name="secret") == {}
    ways.slices = []
    ways.save()
    counting.rebuild_due()
    assert not RateCell.objects.filter(slice="plan").exists()
    assert not LiveSlice.objects.filter(name="plan").exists()
    assert counting.rebuild_due() == 0


def test_users_who_are_left_out_stand_in_cells_of_their_own(shop, monkeypatch):
    from annotation.actions.counting import cells

    shop.answer()
    shop.tap(user="bought")
    shop.tap(user="honest")
    counting.catch_up()
    believed = cells.COUNT
    doubt = believed.replace(f"{cells.LEFT_OUT} AS left_out", "p.external_user = 'bought' AS left_out")
    assert doubt != believed
    monkeypatch.setattr(cells, "COUNT", doubt)
    assert counting.recount_users(project=shop.project, test=False, users=["bought", "nobody"]) == 1
    assert rates_of(shop.project, left_out=True) == {("m-1", "", None): 1, ("m-1", "", "like"): 1}
    assert rates_of(shop.project, left_out=False) == {("m-1", "", None): 1, ("m-1", "", "like"): 1}
    monkeypatch.setattr(cells, "COUNT", believed)
    counting.recount_users(project=shop.project, test=False, users=["bought"])
    assert rates_of(shop.project, left_out=True) == {}


def test_what_is_erased_is_uncounted(shop):
    from annotation.erasure import erasing

    shop.answer()
    shop.tap(user="u1")
    shop.tap(user="u2")
    counting.catch_up()
    with erasing():
        Reaction.objects.filter(external_user="u1").delete()
    counting.recount_users(project=shop.project, test=False, users=["u1"])
    assert rates_of(shop.project) == {("m-1", "", None): 1, ("m-1", "", "like"): 1}
    assert LiveEvent.objects.get().external_user == "u2"
    gone = Response.objects.get().pk
    with erasing():
        Response.objects.all().delete()
    counting.recount_answers(responses=[gone])
    assert rates_of(shop.project) == {}


def test_the_check_finds_and_mends_what_is_wrong(shop):
    shop.answer()
    shop.tap()
    counting.catch_up()
    RateCell.objects.filter(grain="day").update(n=7)
    RateCell.objects.filter(grain="hour", kind=None).delete()
    drift = counting.check(shop.project)
    assert (drift.pairs, drift.cells) == (0, 6)
    assert not counting.check(shop.project)
    assert rates_of(shop.project) == {("m-1", "", None): 1, ("m-1", "", "like"): 1}


SPANS = [
    {"start": 9, "end": 13, "quote": "king", "critique": "It was a queen.", "label": "wrong", "severity": 3},
    {"start": 0, "end": 5, "quote": "Queen"},
    {"start": 0, "end": 2, "quote": "It", "label": "no such label"},
]


def test_phrases_become_marks_when_the_answer_is_known(shop, caplog):
    tap = shop.tap("dislike", spans=SPANS)
    counting.catch_up()
    assert not SpanCritique.objects.exists()
    answer = shop.answer()
    assert counting.catch_up().total("misplaced") == 1
    king, it = SpanCritique.objects.order_by("-start")
    assert (king.response, king.quote, king.sentiment, king.severity, king.label.key) == (
        answer,
        "king",
        -1,
        3,
        "wrong",
    )
    assert (king.agent, king.external_user, king.said_at) == (tap.agent, "u1", tap.event_at)
    assert king.client_key == f"reaction:{tap.pk}:0"
    assert (it.label, it.metadata["label"]) == (None, "no such label")
    assert "phrases_misplaced" in caplog.text
    assert counting.catch_up().total("recounted") == 0
    assert SpanCritique.objects.count() == 2


def test_marks_end_with_their_reaction(shop):
    shop.answer()
    shop.tap("dislike", minute=1, spans=SPANS[:1])
    counting.catch_up()
    shop.tap("dislike", minute=2, spans=SPANS[2:])
    counting.catch_up()
    assert [mark.quote for mark in SpanCritique.objects.filter(ended_at=None)] == ["It"]
    shop.tap("dislike", minute=3, retracts=True)
    counting.catch_up()
    assert set(SpanCritique.objects.values_list("end_reason", flat=True)) == {"superseded", "retracted"}


def test_a_snapshot_is_frozen_of_what_is_joined_and_settled(shop):
    from training.actions.snapshots import freeze_query
    from training.snapshots.query import SnapshotQuery

    shop.tap("like", minute=1)
    shop.answer()
    shop.tap("like", minute=2, retracts=True)
    freeze_query(project=shop.project, query=SnapshotQuery(kinds=("reaction",)), author=None)
    tap = Reaction.objects.get(retracts=False)
    assert tap.response_id is not None
    assert tap.end_reason == "retracted"


def test_the_command_counts_again_and_says_what_was_wrong(shop, capsys):
    shop.answer()
    shop.tap()
    call_command("recount")
    assert "lantern: right" in capsys.readouterr().out
    RateCell.objects.all().delete()
    with pytest.raises(CommandError, match="Figures were wrong"):
        call_command("recount", project="lantern")
    call_command("recount", project="lantern")
    with pytest.raises(CommandError, match="no project"):
        call_command("recount", project="nowhere")
