"""The pair page in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Assignment, Preference, Skip, Task
from tests.browser.desks import make_tasks, press, saved

FIRST = "Hold the brass ring for two seconds. 👩‍👩‍👧‍👦"
SECOND = "Hold the brass ring for three seconds. 👩‍👩‍👧‍👦"
THIRD = "I do not know."


@pytest.fixture
def desk(transactional_db):
    return make_tasks(FIRST, SECOND, THIRD, pairs=True)


def open_pair(browser, desk, user=None) -> Page:
    page = browser.signed_in(user or desk.cast.ben, f"/p/{desk.cast.project.slug}/pair/")
    expect(page.locator("#item")).to_be_visible()
    return page


def test_pairs_are_judged_by_keys(browser, desk):
    page = open_pair(browser, desk)
    left = page.locator("#left-text").inner_text()
    press(page, "a", "3", "w", *"says it plainly", "Enter", "Control+Enter")
    expect(page.locator("#left")).to_have_text("the last one for now")
    press(page, "n")
    expect(page.locator("[name=strength]").first).to_be_disabled()
    press(page, "Control+Enter")
    expect(page.locator("#nothing")).to_be_visible()
    saved(page)
    better, neither = Preference.objects.filter(ended_at=None).order_by("id")
    winner = {"a": better.response_a, "b": better.response_b}[better.choice]
    assert (winner.text, better.strength, better.reason) == (left, 3, "says it plainly")
    assert neither.choice == "neither"


@pytest.mark.parametrize(("seed", "on_the_left"), [(0, FIRST), (1, SECOND)])
def test_the_stored_seed_decides_the_sides_and_the_record_says_so(browser, desk, seed, on_the_left):
    task = Task.objects.order_by("id").first()
    Task.objects.filter(pk=task.pk).update(shuffle_seed=seed, priority=9)
    page = open_pair(browser, desk)
    expect(page.locator("#left-text")).to_have_text(on_the_left)
    press(page, "a", "Control+Enter")
    expect(page.locator("#left")).to_have_text("the last one for now")
    saved(page)
    record = Preference.objects.get(ended_at=None)
    assert {"a": record.response_a, "b": record.response_b}[record.choice].text == on_the_left
    assert record.shown_first == record.choice


def test_no_models_name_is_in_the_page_or_in_what_it_loads(browser, desk):
    responses = []
    page = browser.signed_in(desk.cast.ben)
    page.on("response", lambda response: responses.append(response))
    page.goto(f"/p/{desk.cast.project.slug}/pair/")
    expect(page.locator("#item")).to_be_visible()
    heard = [response.text() for response in responses if "/static/" not in response.url]
    assert any(THIRD in text or FIRST in text for text in heard)
    assert not any("writer-1" in text for text in [page.content(), *heard])


def test_words_that_differ_are_shown_on_a_key(browser, desk):
    Task.objects.filter(response=desk.answers[0]).update(priority=9)
    page = open_pair(browser, desk)
    differing = page.locator("#left-text .differs")
    assert differing.evaluate("(e) => getComputedStyle(e).textDecorationLine") == "none"
    press(page, "d")
    assert differing.evaluate("(e) => getComputedStyle(e).textDecorationLine") == "underline"
    assert {page.locator(f"#{side}-text .differs").inner_text() for side in ("left", "right")} == {"two", "three"}
    expect(page.get_by_role("button", name="Words that differ")).to_have_attribute("aria-pressed", "true")


def test_undo_takes_back_the_choice_and_the_submit(browser, desk):
    page = open_pair(browser, desk)
    press(page, "a", "b", "Control+z")
    expect(page.locator("[value=left]")).to_be_checked()
    press(page, "Control+Enter")
    expect(page.locator("#left")).to_have_text("the last one for now")
    press(page, "t", "Control+z", "Control+z")
    expect(page.locator("[value=left]")).to_be_checked()
    assert set(Assignment.objects.values_list("state", flat=True)) == {"held"}
    press(page, "b", "Control+Enter")
    expect(page.locator("#left")).to_have_text("the last one for now")
    saved(page)
    assert Preference.objects.filter(ended_at=None).count() == 1


def test_without_a_choice_nothing_is_submitted_and_a_pair_can_be_skipped(browser, desk):
    page = open_pair(browser, desk)
    press(page, "Control+Enter")
    expect(page.locator("#toasts")).to_contain_text("Choose first")
    press(page, "x", "4", "Enter")
    expect(page.locator("#left")).to_have_text("the last one for now")
    saved(page)
    assert Skip.objects.get(ended_at=None).reason == "too_long"


def test_a_lost_connection_keeps_the_choice(browser, desk):
    page = open_pair(browser, desk)
    saved(page)
    page.context.set_offline(True)
    press(page, "b", "Control+Enter")
    expect(page.locator("#live")).to_contain_text("waiting")
    page.context.set_offline(False)
    expect(page.locator("#left")).to_have_text("the last one for now")
    saved(page)
    assert Preference.objects.count() == 1
