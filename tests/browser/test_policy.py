"""The content security policy holds in Chromium, and the harness notices when a page breaks it."""

import pytest

INLINE_SCRIPT = """() => {
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
  return window.ran === true;
}"""
INLINE_STYLE = """() => {
  document.body.setAttribute("style", "color: rgb(1, 2, 3)");
  return getComputedStyle(document.body).color === "rgb(1, 2, 3)";
}"""
STYLE_FROM_A_MODULE = """() => {
  document.body.style.color = "rgb(1, 2, 3)";
  return getComputedStyle(document.body).color === "rgb(1, 2, 3)";
}"""


@pytest.mark.parametrize("broken", [INLINE_SCRIPT, INLINE_STYLE])
def test_nothing_inline_runs_and_the_harness_notices(browser, transactional_db, broken):
    page = browser.signed_in(None, "/sign-in/")
    assert page.evaluate(broken) is False
    page.wait_for_timeout(100)
    assert any("Content Security Policy" in text for text in browser.complaints)
    browser.allow("Content Security Policy")


def test_a_module_may_place_things(browser, transactional_db):
    page = browser.signed_in(None, "/sign-in/")
    assert page.evaluate(STYLE_FROM_A_MODULE) is True
