"""Reactions and answers of the live intake are told when they are counted, each once, as a key would read them."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from annotation.actions import counting, webhooks
from annotation.api import keyed_shapes
from annotation.models import Reaction, Response, Webhook, WebhookDelivery
from tests.annotation.stream import Stream
from tests.cast import Cast, make_cast


@pytest.fixture
def cast(transactional_db) -> Cast:
    """Committed, because a pass tells only of what no older transaction can still come before."""
    return make_cast()


@pytest.fixture
def shop(cast) -> Stream:
    return Stream(cast.project)


def listen(cast, *, test: bool = False) -> Webhook:
    return webhooks.create_webhook(
        user=cast.dev,
        project=cast.project,
        url="https://hooks.example/",
        events=["reaction.created", "response.created"],
        test=test,
    )


def told(hook: Webhook, event: str) -> list[dict]:
    rows = WebhookDelivery.objects.filter(webhook=hook, event=event).order_by("id")
    return [one for row in rows for one in row.payload]


def test_what_comes_in_is_told_once_as_a_key_reads_it(cast, shop):
    hook = listen(cast)
    answer = shop.answer()
    early = shop.tap("dislike", on="b")
    tap = shop.tap("like", name="t-1", text="so true")
    counting.catch_up()
    shop.answer("b", parent_external_id="a")  # joins the early tap, and finds its parent
    shop.tap("like", name="t-1", text="so true")  # the same again
    counting.catch_up()
    counting.catch_up()
    seen = told(hook, "reaction.created")
    assert [one["id"] for one in seen] == [str(early.pk), str(tap.pk)]
    assert seen[1] == keyed_shapes.reaction(Reaction.objects.select_related("kind").get(pk=tap.pk))
    answers = told(hook, "response.created")
    assert [one["external_id"] for one in answers] == ["a", "b"]
    assert answers[0] == keyed_shapes.answer(Response.objects.select_related("prompt").get(pk=answer.pk))


def test_many_are_told_a_hundred_at_a_time_and_test_data_apart(cast, shop):
    live, test = listen(cast), listen(cast, test=True)
    shop.answer()
    shop.answer("a", test=True)
    for number in range(130):
        shop.tap("like", user=f"u{number}", name=f"t-{number}")
    shop.tap("love", name="only a test", test=True)
    counting.catch_up()
    sizes = [len(row.payload) for row in WebhookDelivery.objects.filter(webhook=live, event="reaction.created")]
    assert sorted(sizes) == [30, 100]
    assert [one["external_id"] for one in told(test, "reaction.created")] == ["only a test"]
    assert all(not one["test"] for one in told(live, "reaction.created"))


def test_a_retraction_is_told(cast, shop):
    hook = listen(cast)
    shop.answer()
    shop.tap("like", minute=1)
    counting.catch_up()
    shop.tap("like", minute=2, retracts=True)
    counting.catch_up()
    counting.catch_up()
    assert [(one["kind"], one["retracts"]) for one in told(hook, "reaction.created")] == [
        ("like", False),
        ("like", True),
    ]


def test_what_is_counted_before_its_time_is_told_once_in_its_time(cast, shop):
    """A snapshot counts what stands behind an older transaction that is still going on; a later pass sees it again."""
    hook = listen(cast)
    shop.answer()
    going_on, committed = threading.Event(), threading.Event()

    def older() -> None:
        try:
            with transaction.atomic():
                shop.tap("love", user="u0")
                going_on.set()
                committed.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=older)
    thread.start()
    going_on.wait(20)
    shop.tap("like", user="u1")
    counting.catch_up()
    assert told(hook, "reaction.created") == []
    committed.set()
    thread.join()
    counting.count()
    counting.count()
    assert sorted(one["user"] for one in told(hook, "reaction.created")) == ["u0", "u1"]
