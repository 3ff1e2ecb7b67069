"""The label page when the network, the server or the other tab does something."""

import pytest
from playwright.sync_api import expect

from annotation.models import Assignment, SpanCritique
from tests.browser.desks import LAMP, live_marks, make_tasks, open_label, press, saved, select


@pytest.fixture
def desk(transactional_db):
    return make_tasks()


def test_a_lost_connection_keeps_the_work_says_so_and_delivers_once(browser, desk):
    page = open_label(browser, desk)
    saved(page)
    page.context.set_offline(True)
    select(page, 2)
    press(page, "1", *"why", "Enter")
    select(page, 1, after=3)
    press(page, "7", "Enter", "n", "2")
    expect(page.locator("#status")).to_contain_text("No connection")
    expect(page.locator("#live")).to_contain_text("waiting, kept on this device")
    press(page, "Control+Enter")
    expect(page.locator("#status")).to_contain_text("waiting")
    assert live_marks() == []
    page.context.set_offline(False)
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    saved(page)
    assert [(mark.quote, mark.critique) for mark in live_marks()] == [("The lamp", "why"), ("shines", "")]
    assert SpanCritique.objects.values("lineage").distinct().count() == 2
    assert Assignment.objects.filter(state="submitted").count() == 1


def test_work_done_without_a_connection_survives_a_closed_tab(browser, desk):
    page = open_label(browser, desk)
    saved(page)
    page.context.set_offline(True)
    select(page, 2)
    press(page, "1", *"kept", "Enter")
    expect(page.locator("#status")).to_contain_text("waiting")
    context = page.context
    page.close()
    context.set_offline(False)
    page = context.new_page()
    page.goto("/p/lantern/label/")
    expect(page.locator("#answer mark")).to_have_text("The lamp")
    expect(page.locator(".note [data-critique]")).to_have_text("kept")
    saved(page)
    (mark,) = live_marks()
    assert (mark.quote, mark.critique) == ("The lamp", "kept")
    assert page.evaluate("Object.keys(localStorage).length") == 0


def test_an_answer_of_the_server_that_got_lost_makes_no_second_mark(browser, desk):
    page = open_label(browser, desk)
    lost = []

    def lose(route):
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    page.route("**/spans", lose)
    select(page, 2)
    press(page, "1", "Enter")
    expect(page.locator("#status")).to_contain_text("1 waiting")
    saved(page)
    assert lost == [201]
    assert SpanCritique.objects.count() == 1


def test_a_submit_that_waits_is_taken_back(browser, desk):
    page = open_label(browser, desk)
    saved(page)
    page.context.set_offline(True)
    press(page, "Control+Enter")
    expect(page.locator("#status")).to_contain_text("waiting")
    press(page, "Control+z")
    select(page, 2)
    press(page, "1", "Enter")
    expect(page.locator("#answer mark")).to_have_count(1)
    page.context.set_offline(False)
    saved(page)
    expect(page.locator("#answer")).to_have_text(LAMP)
    assert [mark.quote for mark in live_marks()] == ["The lamp"]
    assert Assignment.objects.get(task__response=desk.answer).state == "held"


def test_two_tabs_show_the_same_answer_and_go_on_together(browser, desk):
    first = open_label(browser, desk)
    second = first.context.new_page()
    second.goto("/p/lantern/label/")
    expect(second.locator("#answer")).to_have_text(LAMP)
    select(first, 2)
    press(first, "1", "Enter")
    expect(second.locator("#answer mark")).to_have_text("The lamp")
    press(first, "Control+Enter")
    expect(first.locator("#answer")).to_have_text("Nobody knows who built it.")
    expect(second.locator("#answer")).to_have_text("Nobody knows who built it.")
    expect(second.locator("#toasts")).to_contain_text("another tab")
    assert len(live_marks()) == 1
    assert Assignment.objects.count() == 2


def test_a_refused_mark_keeps_its_words_and_says_why(browser, desk):
    def falsify(route):
        route.continue_(post_data={**route.request.post_data_json, "quote": "The limp"})

    page = open_label(browser, desk)
    page.route("**/spans", falsify)
    select(page, 2)
    press(page, "1", *"precious words", "Enter")
    expect(page.locator(".note [data-problem]")).to_contain_text("The text at 0-8 is 'The lamp'")
    expect(page.locator(".note [name=critique]")).to_have_value("precious words")
    press(page, "Control+Enter")
    expect(page.locator("#toasts")).to_contain_text("could not be saved")
    press(page, "Delete", "Control+Enter")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    saved(page)
    assert live_marks() == []


def test_words_that_were_being_typed_survive_a_reload(browser, desk):
    page = open_label(browser, desk)
    select(page, 2)
    press(page, "1", *"half a sentence")
    page.reload()
    expect(page.locator(".note [data-critique]")).to_have_text("half a sentence")
    saved(page)
    assert [mark.critique for mark in live_marks()] == ["half a sentence"]


def test_signed_out_in_another_tab_the_work_waits_for_signing_in(browser, desk):
    from django.contrib.sessions.models import Session
    from django.test import Client

    page = open_label(browser, desk)
    saved(page)
    Session.objects.all().delete()
    select(page, 2)
    press(page, "1", "Enter")
    expect(page.locator("#status")).to_contain_text("Signed out: 1 waiting")
    client = Client()
    client.force_login(desk.cast.ben)
    name = "redpen_session"
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": browser.server.url("/")}])
    page.evaluate("dispatchEvent(new Event('focus'))")
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["The lamp"]
