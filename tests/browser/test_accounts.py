"""Signing in, inviting and joining in a real browser; the console stays quiet (harness) and axe finds nothing."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from redpen.accounts import audit
from redpen.accounts.actions.invitations import invite
from redpen.accounts.actions.passwords import reset_path
from redpen.accounts.models import Project
from tests.cast import PASSWORD, make_cast, make_user


@pytest.fixture
def cast(transactional_db):
    return make_cast()


def axe_finds_nothing(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"


def test_an_admin_invites_somebody_who_makes_an_account_and_gets_in(browser, cast):
    page = browser.signed_in(path="/p/lantern/members/")
    expect(page).to_have_url(re.compile("/sign-in/"))
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/p/lantern/members/"))

    page.get_by_label("For whom").fill("Nia")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#link-once").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("[data-copied]")).not_to_be_empty()
    axe_finds_nothing(page)
    page.reload()
    expect(page.locator("#link-once")).to_have_count(0)

    visitor = browser.signed_in(path=link)
    axe_finds_nothing(visitor)
    visitor.get_by_label("Your name").fill("Nia")
    visitor.get_by_label("E-mail").fill("nia@example.org")
    visitor.get_by_label("Password").fill(PASSWORD)
    visitor.get_by_role("button", name="Make my account and join").click()
    expect(visitor).to_have_url(re.compile("/p/lantern/$"))
    page.reload()
    expect(page.get_by_role("row", name=re.compile("Nia.*Annotator"))).to_be_visible()


def test_a_demo_login_is_one_click(browser, cast):
    Project.objects.filter(slug="lantern").update(is_demo=True)
    cast.ada.email, cast.ada.name = "ada@demo.redpen", "Ada"
    cast.ada.set_password("red-pen-demo")
    cast.ada.save()
    page = browser.signed_in(path="/sign-in/?next=/account/")
    axe_finds_nothing(page)
    page.get_by_role("button", name="Sign in as Ada").click()
    expect(page).to_have_url(re.compile("/account/"))


def test_a_member_is_changed_and_removed_with_the_keyboard(browser, cast):
    page = browser.signed_in(cast.ada, "/p/lantern/members/")
    row = page.get_by_role("row", name=re.compile("Ben"))
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    row.get_by_label("Role").select_option("reviewer")
    row.get_by_role("button", name="Give this role").press("Enter")
    expect(page.get_by_text("Ben is reviewer now.")).to_be_visible()
    row.locator("summary").press("Enter")
    axe_finds_nothing(page)
    row.get_by_role("button", name="Remove Ben").press("Enter")
    expect(page.get_by_role("row", name=re.compile("Ben"))).to_have_count(0)


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}])
def test_every_page_of_people_is_clean(browser, cast, options, screenshot):
    audit.record("project.changed", project=cast.project, actor=cast.ada, fields=["name"])
    _, token = invite(project=cast.project, actor=cast.ada, role="viewer", note="Nia")
    name = "dark-narrow" if options else "light-wide"
    for person, paths in {
        None: ["/sign-in/", "/password/forgotten/", f"/invite/{token}/", reset_path(cast.ben), "/password/reset/x/y/"],
        cast.ada: [
            "/account/",
            "/projects/new/",
            "/p/lantern/members/",
            "/p/lantern/settings/",
            "/p/lantern/audit/",
            "/p/lantern/audit/?action=x",
            "/nowhere/",
        ],
        cast.zoe: [f"/invite/{token}/", "/p/lantern/members/"],
    }.items():
        page = browser.signed_in(person, **options)
        for path in paths:
            page.goto(path)
            axe_finds_nothing(page)
            screenshot(
                page, f"accounts-{name}-{person or 'nobody'}-{path.strip('/').replace('/', '-')[:24]}", full=True
            )


def test_the_support_site_needs_nothing_inline(browser, cast):
    page = browser.signed_in(make_user("Sue", is_staff=True))
    for path in ("/support/", "/support/accounts/user/", f"/support/accounts/user/{cast.ben.pk}/change/"):
        page.goto(path)
        expect(page.locator("#content")).to_be_visible()
