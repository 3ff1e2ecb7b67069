"""The label page in a real browser: marking, by keyboard and by mouse, and the notes in the margin."""

import pytest
from playwright.sync_api import expect

from annotation.models import Assignment, Critique, Report, Skip
from tests.browser.desks import LAMP, drag, live_marks, make_tasks, open_label, press, saved, select, selected
from tests.browser.harness import NARROW

HALVES = """([from, to]) => {
  const node = document.querySelector("#answer").firstChild;
  getSelection().setBaseAndExtent(node, from, node, to);
}"""


@pytest.fixture
def desk(transactional_db):
    return make_tasks()


def test_a_phrase_is_marked_with_the_keyboard_alone_among_emoji_and_arabic(browser, desk):
    page = open_label(browser, desk)
    select(page, 2, after=6)  # the paragraph runs from the left, so the right arrow goes on, in the Arabic too
    assert selected(page) == "مرحبا بك"
    press(page, "2", *"greets nobody", "Enter")
    press(page, "Control+End", "Shift+ArrowLeft", "7", "Enter")
    expect(page.locator("#answer")).to_be_focused()
    saved(page)

    greeting, flag = live_marks()
    assert (greeting.quote, greeting.critique, greeting.label.name) == ("مرحبا بك", "greets nobody", "Made up")
    assert LAMP[greeting.start : greeting.end] == greeting.quote
    assert (flag.quote, flag.sentiment, flag.label.name) == ("🇩🇪.", 1, "Well said")

    page.reload()
    expect(page.locator("#answer mark.bad")).to_have_text("مرحبا بك")
    expect(page.locator("#answer mark.good")).to_have_text("🇩🇪.")
    expect(page.locator(".note.bad [data-critique]")).to_have_text("greets nobody")


def test_half_an_emoji_cannot_be_selected(browser, desk):
    page = open_label(browser, desk)
    family = LAMP.index("👩")  # all before it are single units
    press(page, "Control+Home", "ArrowRight", "ArrowRight", "Control+Shift+ArrowRight")
    assert selected(page) == "👩‍👩‍👧‍👦"
    page.evaluate(HALVES, [family, family + 1])
    page.wait_for_timeout(200)
    assert selected(page) == "👩‍👩‍👧‍👦"
    page.evaluate(HALVES, [family + 7, family + 3])
    page.wait_for_timeout(200)
    press(page, "1", "Enter")
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["👩‍👩‍👧‍👦"]


def test_the_mouse_selects_in_both_directions_without_the_space_at_the_ends(browser, desk):
    page = open_label(browser, desk)
    drag(page, 0, 9)
    press(page, "b", "Enter")
    end = LAMP.index("It was built")
    units = len(LAMP[:end].encode("utf-16-le")) // 2
    drag(page, units + len("It was built "), units)
    page.get_by_role("button", name="Well said").click()
    expect(page.locator(".note.active textarea").first).to_be_focused()
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["The lamp", "It was built"]


def test_marks_overlap_and_nest_and_a_click_goes_through_them(browser, desk):
    page = open_label(browser, desk)
    select(page, 3)
    press(page, "1", "Enter")
    select(page, 3, after=1)
    press(page, "7", "Enter")
    select(page, 1, after=1)
    press(page, "4", "Enter")
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["The lamp 👩‍👩‍👧‍👦", "lamp", "lamp 👩‍👩‍👧‍👦 shines"]
    lanes = page.locator("#answer mark").evaluate_all(
        "(all) => Object.fromEntries(all.map((m) => [m.dataset.mark, m.className.match(/lane-\\d/)[0]]))"
    )
    assert len(set(lanes.values())) == 3
    press(page, "Escape")
    active = set()
    for _ in range(3):
        page.get_by_text("lamp", exact=True).first.click(force=True, position={"x": 12, "y": 8})
        page.wait_for_timeout(200)
        active.add(page.locator(".note.active [data-label]").inner_text())
    assert active == {"Wrong", "Rude", "Well said"}


def test_a_mark_without_words_says_that_something_is_missing(browser, desk):
    page = open_label(browser, desk)
    press(page, "Control+Home", "ArrowDown", "3", *"how bright", "Alt+3", "Enter")
    saved(page)
    (mark,) = live_marks()
    assert (mark.start, mark.end, mark.severity, mark.critique) == (LAMP.index("م"), LAMP.index("م"), 3, "how bright")
    expect(page.locator("#answer mark.missing")).to_have_count(1)
    expect(page.locator(".note [data-quote]")).to_have_text("something is missing here")


def test_a_mark_gets_another_label_severity_and_wording_and_is_deleted(browser, desk):
    page = open_label(browser, desk)
    select(page, 2)
    press(page, "1", *"why", "Enter", "4", "Alt+1", "r", *"A lamp", "Enter")
    saved(page)
    (mark,) = live_marks()
    assert (mark.label.name, mark.severity, mark.critique, mark.replacement) == ("Rude", 1, "why", "A lamp")
    press(page, "Delete")
    expect(page.locator("#answer mark")).to_have_count(0)
    saved(page)
    assert live_marks() == []


def test_undo_and_redo_go_through_everything(browser, desk):
    page = open_label(browser, desk)
    select(page, 2)
    press(page, "1")
    press(page, "Control+z")  # in the note, where nothing was typed: it is the mark that goes
    expect(page.locator("#answer mark")).to_have_count(0)
    expect(page.locator("#answer")).to_be_focused()
    press(page, "Control+Shift+z")
    expect(page.locator("#answer mark")).to_have_count(1)
    press(page, "n", "2", "Enter", *"because", "Enter", "Shift+B")
    expect(page.locator("[name=verdict][value=bad]")).to_be_checked()
    for _ in range(3):
        press(page, "Control+z")
    expect(page.locator("[name=verdict][value=bad]")).not_to_be_checked()
    expect(page.locator(".note [data-label]")).to_have_text("Wrong")
    expect(page.locator(".note [data-critique]")).to_be_hidden()
    for _ in range(3):
        press(page, "Control+y")
    saved(page)
    (mark,) = live_marks()
    assert (mark.label.name, mark.critique) == ("Made up", "because")
    expect(page.locator("[name=verdict][value=bad]")).to_be_checked()


def test_submit_brings_the_next_answer_without_loading_the_page(browser, desk):
    page = open_label(browser, desk)
    page.evaluate("window.same = true")
    expect(page.locator("#left")).to_have_text("2 more after this")
    select(page, 1)
    press(page, "1", *"half a sen")
    press(page, "Control+Enter")  # out of the note: what was typed is saved first
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    press(page, "Shift+G", "w", *"honest", "Control+Enter")
    expect(page.locator("#answer")).to_have_text("It was built in 1850.")
    expect(page.locator("#left")).to_have_text("the last one for now")
    assert page.evaluate("window.same")
    press(page, "Control+Enter")
    expect(page.locator("#nothing")).to_contain_text("All done")
    assert [mark.critique for mark in live_marks()] == ["half a sen"]
    assert Critique.objects.filter(ended_at=None).values_list("verdict", "text").get() == ("good", "honest")
    assert Assignment.objects.filter(state="submitted").count() == 3


def test_a_submit_is_undone_two_answers_on(browser, desk):
    page = open_label(browser, desk)
    select(page, 2)
    press(page, "1", "Enter", "Control+Enter")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    select(page, 1)
    press(page, "2", "Control+Enter")
    expect(page.locator("#answer")).to_have_text("It was built in 1850.")
    press(page, "Control+z")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    expect(page.locator("#answer mark")).to_have_text("Nobody")
    press(page, "Control+z")
    expect(page.locator("#answer mark")).to_have_count(0)
    press(page, "Control+z")
    expect(page.locator("#answer")).to_have_text(LAMP)
    expect(page.locator("#answer mark")).to_have_text("The lamp")
    expect(page.locator("#answer")).to_be_focused()
    assert set(Assignment.objects.values_list("state", flat=True)) == {"held"}
    press(page, "Control+Enter")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["The lamp"]
    assert list(Assignment.objects.order_by("id").values_list("state", flat=True)) == ["submitted", "held", "held"]


def test_a_held_key_makes_no_duplicate_and_skips_nothing(browser, desk):
    page = open_label(browser, desk)
    select(page, 2)
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    press(page, "Escape")
    for _ in range(6):
        page.keyboard.down("Control")
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.keyboard.up("Control")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    saved(page)
    assert [(mark.quote, mark.critique) for mark in live_marks()] == [("The lamp", "")]
    assert list(Assignment.objects.order_by("id").values_list("state", flat=True)) == ["submitted", "held"]


def test_an_answer_is_skipped_and_reported_with_a_reason(browser, desk):
    page = open_label(browser, desk)
    press(page, "!", "3", "Enter")
    press(page, "x", "5", "Enter")
    expect(page.locator("#answer")).to_have_text("Nobody knows who built it.")
    saved(page)
    assert Report.objects.get().reason == "duplicate"
    assert Skip.objects.get(ended_at=None).reason == "broken"
    press(page, "Control+z")
    expect(page.locator("#answer")).to_have_text(LAMP)
    assert not Skip.objects.filter(ended_at=None).exists()


def test_the_sheet_of_keys_shows_what_works_here(browser, desk):
    page = open_label(browser, desk)
    press(page, "?")
    sheet = page.locator("#keys")
    for words in ("Well said", "by sentence", "undo the last gesture", "submit, and bring the next"):
        expect(sheet).to_contain_text(words)
    press(page, "1")  # nothing is marked behind the sheet
    press(page, "Escape")
    expect(sheet).to_be_hidden()
    assert page.locator("#answer mark").count() == 0


def test_what_is_no_record_yet_is_there_after_a_reload(browser, desk):
    page = open_label(browser, desk)
    press(page, "Shift+B", "w", *"too short", "Escape", "Control+Home", "ArrowRight", "ArrowRight")
    page.wait_for_timeout(1400)
    saved(page)
    page.reload()
    expect(page.locator("#answer")).to_be_focused()
    expect(page.locator("[name=words]")).to_have_value("too short")
    expect(page.locator("[name=verdict][value=bad]")).to_be_checked()
    press(page, "Shift+ArrowRight")
    assert selected(page) == "👩‍👩‍👧‍👦"


def test_a_screen_reader_hears_what_was_selected_and_marked(browser, desk):
    page = open_label(browser, desk)
    live = page.locator("#live")
    select(page, 2)
    expect(live).to_contain_text("Selected: The lamp")
    press(page, "1")
    expect(live).to_contain_text("Marked as Wrong: The lamp")
    press(page, "Enter", "Delete")
    expect(live).to_contain_text("Mark deleted")


def test_an_empty_desk_says_what_to_do_next(browser, desk):
    from annotation.models import Task

    Task.objects.all().delete()
    page = browser.signed_in(desk.cast.ada, "/p/lantern/label/")
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.get_by_role("link", name="Compare two answers")).to_be_visible()
    expect(page.locator(".bar")).to_be_hidden()


def test_in_arabic_the_left_arrow_goes_on(browser, transactional_db):
    text = "يضيء المصباح ثلاثة ألوان.\nThe lamp 👩‍👩‍👧‍👦 shines."
    page = open_label(browser, make_tasks(text))
    press(page, "Control+Home", "ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft", "2", "Enter")
    press(page, "ArrowDown", "ArrowRight", "Shift+ArrowRight", "1", "Enter")
    saved(page)
    assert [mark.quote for mark in live_marks()] == ["المصباح ثلاثة", "lamp"]


def test_on_a_narrow_screen_a_tap_opens_the_note_above_the_bar(browser, desk):
    page = open_label(browser, desk, viewport=NARROW, has_touch=True)
    select(page, 2)
    page.get_by_role("button", name="Made up").tap()
    page.keyboard.type("no")
    press(page, "Enter", "Escape")
    expect(page.locator(".note.active")).to_have_count(0)
    page.locator("#answer mark").tap()
    note = page.locator(".note.active")
    expect(note).to_be_in_viewport()
    bar = page.locator(".bar").bounding_box()
    assert note.bounding_box()["y"] + note.bounding_box()["height"] <= bar["y"]
    saved(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_praise_needs_words(browser, desk):
    page = open_label(browser, desk)
    press(page, "Control+Home", "7")
    expect(page.locator("#toasts")).to_contain_text("Select the words")
    assert page.locator("#answer mark").count() == 0


def test_a_long_answer_is_drawn_in_parts_and_stays_right(browser, transactional_db):
    text = "\n\n".join(
        "The keeper climbs the stairs every evening, and 👩‍👩‍👧‍👦 lights the lamp. " * 9 for _ in range(38)
    )
    page = open_label(browser, make_tasks(text))
    for place in range(10):
        press(page, "Control+Home", *["ArrowDown"] * place * 3, "Shift+ArrowDown", "1", "Enter")
    expect(page.locator("#answer mark")).to_have_count(10)
    saved(page)
    assert [mark.quote for mark in live_marks()] == [text[mark.start : mark.end] for mark in live_marks()]
