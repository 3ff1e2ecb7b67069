"""The whole loop in a real installation: `manage.py up`, Chromium, a Celery worker, the model server, real training.

A phrase is marked, a pair judged, a reward model learns from them, its judgement is drawn over an answer, a policy
learns from it, and its new answers wait in the queue. The base has read little: nothing here asks how good they are.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from redpen.accounts.demo import DEMO_LOGINS
from tests.browser.desks import press, saved, select, selected
from tests.running import running
from tests.tiny_base import copy_tiny_base

NAMES = {login.role: login.name for login in DEMO_LOGINS}
MINUTES = 60_000
LAMP = "Hello 👩‍👩‍👧‍👦, charge it for nine hours. مرحبا بك يا صديقي. It never fails 🔋."
# an answer with emoji and Arabic, dealt before all others
FIRST_TASK = f"""
from annotation.actions.people import Author
from annotation.actions.prompts import add_response
from annotation.actions.tasks import create_tasks
from annotation.models import Campaign, Prompt, Task
from redpen.accounts.models import Project, User
project = Project.objects.get(slug="demo")
ada = Author.person(User.objects.get(email="{DEMO_LOGINS[0].email}"))
prompt = Prompt.objects.filter(project=project, split="train").order_by("id").first()
answer = add_response(author=ada, prompt=prompt, text={LAMP!r})
answer = answer[0] if isinstance(answer, tuple) else answer
create_tasks(author=ada, campaign=Campaign.objects.filter(project=project).order_by("id").first(), responses=[answer])
Task.objects.filter(response=answer).update(priority=1e6)
"""


@pytest.fixture
def redpen():
    with running(DEMO="true", BASE_MODEL="tiny", TRAIN_THREADS="1") as one:
        copy_tiny_base(one.data_dir / "base" / "tiny")
        one.start_and_wait(180)
        one.manage("shell", "-c", FIRST_TASK)
        yield one


def sign_in(page: Page, role: str) -> None:
    page.goto("/sign-in/")
    page.get_by_role("button", name=f"Sign in as {NAMES[role]}").click()
    expect(page.get_by_role("button", name=f"Sign in as {NAMES[role]}")).to_have_count(0)


def sign_out(page: Page) -> None:
    page.context.clear_cookies()


def train(page: Page, recipe: str, *, moves: bool, **options: str) -> None:
    """Start a recipe from its form and see it through to its end; whether its chart `moves` on the way."""
    page.goto("/p/demo/train/")
    page.get_by_role("link", name=recipe).click()
    page.get_by_label("Base model").select_option("tiny")
    for name, value in options.items():
        field = page.locator(f"[name=option-{name}]").first
        if field.get_attribute("type") == "checkbox":
            field.set_checked(value == "on")
        elif field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run ", timeout=30_000)
    chart = page.locator("figure.chart", has_text="loss").first
    expect(chart).to_contain_text("at step", timeout=4 * MINUTES)
    drawn = chart.locator("polyline.line").get_attribute("points")
    expect(page.locator("#status")).to_contain_text("Succeeded", ignore_case=True, timeout=5 * MINUTES)
    if moves:
        assert chart.locator("polyline.line").get_attribute("points") != drawn


@pytest.mark.timeout(900)
def test_a_marked_phrase_becomes_a_trained_model_and_a_better_answer_to_mark(chromium, redpen, screenshot):
    complaints = []
    context = chromium.new_context(base_url=redpen.url(""), viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)

    # the annotator marks a phrase with the keyboard alone, and judges a pair
    sign_in(page, "annotator")
    page.goto("/p/demo/label/")
    expect(page.locator("#answer")).to_have_text(LAMP)
    select(page, 2, after=7)
    assert selected(page) == "مرحبا بك"
    press(page, "1", *"greets nobody", "Enter")
    saved(page)
    screenshot(page, "loop-1-label")
    press(page, "Control+Enter")
    expect(page.locator("#answer")).not_to_have_text(LAMP)
    page.goto("/p/demo/pair/")
    expect(page.locator("#left-text")).not_to_be_empty()
    left = page.locator("#left-text").inner_text()
    press(page, "a", "3", "Control+Enter")
    expect(page.locator("#left-text")).not_to_have_text(left)
    screenshot(page, "loop-2-pair")
    sign_out(page)

    # the admin trains a reward model on what people said
    sign_in(page, "admin")
    page.goto("/p/demo/data/")
    expect(page.get_by_text("greets nobody").first).to_be_visible()
    train(
        page,
        "Span reward model",
        moves=True,
        fit="steps",
        epochs="2",
        rank="4",
        depth="1",
        passage_tokens="0",
        echo="off",
    )
    screenshot(page, "loop-3-reward-model", full=True)

    # its judgement, drawn over an answer that it has never seen
    page.goto("/p/demo/models/")
    page.locator("main").get_by_role("link", name="v1").first.click()
    page.get_by_label("Answer", exact=True).fill("Charge it for nine hours, you fool 🔋.")
    page.get_by_label("Question").fill("How long does it charge?")
    page.get_by_role("button", name="Score it").click()
    words = page.locator("#heat-words")
    expect(words).to_have_text("Charge it for nine hours, you fool 🔋.", timeout=MINUTES)
    expect(words.locator("[class*=heat-]").first).to_be_visible()
    screenshot(page, "loop-4-heat-map", full=True)

    # a policy learns from the reward model, and its new answers wait to be marked
    small = {
        "rounds": "1",
        "prompts": "6",
        "samples": "4",
        "max_new_tokens": "100",
        "held_out": "2",
        "new_answers": "3",
    }
    train(page, "RAFT", moves=False, **small)
    screenshot(page, "loop-5-policy", full=True)
    sign_out(page)
    sign_in(page, "reviewer")
    page.goto("/p/demo/label/")
    expect(page.locator("#answer")).not_to_be_empty()
    shown = page.locator("#answer").inner_text()
    screenshot(page, "loop-6-new-answer")
    texts = "R.objects.exclude(model_version=None).values_list('text', flat=True)"
    ask = f"from annotation.models import Response as R; print(*{texts})"
    assert shown[:20] in redpen.manage("shell", "-c", ask), "the newest model's answers are dealt first"
    context.close()
    assert complaints == []
    web = Path(f"/proc/{redpen.child('web').pid}/maps").read_text()
    assert "libtorch" not in web, "the web has never imported torch"
    assert redpen.stop() == 0
    assert redpen.left() == []
