"""API keys and live settings in a real browser: made, copied, rotated, revoked; the console stays quiet, axe too."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from annotation.models import ReactionKind
from annotation.queries.intake import intake_of
from redpen.accounts.keys import find
from redpen.accounts.models import ApiKey
from tests.annotation.conftest import make_desk
from tests.cast import make_cast

PAGE = "/p/lantern/keys/"


@pytest.fixture
def cast(transactional_db):
    return make_desk(make_cast()).cast


def axe_finds_nothing(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"


def fits(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def copied(page: Page, button: str) -> str:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_text("Copied.")).to_have_count(1)
    return page.evaluate("navigator.clipboard.readText()")


def test_a_key_is_made_copied_rotated_and_revoked(browser, cast, screenshot):
    page = browser.signed_in(cast.dev, PAGE, permissions=["clipboard-read", "clipboard-write"])
    expect(page.get_by_role("heading", name="No key yet")).to_be_visible()
    page.get_by_label("What it is for").fill("shop backend")
    page.get_by_label("Read records, rates and exports").check()
    page.get_by_role("button", name="Make the key").click()

    token = copied(page, "Copy the key")
    first = find(token)
    assert (first.name, first.scopes) == ("shop backend", ["responses.write", "reactions.write", "read"])
    axe_finds_nothing(page)
    screenshot(page, "keys-made", full=True)
    page.reload()
    expect(page.locator("#token-once")).to_have_count(0)
    assert token not in page.content()

    row = page.get_by_role("row", name=re.compile("shop backend"))
    expect(row).to_contain_text("works")
    row.locator("summary").first.click()
    row.get_by_label("This one goes on working").select_option(label="for an hour")
    row.get_by_role("button", name="Rotate").click()
    new_token = page.locator("#token-once").input_value()
    assert f"Bearer {new_token}" in page.locator("#curl-once").input_value()
    expect(page.get_by_role("row", name=re.compile("rotated"))).to_be_visible()
    assert find(token) == first
    second = find(new_token)

    row = page.get_by_role("row", name=re.compile(second.prefix))
    row.locator("summary").first.click()
    row.get_by_text("Revoke it…").click()
    expect(row).to_contain_text("It cannot be taken back.")
    axe_finds_nothing(page)
    row.get_by_role("button", name="Revoke shop backend").click()
    expect(page.get_by_text("does not work any more")).to_be_visible()
    assert find(new_token) is None
    assert find(token) == first
    page.get_by_role("link", name="Keys that have ended").click()
    expect(page.get_by_role("row", name=re.compile(second.prefix))).to_contain_text("revoked")


def test_the_line_to_try_a_key_is_copied_whole(browser, cast):
    page = browser.signed_in(cast.dev, PAGE, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("What it is for").fill("shop")
    page.keyboard.press("Enter")
    line = copied(page, "Copy the line")
    assert line == page.locator("#curl-once").input_value()
    assert line.startswith(f"curl {browser.server.url()}api/v1/responses")


def test_a_public_key_is_asked_for_origins_and_not_for_scopes(browser, cast):
    page = browser.signed_in(cast.ada, PAGE, viewport={"width": 390, "height": 844}, color_scheme="dark")
    expect(page.get_by_label("Pages that may use it")).to_be_hidden()
    page.get_by_label("What it is for").fill("web page")
    page.get_by_label("In a web page").check()
    expect(page.get_by_label("Write responses")).to_be_hidden()
    page.get_by_label("Pages that may use it").fill("https://shop.example/chat")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_text("write https://shop.example instead")).to_be_visible()
    axe_finds_nothing(page)
    page.get_by_label("Pages that may use it").fill("https://shop.example")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#token-once")).to_have_value(re.compile("^rp_pub_"))
    assert ApiKey.objects.get().origins == ["https://shop.example"]
    assert fits(page)


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}])
def test_live_settings_are_saved_and_kinds_are_added(browser, cast, options, screenshot):
    page = browser.signed_in(cast.ada, "/p/lantern/live/settings/", **options)
    page.get_by_text("Add a kind…").click()
    page.get_by_label("Key", exact=True).fill("bookmark")
    axe_finds_nothing(page)
    page.get_by_role("button", name="Add the kind").click()
    expect(page.get_by_text("kind bookmark are taken")).to_be_visible()
    page.get_by_label("What bookmark says").select_option(label="bad")
    page.get_by_role("button", name="Save bookmark").click()
    expect(page.get_by_role("row", name=re.compile("bookmark"))).to_contain_text("bad")
    assert ReactionKind.objects.get(project=cast.project, key="bookmark").polarity == -1

    page.get_by_label("Kept as a keyed hash").check()
    page.get_by_label("email: e-mail").check()
    page.get_by_label(re.compile("Split rates by")).fill("country")
    page.get_by_label(re.compile("Delete reactions after")).fill("365")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The settings are saved.")).to_be_visible()
    kept = intake_of(cast.project)
    assert (kept.hash_users, kept.redact, kept.slices) == (True, ["email"], ["country"])
    assert kept.retention_days == {"reaction": 365}
    axe_finds_nothing(page)
    assert fits(page)
    screenshot(page, f"live-settings-{'narrow' if options else 'wide'}", full=True)
