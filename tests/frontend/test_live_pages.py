"""The Live pages: what they show, what they cost in queries, what they make of nonsense; sets that go to a campaign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.actions import counting
from annotation.actions.asking import ask_about
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import Campaign, LiveEvent, Prompt, Response, Task
from annotation.queries import live
from annotation.queries.rates import Asked, rates
from frontend.queries.live import turns_of
from frontend.queries.live_charts import charts
from redpen.accounts.models import User
from tests.annotation.stream import NOON, Stream
from training.demo import fill_demo
from training.worlds.demo import demo_content

P = "/p/lantern/live/"


@pytest.fixture
def shop(cast) -> Stream:
    return Stream(cast.project)


def some(shop: Stream, count: int) -> None:
    now = (timezone.now() - NOON).total_seconds() / 60
    for number in range(count):
        shop.answer(f"a{number}", text=f"Answer {number}")
        shop.tap("dislike", on=f"a{number}", user=f"u{number}", minute=now - number - 1)
    counting.catch_up()


@pytest.mark.parametrize(
    "path", ["", "rates/", "rates/?split=model", "rates/?split=language&since=day", "?kind=dislike"]
)
def test_a_page_asks_as_often_for_many_reactions_as_for_few(shop, cast, path):
    mia = cast.client(cast.mia)
    some(shop, 2)
    with CaptureQueriesContext(
        connection,
    ) as few:
        assert mia.get(P + path).status_code == 200
    some_more = Stream(cast.project)
    for number in range(2, 30):
        some_more.answer(f"a{number}")
        some_more.tap("dislike", on=f"a{number}", user=f"u{number}")
    counting.catch_up()
    with CaptureQueriesContext(connection) as many:
        assert mia.get(P + path).status_code == 200
    assert len(many) == len(few) <= 20


@pytest.mark.parametrize(
    "query",
    [
        "?kind=%00", "?model=%00%00", "?user=%F0%9F%98%80", "?slice=plan", "?slice==", "?since=ever", "?data=x",
        "?kind=nothing&since=day", "?user=" + "x" * 400, "rates/?split=%00", "rates/?users=all&since=hour",
        "rates/?slice=language%3Dxx&split=model_version", "news/", "news/?seen=&known=x", "answers/",
        "?cursor=nonsense", "news/?seen=nonsense", "send/?kind=nothing",
    ],
)  # fmt: skip
def test_nonsense_breaks_nothing(shop, cast, query):
    some(shop, 1)
    ada = cast.client(cast.ada, raise_request_exception=False)
    assert ada.get(P + query, follow=True).status_code in (200, 400, 404)


def test_a_filter_that_is_not_there_is_told_and_nothing_is_sent_by_it(shop, cast):
    some(shop, 1)
    ada = cast.client(cast.ada)
    for path in ("", "rates/"):
        page = ada.get(f"{P}{path}?kind=nope&slice=plan%3Dpro&since=ever").content.decode()
        for wrong in ("the kind of reaction “nope”", "“plan=pro”", "the period “ever”"):
            assert wrong in page
        assert "is not there" not in ada.get(f"{P}{path}?kind=like&since=day").content.decode()
    campaign = Campaign.objects.get(project=cast.project)
    answer = ada.post(f"{P}send/", {"campaign": campaign.pk, "kind": "nope"}, follow=True)
    assert "Nothing was sent: the kind of reaction “nope” is not there." in answer.content.decode()
    assert not Task.objects.exists()


def test_the_cursor_of_a_stranger_opens_nothing(shop, cast):
    other = Stream(cast.other_project)
    other.answer()
    theirs = other.tap()
    some(shop, 1)
    page = cast.client(cast.mia).get(f"{P}?cursor={theirs.pk}")
    assert "Answer 0" not in page.content.decode()
    assert live.newest(project=cast.project, wanted=live.Wanted(), after=theirs.pk) == ([], None)


def test_news_counts_what_fits_and_is_silent_when_nothing_changed(shop, cast):
    some(shop, 1)
    mia = cast.client(cast.mia)
    seen = live.last_arrived(project=cast.project, test=False)
    shop.tap("like", on="a0", user="x")
    shop.tap("shown", on="a0", user="y")
    counting.catch_up()
    news = f"{P}news/?seen={seen}"
    assert "1 new" in mia.get(news).content.decode()
    assert mia.get(f"{news}&known=1").status_code == 204
    assert "2 new" in mia.get(f"{news}&kind=-").content.decode()
    assert "announced here" in mia.get(f"{news}&kind=love").content.decode()


def test_before_the_first_tap_the_page_lists_what_was_shown(shop, cast):
    shop.answer()
    shop.tap("shown")
    counting.catch_up()
    page = cast.client(cast.mia).get(P).content.decode()
    assert "It was a king." in page
    assert "No reactions yet" not in page


def test_a_filtered_set_goes_to_a_campaign_once(shop, cast, monkeypatch):
    from annotation.actions import asking

    some(shop, 5)
    campaign = Campaign.objects.get(project=cast.project)
    ada = Author.person(cast.ada)
    wanted = live.Wanted(kind=shop.kinds["dislike"].pk, since=timezone.now() - timedelta(minutes=3.5))
    sent = ask_about(author=ada, campaign=campaign, wanted=wanted)
    assert (sent.new, sent.known, sent.left) == (3, 0, 0)
    assert set(Task.objects.values_list("response__external_id", flat=True)) == {"a0", "a1", "a2"}
    monkeypatch.setattr(asking, "MOST", 1)
    sent = ask_about(author=ada, campaign=campaign, wanted=live.Wanted(taps=True))
    assert (sent.new, sent.known, sent.left) == (1, 3, 1)
    assert "1 answer" in sent.words
    assert "3 were in it already" in sent.words
    with pytest.raises(BadValue):
        ask_about(author=ada, campaign=campaign, wanted=live.Wanted(test=True))
    Campaign.objects.update(state="closed")
    campaign.refresh_from_db()
    with pytest.raises(BadValue):
        ask_about(author=ada, campaign=campaign, wanted=wanted)


def test_sending_needs_a_campaign_that_is_open(shop, cast):
    some(shop, 1)
    ada = cast.client(cast.ada)
    Campaign.objects.update(state="paused")
    assert "No campaign is open" in ada.get(f"{P}send/").content.decode()
    answer = ada.post(f"{P}send/", {"campaign": "nonsense", "kind": "dislike"}, follow=True)
    assert "Choose a campaign" in answer.content.decode()
    assert not Task.objects.exists()


def test_a_conversation_stands_in_order_and_asks_each_thing_once(cast):
    first = [{"role": "user", "content": "Who?"}]
    second = [*first, {"role": "assistant", "content": "A king."}, {"role": "user", "content": "Which?"}]
    made = []
    for turn, (messages, text) in enumerate([(second, "William."), (first, "A king."), (second, "Harold.")]):
        prompt, _ = Prompt.objects.get_or_create(
            project=cast.project, content_hash=str(len(messages)), defaults={"messages": messages, "split": "train"}
        )
        about = {"conversation": "c", "turn": [1, 0, 1][turn], "parent": made[0] if turn == 2 else None}
        made.append(Response.objects.create(project=cast.project, prompt=prompt, text=text, **about))
    turns = turns_of(made[0], live.conversation(made[0]))
    assert [turn.answer.text for turn in turns] == ["A king.", "William.", "Harold."]
    assert [[one["content"] for one in turn.asked] for turn in turns] == [["Who?"], ["Which?"], []]
    assert [turn.here for turn in turns] == [False, True, False]
    assert turns[1].replaced_by == [made[2]]
    assert turns[2].replaces == made[0]


def test_answers_that_replace_each_other_in_a_circle_end(cast):
    prompt = Prompt.objects.create(project=cast.project, messages=[], content_hash="x", split="train")
    one = Response.objects.create(
        project=cast.project, prompt=prompt, text="1", parent_external_id="b", external_id="a"
    )
    two = Response.objects.create(
        project=cast.project, prompt=prompt, text="2", parent_external_id="a", external_id="b"
    )
    counting.catch_up()
    one.refresh_from_db()
    assert one.parent == two
    assert live.conversation(one) == [one, two]
    assert cast.client(cast.mia).get(f"{P}answers/{one.pk}/").status_code == 200


def test_a_chart_is_cut_where_nobody_was_shown_anything(shop):
    shop.answer()
    for hour, kind in enumerate(["like", "shown", "", "like", "", "shown"]):
        for user in range(10 if kind else 0):
            shop.tap(kind, user=f"u{hour}-{user}", minute=60 * hour)
    counting.catch_up()
    asked = Asked(since=NOON, until=datetime(2026, 11, 20, 20, tzinfo=UTC), grain="hour")
    (chart,) = charts(rates(shop.project, asked), "like")
    assert [len(line.split()) for line in chart.lines] == [2, 1, 1]
    assert len(chart.dots) == 2
    assert [point.says(True) for point in chart.points][0] == "20 Nov, 12:00: 100 % of 10 (72.2 to 100 %)"
    assert "<script" not in chart.drawn
    assert LiveEvent.objects.count() == 40


def test_the_demo_has_reactions_and_rates_to_look_at(db):
    fill_demo(demo_content(0, prompts=20, labelled=24, twice=6, compared=6, unanswered=4))
    counting.catch_up()
    demo = Client()
    demo.force_login(User.objects.get(email="ada@demo.redpen"))
    page = demo.get("/p/demo/live/").content.decode()
    assert page.count("live-what") > 5
    assert "fern-writer" in page
    assert "95 % interval" in demo.get("/p/demo/live/rates/").content.decode()
