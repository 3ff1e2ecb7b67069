"""An admin erases a user of the product in the browser, and reads what had learned from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from annotation.actions import erasing_users, reactions
from annotation.actions.people import Author
from annotation.models import Erasure, Reaction, ReactionKind
from tests.annotation.conftest import make_desk
from tests.browser.harness import NARROW, WIDE
from tests.browser.test_accessibility import violations
from tests.cast import make_cast
from training.actions.snapshots import build_snapshot
from training.snapshots.query import SnapshotQuery

WHO = "customer-4711"


@pytest.fixture
def desk(transactional_db, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    desk = make_desk(make_cast())
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    told = {"author": Author.program("x"), "kind": kind, "event_at": timezone.now(), "external_user": WHO}
    reactions.react(response=desk.answer, **told)
    build_snapshot(desk.cast.project, SnapshotQuery(kinds=("reaction",)), desk.cast.ada, name="Taps of November")
    return desk


def look(page, name: str) -> None:
    """Wide and narrow, by day and by night: axe finds nothing, nothing is sideways. PICTURES: a folder for looks."""
    for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert violations(page) == []
        if folder := os.environ.get("PICTURES"):
            page.screenshot(path=Path(folder, f"{name}-{size['width']}-{scheme}.png"), full_page=True)
    page.set_viewport_size(WIDE)


def test_an_admin_looks_erases_and_reads_the_report(browser, desk):
    page = browser.signed_in(desk.cast.ada)
    page.goto("/p/lantern/settings/")
    page.get_by_role("link", name="Erase a user of your product").click()
    page.get_by_label("User", exact=True).fill(WHO)
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("heading", name=f"What there is of {WHO}")).to_be_visible()
    expect(page.get_by_role("row", name="Reaction 1")).to_be_visible()
    assert WHO not in page.url
    look(page, "privacy")
    page.get_by_role("button", name="Erase this user").click()
    assert Erasure.objects.count() == 0  # the box is not ticked
    page.get_by_label("I want this erased for good").check()
    page.get_by_role("button", name="Erase this user").click()
    expect(page.get_by_text("The records are gone.")).to_be_visible()
    assert Reaction.objects.count() == 0
    erasing_users.finish(Erasure.objects.get().pk)
    expect(page.get_by_text("Everything is erased, files too.")).to_be_visible()  # the page asks for itself again
    expect(page.get_by_role("row", name="Taps of November 1")).to_be_visible()
    look(page, "erasure")
    page.get_by_role("link", name="Privacy", exact=False).first.click()
    expect(page.get_by_text("done")).to_be_visible()
