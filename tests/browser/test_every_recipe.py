"""Every recipe of the bench, launched from its form in a real installation: a worker trains the tiny base on the demo's
records, the run is cancelled in the middle and goes on from its checkpoint, and its page then shows curves, samples,
the model that it made and, where it samples, answers before and after.

    pytest tests/browser/test_every_recipe.py -m slow [-k raft]

A recipe that needs another's model trains a small one first where the project has none. All: six minutes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.harness import NARROW, WIDE
from tests.browser.test_accessibility import violations
from tests.browser.test_the_whole_loop import MINUTES, sign_in
from tests.running import running
from tests.tiny_base import copy_tiny_base

SHORT = {"passage_tokens": "0", "rank": "4", "lr": "0.001"}
ONLINE = {
    **SHORT,
    "prompts": "6",
    "samples": "4",
    "max_new_tokens": "60",
    "held_out": "6",
    "every": "4",
    "new_answers": "2",
}
WATCHED = {**ONLINE, "steps": "12", "watch_answers": "8", "truth": "support"}


@dataclass(frozen=True)
class Case:
    """A recipe with options that let it end in less than a minute; what its page must show in the end."""

    recipe: str
    title: str
    options: dict[str, str]
    charts: tuple[str, ...] = ("loss",)
    needs: tuple[str, ...] = ()  # recipes whose newest model is chosen, as the input of that name
    once: tuple[str, ...] = ()  # measured once, at the end: a list, no charts with one dot
    compares: bool = False  # answers before and after


CASES = {
    case.recipe: case
    for case in (
        Case(
            "critique_model",
            "Critique model",
            {**SHORT, "epochs": "1", "words": "40", "quotes": "2", "measured": "4"},
            once=("dev loss", "test words overlap"),
        ),
        Case("segment_reward_model", "Segment reward model", {**SHORT, "epochs": "2"}),
        Case("preference_model", "Preference model", {**SHORT, "epochs": "3"}),
        Case("reward_model", "Reward model", {**SHORT, "epochs": "1"}),
        Case(
            "text2grad",
            "Text2Grad",
            {**WATCHED, "samples": "2"},
            charts=("loss", "delta/zero", "hack/length", "truth/quality"),
            needs=("critique_model",),
            compares=True,
        ),
        Case(
            "fine_grained_rlhf",
            "Fine-grained RLHF",
            WATCHED,
            charts=("loss", "held_out_reward", "hack/length"),
            needs=("segment_reward_model",),
            compares=True,
        ),
        Case(
            "critique_grpo",
            "Critique-GRPO",
            {**WATCHED, "checker": "support", "threshold": "0.5", "critic": "program", "program": "support"},
            charts=("loss", "groups/solved", "refinement/gain"),
            compares=True,
        ),
        Case(
            "raft",
            "RAFT",
            {**ONLINE, "rounds": "8", "every": "2"},
            charts=("loss", "best_of_4", "held_out_reward"),
            needs=("reward_model",),
            compares=True,
        ),
        Case(
            "nft",
            "NFT",
            {**WATCHED, "checker": "support", "threshold": "0.5"},
            charts=("loss", "rate", "held_out_pass_1"),
            compares=True,
        ),
        Case(
            "spo",
            "SPO",
            {**ONLINE, "steps": "12", "truth": "support"},
            charts=("loss", "win/reference", "exploitability"),
            needs=("preference_model",),
            compares=True,
        ),
    )
}
SHOWN = [name for name in CASES if name != "reward_model"]  # trained here for raft alone


@pytest.fixture(scope="module")
def redpen():
    with running(DEMO="true", BASE_MODEL="tiny", TRAIN_THREADS="1", CHECKPOINT_SECONDS="2") as one:
        copy_tiny_base(one.data_dir / "base" / "tiny")
        one.start_and_wait(300)
        yield one


@dataclass
class Desk:
    """A browser in which the demo's admin is signed in; what its console complains about is kept."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)


@pytest.fixture
def desk(chromium, redpen):
    context = chromium.new_context(base_url=redpen.url(""), viewport=WIDE)
    context.set_default_timeout(30_000)
    desk = Desk(context.new_page())
    sign_in(desk.page, "admin")
    yield desk
    context.close()
    assert desk.complaints == []


def fill(page: Page, options: dict[str, str]) -> None:
    for name, value in options.items():
        one = page.locator(f"[name=option-{name}]").first
        if one.evaluate("node => node.tagName") == "SELECT":
            one.select_option(value)
        elif one.get_attribute("type") == "checkbox":
            one.set_checked(value == "on")
        else:
            one.fill(value)


def newest_model(page: Page, kind: str) -> str | None:
    """The id of the newest model of a kind, as the API lists it."""
    listed = page.request.get("/api/v1/projects/demo/models").json()["models"]
    return next((one["id"] for one in listed if one["kind"] == kind), None)


def press_train(page: Page, case: Case) -> None:
    """Open the form by the link on the page of recipes, fill it in and start."""
    page.goto("/p/demo/train/")
    page.locator("main").get_by_role("link", name=case.title, exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(case.title)
    page.goto(f"{page.url.split('?')[0]}?{urlencode({'preset': 'laptop', 'base_model': 'tiny'})}")
    for kind in case.needs:
        chosen = page.locator(f"select[name*='{kind}']").first
        chosen.select_option(newest_model(page, kind))
    fill(page, case.options)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run ")


def ended_well(page: Page) -> None:
    status = page.locator("#status")
    expect(status).to_contain_text(re.compile("succeeded|failed|cancelled"), timeout=10 * MINUTES)
    assert "succeeded" in status.inner_text(), status.inner_text() + page.locator("#log-lines").inner_text()[-1500:]


def make_what_is_missing(page: Page, case: Case) -> None:
    for kind in case.needs:
        if newest_model(page, kind) is None:
            press_train(page, CASES[kind])
            ended_well(page)


def step_of(page: Page) -> int:
    return int(re.search(r"Step (\d+) of", page.locator("#status").inner_text())[1])


def chart(page: Page, name: str):
    words = name.replace("_", " ")
    return page.locator("figure.chart").filter(has=page.get_by_text(words, exact=True))


def no_part_runs_off(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"


def looked_at(page: Page, case: Case, screenshot) -> None:
    """The finished page, wide and narrow, by day and by night; people look at the pictures."""
    for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
        for scheme in ("light", "dark"):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=scheme)
            no_part_runs_off(page)
            assert violations(page) == [], f"{size}, {scheme}"
            screenshot(page, f"recipe-{case.recipe}-{size}-{scheme}", full=True)
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", [CASES[name] for name in SHOWN], ids=SHOWN)
def test_a_recipe_is_launched_cancelled_let_go_on_and_shows_what_came_of_it(desk, screenshot, case):
    page = desk.page
    make_what_is_missing(page, case)
    press_train(page, case)
    status = page.locator("#status")

    # it is watched, and cancelled in the middle
    expect(chart(page, case.charts[0])).to_contain_text("at step", timeout=5 * MINUTES)
    page.get_by_role("button", name="Cancel").click()
    expect(status).to_contain_text("cancelled", timeout=MINUTES)
    stood = step_of(page)
    total = int(re.search(r"of (\d+)", status.inner_text())[1])
    assert 0 < stood < total, "it was cancelled in the middle"
    expect(page.get_by_role("button", name="Start over")).to_be_visible()
    screenshot(page, f"recipe-{case.recipe}-cancelled", full=True)

    # it goes on where it stood: the same run, one curve
    page.get_by_role("button", name=re.compile(r"Go on from step \d+")).click()
    expect(page.locator("#log-lines")).to_contain_text("Going on from the checkpoint of step", timeout=3 * MINUTES)
    ended_well(page)
    expect(status).to_contain_text("Attempt 2")
    page.reload()
    for name in case.charts:
        expect(chart(page, name)).to_contain_text("at step")
    loss = chart(page, case.charts[0])
    expect(loss.locator("polyline.earlier")).to_have_count(0)  # what came before is not drawn as another attempt's
    assert len(loss.locator("polyline.line").get_attribute("points").split()) > 1
    loss.locator("svg").focus()
    page.keyboard.press("Home")
    first = int(re.search(r"at step (\d+)", loss.inner_text())[1])
    assert first <= stood, "the curve begins before it was cancelled"

    # what came of it
    for words in case.once:
        expect(page.locator("#once").get_by_text(words, exact=True)).to_be_visible()
    expect(page.locator("#samples article.sample").first).to_be_visible()
    if case.compares:
        expect(page.locator("#before-after .before-after").first).to_contain_text("After")
    looked_at(page, case, screenshot)
    made = status.get_by_role("link", name=f"{case.recipe} v")
    made.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(case.recipe)
    expect(page.get_by_role("region", name="Table of figures").locator("tbody tr").first).to_be_visible()
    no_part_runs_off(page)
    screenshot(page, f"recipe-{case.recipe}-model", full=True)
