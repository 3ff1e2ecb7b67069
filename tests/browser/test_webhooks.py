"""Webhooks in the browser: made, tried, seen in the log, switched off and on."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from annotation.models import Webhook, WebhookDelivery
from annotation.webhooks import pump
from tests.annotation.receivers import receiver
from tests.cast import make_cast


@pytest.fixture
def there(settings):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as server:
        yield server


def test_a_developer_makes_a_webhook_tries_it_and_follows_it_in_the_log(browser, transactional_db, there):
    cast = make_cast()
    page = browser.signed_in(cast.dev)
    page.goto("/p/lantern/webhooks/")
    page.get_by_role("link", name="New webhook").click()
    page.get_by_label("Address").fill("https://127.0.0.2/")
    page.get_by_label("A training run failed").check()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("This address is not a public one.")).to_be_visible()
    page.get_by_label("Address").fill(there.url)
    page.get_by_label("What it is for").fill("Operations")
    page.get_by_role("button", name="Make it").click()
    hook = Webhook.objects.get()
    expect(page.get_by_label("Put it where your receiver checks signatures")).to_have_value(hook.secret)
    page.reload()
    expect(page.get_by_text("shown this once")).to_have_count(0)
    assert hook.secret not in page.content()

    page.get_by_role("button", name="Send a test").click()
    log = page.get_by_role("region", name="Deliveries")
    expect(log.get_by_text("due")).to_be_visible()
    pump.pump()
    expect(log.get_by_text("delivered")).to_be_visible()  # the log asks for itself again
    expect(page.locator("#log[hx-get]")).to_have_count(0)

    there.status = 500
    page.get_by_role("button", name="Send a test").click()
    pump.pump()
    expect(log.get_by_text("It answered 500.")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(log.get_by_role("link")).to_have_count(1)
    log.get_by_role("link").click()
    expect(page.get_by_text("Hello from Redpen.")).to_be_visible()
    there.status = 200
    page.get_by_role("button", name="Send it again").click()
    pump.pump()
    expect(log.get_by_text("delivered")).to_have_count(2)
    assert len(there.got) == 3
    assert WebhookDelivery.objects.filter(state="delivered").count() == 2

    page.get_by_role("button", name="Make a new secret").click()
    expect(page.get_by_label("Put it where your receiver checks signatures")).not_to_have_value(hook.secret)
    expect(page.get_by_text("The old one signs too")).to_be_visible()
    page.get_by_role("button", name="Switch it off").click()
    expect(page.get_by_text("Switched off by hand.")).to_be_visible()
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_role("button", name="Send a test")).to_be_visible()
    expect(page).to_have_url(re.compile(f"/p/lantern/webhooks/{hook.pk}/"))
