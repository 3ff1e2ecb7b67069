"""axe-core finds nothing on any page, by day and by night; and no page breaks the content security policy.

The pages come from the URL conf: a new one is walked through by itself. Addresses that name an object need its id in
`values` below; those that only take a POST answer 405 and are no pages.
"""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.browser.desks import make_tasks, open_label, press, saved, select
from tests.browser.harness import WIDE
from tests.browser.pages import routes

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text("utf-8")
RUN = "(scope) => axe.run(scope || document, { resultTypes: ['violations'] })"
SCHEMES = ["light", "dark"]
SMALL = {"width": 320, "height": 640}  # also what is left of a wide screen at 400 %


def violations(page: Page) -> list[str]:
    """What axe finds, one line a violation with the first place."""
    # The policy forbids inline scripts in the page; evaluate() runs beside it.
    page.evaluate(AXE)
    found = page.evaluate(RUN, None)["violations"]
    return [f"{one['id']} ({one['impact']}) {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


@pytest.fixture
def furnished(transactional_db):
    """A project in which something is to be seen on every page, and the values that addresses need."""
    from training.models import BaseModel, ModelVersion, Run

    desk = make_tasks()
    project = desk.cast.project
    base = BaseModel.objects.create(name="tiny", source="packaged", location="tiny")
    model = ModelVersion.objects.create(
        project=project, name="judge", number=1, kind="span_reward_model", base=base, path="models/none"
    )
    Run.objects.create(project=project, number=7, recipe="raft", base_model=base, step=3, total_steps=30)
    desk.values = {
        "slug": project.slug,
        "number": "7",
        "pk": str(model.pk),
        "model": str(model.pk),
        "model_id": str(model.pk),
        "version": str(model.pk),
        "recipe": "span_reward_model",
        "token": "no-such-token",
        "uidb64": "MQ",
    }
    return desk


def test_axe_finds_nothing_on_any_page(browser, furnished):
    page = browser.signed_in(furnished.cast.ada)
    wrong, walked = [], []
    for route in routes():
        path = route.path(furnished.values)
        if path is None:
            continue
        answer = page.request.get(path)
        if not answer.text().lstrip().lower().startswith("<!doctype html"):
            continue  # a fragment is walked through on its page; a download, or a form's address, is none
        page.goto(path)
        walked.append(route.name)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            wrong += [f"{path} ({scheme}) {line}" for line in violations(page)]
        page.set_viewport_size(SMALL)
        wide = page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{path} is {wide} px wide on a screen of {SMALL['width']}"] if wide > SMALL["width"] else []
        page.set_viewport_size(WIDE)
    assert {"home", "project", "label", "pair", "members", "account"} <= set(walked), walked
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", ["/sign-in/", "/password/forgotten/", "/nowhere/"])
def test_axe_finds_nothing_where_nobody_is_signed_in(browser, transactional_db, path):
    page = browser.signed_in(None, path)
    assert violations(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_while_people_work(browser, furnished, scheme):
    page = open_label(browser, furnished, color_scheme=scheme)
    select(page, 2)
    press(page, "1", "Enter")
    select(page, 2, after=1)
    press(page, "7", "Enter")
    press(page, "Control+Home", "3", "Enter", "Shift+B")
    saved(page)
    assert violations(page) == []  # all lines, notes and the caret
    press(page, "n", "Enter")
    assert violations(page) == []  # a note that is being written
    press(page, "Escape", "?")
    assert violations(page) == []
    press(page, "Escape", "x")
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    press(page, "Escape")
    assert violations(page) == []


def test_axe_finds_nothing_on_a_pair(browser, transactional_db):
    desk = make_tasks("Two litres.", "Three litres.", pairs=True)
    page = browser.signed_in(desk.cast.ben, "/p/lantern/pair/", color_scheme="dark")
    expect(page.locator("#item")).to_be_visible()
    press(page, "b", "d")
    assert violations(page) == []


def test_focus_is_always_visible(browser, furnished):
    page = open_label(browser, furnished)
    seen = set()
    for _ in range(25):
        press(page, "Tab")
        name, outlined = page.evaluate(
            """() => {
              const e = document.activeElement;
              const style = (node) => getComputedStyle(node);
              const shows = (node) => style(node).outlineStyle !== "none" && parseFloat(style(node).outlineWidth) >= 2;
              const near = [e, e.closest(".choice"), e.closest(".paper")].filter(Boolean);
              return [e.tagName + (e.textContent || "").slice(0, 20), e === document.body || near.some(shows)];
            }"""
        )
        seen.add(name)
        assert outlined, f"{name} has the focus and does not show it"
    assert len(seen) > 8


def test_nothing_moves_for_those_who_asked_for_less_motion(browser, furnished):
    page = browser.signed_in(furnished.cast.ben, "/p/lantern/", reduced_motion="reduce")
    slow = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((e) => {
          const { transitionDuration, animationDuration } = getComputedStyle(e);
          return parseFloat(transitionDuration) > 0.01 || parseFloat(animationDuration) > 0.01;
        }).length"""
    )
    assert slow == 0
