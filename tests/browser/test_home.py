"""My projects, and a project's home."""

from playwright.sync_api import expect

from tests.browser.desks import make_tasks, open_label, press, saved, select
from tests.cast import make_cast


def test_home_says_what_waits_what_came_in_and_what_trains(browser, transactional_db):
    from training.models import BaseModel, Run

    desk = make_tasks()
    page = open_label(browser, desk)
    select(page, 2)
    press(page, "1", "Enter")
    saved(page)
    base = BaseModel.objects.create(name="tiny", source="packaged", location="tiny")
    Run.objects.create(project=desk.cast.project, number=7, recipe="raft", base_model=base, step=3, total_steps=30)

    page = browser.signed_in(desk.cast.ada, "/p/lantern/")
    expect(page.locator(".waiting")).to_contain_text("2 answers to mark")
    expect(page.get_by_role("row", name="marked phrases 1 1")).to_be_visible()
    expect(page.get_by_role("row", name="Run 7")).to_contain_text("queued")
    expect(page.get_by_role("row", name="Run 7")).to_contain_text("3 of 30")
    page.get_by_role("link", name="answers to mark").click()
    expect(page.locator("#answer")).to_be_focused()


def test_an_annotator_sees_their_own_records_and_no_training(browser, transactional_db):
    desk = make_tasks()
    page = open_label(browser, desk, user=desk.cast.ada)
    select(page, 2)
    press(page, "1", "Enter")
    saved(page)
    page = browser.signed_in(desk.cast.ben, "/p/lantern/")
    expect(page.get_by_role("heading", name="What you said")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("marked phrases")
    expect(page.get_by_role("heading", name="What is training")).to_have_count(0)
    expect(page.get_by_role("navigation", name="Project").get_by_role("link", name="Train")).to_have_count(0)


def test_an_empty_project_says_what_to_do_next(browser, transactional_db):
    cast = make_cast()
    page = browser.signed_in(cast.zoe, "/p/quarry/")
    step = page.locator("[aria-current=step]")
    expect(step).to_contain_text("Bring answers")
    page.goto("/")
    expect(page.get_by_role("link", name="Quarry")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("Lantern")


def test_a_stranger_sees_no_project_and_nobody_must_sign_in(browser, transactional_db):
    cast = make_cast()
    page = browser.signed_in(cast.zoe)
    assert page.goto("/p/lantern/").status == 404
    page = browser.signed_in(None, "/p/lantern/label/")
    assert page.url.startswith(browser.server.url("/sign-in/"))


def test_menus_close_like_menus(browser, transactional_db):
    cast = make_cast()
    page = browser.signed_in(cast.ada, "/p/lantern/")
    page.locator(".menu summary").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(page.locator(".menu summary")).to_be_focused()
