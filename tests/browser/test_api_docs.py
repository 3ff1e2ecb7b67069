"""/api/docs in Chromium: readable by anybody, by day and by night, wide and narrow, without a script of its own."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.test_accessibility import violations


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_whoever_integrates_reads_the_api_without_signing_in(browser, screenshot, width, scheme):
    page = browser.signed_in(None, "/api/docs", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    page.get_by_role("navigation", name="Subjects").get_by_role("link", name="Feedback").click()
    sending = page.locator("#send_feedback")
    expect(sending).to_be_in_viewport()
    sending.get_by_text("Example: rewrite").click()
    expect(sending.get_by_text('"Two years, battery included."').first).to_be_visible()
    screenshot(page, f"api-docs-{width}")
    page.evaluate("scrollTo(0, 0)")
    screenshot(page, f"api-docs-top-{width}")
