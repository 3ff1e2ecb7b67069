"""The Live pages in Chromium: what comes in, an answer in its conversation, rates, and asking people."""

from __future__ import annotations

from django.utils import timezone
from playwright.sync_api import expect

from annotation.actions import counting
from annotation.models import IntakeSettings, Task
from tests.annotation.stream import NOON, Stream
from tests.browser.harness import NARROW, WIDE
from tests.browser.test_accessibility import violations
from tests.cast import make_cast


def furnished():
    """A day with three models, two languages, a conversation whose second answer replaced the first."""
    cast = make_cast()
    shop = Stream(cast.project)
    IntakeSettings.objects.create(project=cast.project, slices=["plan"])
    now = (timezone.now() - NOON).total_seconds() / 60
    for number in range(60):
        model = f"writer-{number % 3}"
        plan = {"plan": "pro" if number % 4 else "free"}
        name = f"a{number}"
        shop.answer(
            name, model=model, language="de" if number % 5 == 0 else "en", metadata=plan, text=f"It was {number}."
        )
        for user in range(8):
            minute = now - number * 240 - user - 3
            shop.tap("shown", on=name, user=f"user-{user}", minute=minute)
            if (number + user) % (3 + number % 3) == 0:
                shop.tap("like" if user % 2 else "dislike", on=name, user=f"user-{user}", minute=minute + 1)
    talk = {"conversation": "c-1", "model": "writer-1", "text": "It was a king, in 1066."}
    shop.answer("t1", turn=0, **{**talk, "text": "Who do you mean?"})
    shop.answer("t2", turn=1, **talk)
    shop.answer("t3", turn=1, parent_external_id="t2", **{**talk, "text": "It was a queen."})
    wrong = [{"start": 9, "end": 13, "quote": "king", "critique": "A queen."}, {"start": 0, "end": 4, "quote": "Once"}]
    shop.tap("dislike", on="t2", user="user-9", minute=now - 1, spans=wrong, text="That is not true.")
    shop.tap("regenerate", on="t2", user="user-9", minute=now - 0.8)
    shop.tap("like", on="t3", user="", minute=now - 0.5)
    shop.tap("love", on="not-there-yet", user="user-1", minute=now - 0.2)
    counting.catch_up()
    return cast, shop, now


def well(page, name, screenshot):
    """By day and by night, wide and on a phone."""
    wrong = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, view in (("wide", WIDE), ("narrow", NARROW)):
            page.set_viewport_size(view)
            wrong += violations(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name + width
            screenshot(page, f"live-{name}-{width}-{scheme}", full=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
    assert wrong == []


def test_reactions_come_in_and_nothing_jumps(browser, screenshot):
    _, shop, now = furnished()
    page = browser.signed_in(make_user("mia"), "/p/lantern/live/")
    first = page.locator(".live-lines > li").first
    expect(first).to_contain_text("not-there-yet")
    well(page, "page", screenshot)
    shop.tap("dislike", on="t3", user="user-5", minute=now)
    shop.tap("like", on="t3", user="user-6", minute=now)
    counting.catch_up()
    fresh = page.get_by_role("link", name="2 new")
    expect(fresh).to_be_visible(timeout=15_000)
    expect(first).to_contain_text("not-there-yet")
    fresh.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".live-lines > li").first).to_contain_text("user-")
    page.get_by_label("Kind").select_option("dislike")
    page.get_by_label("Answer by").select_option("writer-1")
    page.get_by_label("Happened in").select_option("week")
    page.get_by_role("button", name="Filter").click()
    for line in page.locator(".live-what strong").all_text_contents():
        assert line == "Dislike"
    expect(page.locator(".live-lines > li").first).to_contain_text("It was a queen.")
    page.get_by_label("Slice").select_option("plan=free")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".live-lines > li").first).to_contain_text("It was ")
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="user-9").first.click()
    expect(page.locator(".live-lines > li")).to_have_count(2)


def test_an_answer_stands_in_its_conversation(browser, screenshot):
    furnished()
    page = browser.signed_in(make_user("mia"), "/p/lantern/live/?user=user-9")
    page.get_by_role("link", name="It was a king, in 1066.").last.click()
    expect(page.get_by_role("heading", name="A conversation")).to_be_visible()
    expect(page.locator(".live-turns > li")).to_have_count(3)
    expect(page.locator(".live-turns > li").nth(1)).to_have_attribute("aria-current", "true")
    expect(page.locator(".phrase.bad")).to_have_text("king")
    expect(page.get_by_text("does not stand in the answer")).to_be_visible()
    well(page, "answer", screenshot)
    page.get_by_role("link", name="replaced by a later answer").click()
    expect(page.locator("#here .answer-text")).to_have_text("It was a queen.")
    page.get_by_role("link", name="replaces another").click()
    expect(page.locator("#here .answer-text")).to_contain_text("It was a king")


def test_rates_are_read_by_model_and_over_time(browser, screenshot):
    furnished()
    page = browser.signed_in(make_user("vic"), "/p/lantern/live/rates/")
    expect(page.get_by_role("row", name="Dislike")).to_contain_text("%")
    well(page, "rates", screenshot)
    page.get_by_label("Split by").select_option("model")
    page.get_by_label("Kind").select_option("dislike")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".live-chart")).to_have_count(3)
    well(page, "rates-split", screenshot)
    chart = page.locator(".live-chart").first
    whole = chart.locator("[data-reading]").text_content()
    chart.locator("svg").focus()
    page.keyboard.press("ArrowLeft")
    expect(chart.locator("[data-reading]")).not_to_have_text(whole)
    expect(chart.locator("[data-reading]")).to_contain_text(" to ")
    page.get_by_label("Shown in").select_option("day")
    page.get_by_label("Split by").select_option("plan")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("table.live-rates")).to_contain_text("free")


def test_a_filtered_set_goes_to_a_campaign(browser, screenshot):
    furnished()
    page = browser.signed_in(make_user("ada"), "/p/lantern/live/?kind=dislike&since=week&model=writer-2")
    lines = page.locator(".live-lines > li").count()
    page.get_by_role("link", name="Send these to a campaign").click()
    expect(page.get_by_text("Dislike, answers by writer-2, the last 7 days")).to_be_visible()
    well(page, "send", screenshot)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("answers were added to Reading")).to_be_visible()
    tasks = Task.objects.filter(kind="spans")
    assert 0 < tasks.count() <= lines
    assert set(tasks.values_list("response__model", flat=True)) == {"writer-2"}


def test_a_new_project_is_told_what_to_do(browser, screenshot):
    cast = make_cast()
    page = browser.signed_in(cast.dev, "/p/lantern/live/")
    expect(page.get_by_role("heading", name="No reactions yet")).to_be_visible()
    expect(page.get_by_text("curl http").first).to_be_visible()
    well(page, "empty", screenshot)
    page.get_by_role("navigation", name="Live").get_by_role("link", name="Rates").click()
    expect(page.get_by_role("heading", name="Nobody was shown an answer")).to_be_visible()
    well(page, "rates-empty", screenshot)


def make_user(name: str):
    from redpen.accounts.models import User

    return User.objects.get(email=f"{name}@example.org")
