"""Training in a real browser: the form, a run as it goes, and the heat map."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from playwright.sync_api import expect

from tests.browser.harness import NARROW
from tests.browser.test_accessibility import violations
from tests.cast import make_cast
from tests.training.conftest import fill
from tests.training.factories import make_model, make_prompt, make_response
from training.actions.runs import Launch, launch_run
from training.models import Run
from training.recipes.registry import RECIPES
from training.runs import events, lease


@pytest.fixture
def committed(transactional_db):
    return fill(make_cast())


@pytest.fixture
def scorer(settings):
    """Scores every word: bad where it has a capital letter."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
            tokens, at = [], 0
            for word in text.split(" "):
                bad = 0.9 if word[:1].isupper() else 0.1
                labels = {"fact": bad / 2, "rude": 0.0}
                end = at + len(word)
                tokens.append(
                    {
                        "start": at,
                        "end": end,
                        "text": word,
                        "good": 0.05,
                        "bad": bad,
                        "score": 0.05 - bad,
                        "labels": labels,
                    }
                )
                at = end + 1
            body = json.dumps({"tokens": tokens, "reward": -0.25}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{server.server_port}"
    yield
    server.shutdown()
    server.server_close()


def test_an_admin_starts_a_run_from_the_form(browser, committed, settings, screenshot):
    settings.BASE_MODEL = "tiny"
    page = browser.signed_in(committed.ada, "/p/lantern/train/")
    page.get_by_role("link", name="Span reward model").click()
    expect(page.get_by_role("heading", name="Span reward model")).to_be_visible()
    expect(page.locator("#data")).to_contain_text("Invented fact")
    screenshot(page, "train-form", full=True)
    assert violations(settled(page)) == []
    page.get_by_label("models", exact=True).uncheck()
    page.get_by_label("simulated people").uncheck()
    page.get_by_label("people", exact=True).uncheck()
    page.get_by_label("simulated people").check()  # none of the marks is a simulated person's
    expect(page.locator("#data")).to_contain_text("Nothing to learn from yet")
    page.get_by_label("people", exact=True).check()
    expect(page.locator("#data")).not_to_contain_text("Nothing to learn from yet")
    page.get_by_label("epochs").fill("0")
    page.get_by_role("button", name="Train").click()
    expect(page.locator("#option-epochs-error")).to_contain_text("This is at least 1.")
    assert violations(settled(page)) == []
    page.get_by_label("epochs").fill("1")
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_role("heading", name="Run 1")).to_be_visible()
    assert Run.objects.get().config["epochs"] == 1


def test_every_recipe_opens_as_a_form(browser, committed, screenshot):
    page = browser.signed_in(committed.ada, "/p/lantern/train/")
    screenshot(page, "train-choose", full=True)
    for recipe in RECIPES.values():
        page.goto(page.url.split("/train/")[0] + f"/train/{recipe.name}/")
        expect(page.get_by_role("heading", name=recipe.title, exact=True)).to_be_visible()
        assert violations(settled(page)) == [], recipe.name
        screenshot(page, f"train-form-{recipe.name}", full=True)


def test_a_run_moves_as_it_goes_and_says_how_it_ended(browser, committed, screenshot):
    run, _ = launch_run(
        project=committed.project,
        author=committed.ada,
        launch=Launch(recipe="span_reward_model", base_model="tiny"),
    )
    page = browser.signed_in(committed.ada, "/p/lantern/runs/1/")
    expect(page.locator("#status")).to_contain_text("Waiting for a worker")
    hold = lease.claim("test")

    def say(first, last):
        events.store(
            hold,
            [
                {
                    "type": "metrics",
                    "seq": step,
                    "at": 1.0 + step,
                    "step": step,
                    "total": 60,
                    "values": {
                        "loss": 2 / (step + 1) + (step % 3) / 10,
                        **({"dev_auroc_bad": 0.7} if step > 30 else {}),
                    },
                }
                for step in range(first, last)
            ],
        )

    say(0, 20)
    events.store(hold, [{"type": "log", "seq": 900, "at": 9, "level": "warning", "text": "3 rows <b>left</b> out"}])
    chart = page.locator("figure.chart", has_text="loss")
    expect(chart).to_contain_text("at step 19", timeout=10_000)
    expect(page.locator("#status")).to_contain_text("Step 19 of 60")
    expect(page.locator("#log-lines")).to_contain_text("3 rows <b>left</b> out")
    drawn = chart.locator("polyline.line").get_attribute("points")
    say(20, 40)
    tokens = [[0, 3, -0.95], [4, 9, -0.4], [9, 10, 0.2]]
    sample = {"text": "Ten years, سنتان 👩‍🔬", "reward": -0.4, "tokens": tokens}
    events.store(hold, [{"type": "sample", "seq": 901, "at": 9, "step": 39, "data": sample}])
    expect(chart).to_contain_text("at step 39", timeout=10_000)
    assert chart.locator("polyline.line").get_attribute("points") != drawn
    expect(page.locator("figure.chart", has_text="dev auroc bad")).to_be_visible()
    expect(page.locator("#samples .heat-19")).to_have_text("Ten", timeout=10_000)
    chart.locator("svg").focus()
    page.keyboard.press("Home")
    expect(chart.locator(".reading")).to_contain_text("at step 0")
    page.locator("#smoothing").fill("0.8")
    expect(chart.locator("polyline.raw")).to_have_count(1)
    assert violations(settled(page)) == []
    screenshot(page, "run-goes", full=True)
    lease.fail(hold, code="data.too_long", message="9 of 10 answers are too long.", action="Raise max_tokens.")
    expect(page.locator("#status")).to_contain_text("9 of 10 answers are too long.", timeout=10_000)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert violations(settled(page)) == []
    screenshot(page, "run-failed", full=True)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Run 2")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_contain_text("cancelled")


def settled(page):
    """A page that polls is never idle."""
    page.wait_for_load_state("load")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_heat_map_draws_what_the_model_says_on_the_words(browser, committed, scorer, screenshot, scheme):
    model = make_model(committed.project, metrics={"test_auroc_bad": 0.81})
    answer = make_response(make_prompt(committed.project), "Ask 👩‍🔬 Ann or سنتان today.")
    page = browser.signed_in(committed.mia, f"/p/lantern/models/{model.pk}/", color_scheme=scheme)
    page.get_by_label("Answer", exact=True).fill("Ten years, you Fool 👩‍🔬 Ask Ann.")
    page.get_by_label("Question").fill("How long?")
    page.get_by_role("button", name="Score it").click()
    words = page.locator("#heat-words")
    expect(words).to_have_text("Ten years, you Fool 👩‍🔬 Ask Ann.")
    expect(words.locator(".heat-18")).to_have_text(["Ten", "Fool", "Ask", "Ann."])
    expect(words.locator(".over-half")).to_have_count(4)
    words.locator("span", has_text="Fool").hover()
    expect(page.locator("#heat-readout")).to_contain_text("“Fool”: bad 0.900")
    words.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#heat-readout")).to_contain_text("“years,”: bad 0.100")
    page.get_by_label("Invented fact").check()
    expect(words.locator(".heat-9")).to_have_count(4)
    assert violations(settled(page)) == []
    page.get_by_text("As a table").click()
    expect(page.get_by_role("row", name="Fool 0.900 0.050 0.450 0.000")).to_be_visible()
    assert violations(page) == []
    screenshot(page, f"heat-map-{scheme}", full=True)
    page.get_by_label("An answer of the project").select_option(str(answer.pk))
    page.get_by_role("button", name="Score it").click()
    expect(words).to_have_text("Ask 👩‍🔬 Ann or سنتان today.")
    expect(page.locator("#heat-own")).to_be_hidden()


def test_a_model_server_that_is_away_is_said_in_words(browser, committed, settings):
    settings.MODEL_SERVER_URL = "http://127.0.0.1:9"
    model = make_model(committed.project)
    page = browser.signed_in(committed.ada, f"/p/lantern/models/{model.pk}/")
    browser.allow("503")
    page.get_by_label("Answer", exact=True).fill("Ten")
    page.get_by_role("button", name="Score it").click()
    expect(page.locator("#heat-error")).to_contain_text("cannot be reached")
    expect(page.get_by_role("button", name="Score it")).to_be_enabled()


def test_nothing_runs_off_a_phone(browser, committed, scorer, screenshot):
    model = make_model(committed.project, metrics={"test_auroc_bad": 0.81})
    launch_run(
        project=committed.project, author=committed.ada, launch=Launch(recipe="span_reward_model", base_model="tiny")
    )
    page = browser.signed_in(committed.ada, viewport=NARROW)
    paths = ["train/", "train/raft/", "runs/", "runs/1/", "models/", f"models/{model.pk}/"]
    for path in paths:
        page.goto(f"/p/lantern/{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        screenshot(page, f"phone-{path.split('/')[0]}-{len(path)}", full=True)
        assert violations(settled(page)) == []
