"""The pages of records and imports in Chromium."""

from __future__ import annotations

from playwright.sync_api import expect

from annotation.models import ImportJob, Response, SpanCritique
from annotation.tasks import import_file
from redpen.accounts.models import User
from tests.annotation.conftest import make_desk
from tests.browser.desks import press, saved, select
from tests.browser.test_accessibility import violations
from tests.cast import make_cast
from training.demo import fill_demo
from training.worlds.demo import demo_content

LINES = b"""{"type": "prompt", "key": "p", "messages": [{"role": "user", "content": "Why?"}]}
{"type": "response", "key": "r", "prompt": "p", "text": "Because."}
{"type": "span", "key": "s", "response": "r", "start": 0, "end": 7, "quote": "because", "sentiment": -1, "by": "x"}
"""


def test_records_of_the_demo_are_filtered_and_opened(browser, screenshot):
    fill_demo(demo_content(0, prompts=20, labelled=24, twice=6, compared=6, unanswered=4))
    page = browser.signed_in(User.objects.get(email="ada@demo.redpen"), "/p/demo/data/")
    expect(page.get_by_role("heading", name="What people said")).to_be_visible()
    screenshot(page, "data", full=True)
    page.get_by_label("Kind").select_option(label="Mark")
    page.get_by_label("Label").select_option(label="Rude")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("table.records tbody tr").first).to_contain_text("Rude, severity")
    assert violations(page) == []
    page.locator("table.records tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="1 version")).to_be_visible()
    screenshot(page, "record")
    assert violations(page) == []
    most = max(Response.objects.all(), key=lambda one: one.spancritiques.count())
    page.goto(f"/p/demo/answers/{most.pk}/")
    expect(page.locator("#note-1")).to_be_visible()
    screenshot(page, "answer", full=True)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screenshot(page, "answer-narrow", full=True)
    page.goto("/p/demo/data/")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screenshot(page, "data-narrow")


def test_a_file_is_uploaded_watched_and_reported(browser, screenshot):
    desk = make_desk(make_cast())
    page = browser.signed_in(desk.cast.dev, "/p/lantern/import/")
    assert violations(page) == []
    screenshot(page, "import", full=True)
    page.get_by_label("File").set_input_files({"name": "mine.jsonl", "mimeType": "text/plain", "buffer": LINES})
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", name="mine.jsonl")).to_be_visible()
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
    import_file(str(ImportJob.objects.get().pk))  # what the worker does; the page asks for itself
    expect(page.get_by_text("The text at 0-7 is 'Because', not 'because'.")).to_be_visible()
    expect(page.locator("#job [role=status]")).to_contain_text("3 items read, 1 item refused.")
    screenshot(page, "import-done", full=True)
    assert violations(page) == []


def test_a_first_project_without_the_demo_is_made_filled_and_labelled(browser, transactional_db):
    """Create, import, label: the marks count and can be seen among the records."""
    page = browser.signed_in(make_cast().zoe, "/projects/new/")
    page.get_by_label("Name").fill("Harbour answers")
    page.get_by_role("button", name="Make project").click()
    expect(page.get_by_role("heading", name="Harbour answers")).to_be_visible()
    page.get_by_role("link", name="Import answers").first.click()
    answers = LINES.splitlines()[:2]
    page.get_by_label("File").set_input_files(
        {"name": "first.jsonl", "mimeType": "text/plain", "buffer": b"\n".join(answers)}
    )
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
    import_file(str(ImportJob.objects.get().pk))
    expect(page.get_by_text("People will be asked about 1 answer.")).to_be_visible()
    page.get_by_role("link", name="Label answers").click()
    expect(page.locator("#answer")).to_be_focused()
    select(page, 1)
    press(page, "1", "Enter")
    saved(page)
    press(page, "Control+Enter")
    expect(page.locator("#nothing")).to_contain_text("All done")
    mark = SpanCritique.objects.get()
    assert (mark.quote, mark.assignment.state) == ("Because", "submitted")
    page.goto("/p/harbour-answers/data/")
    expect(page.locator("table.records tbody tr", has_text="Wrong, severity")).to_contain_text("counts")
