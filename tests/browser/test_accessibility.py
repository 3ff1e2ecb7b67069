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
NOT_THERE = {"invitation", "password_reset_confirm"}  # their error page is walked through
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
    from django.utils import timezone

    from annotation.models import Erasure, ImportJob, ProductUser, SpanCritique, Webhook
    from annotation.webhooks.outbox import emit
    from training.models import BaseModel, Comparison, ModelVersion, Run, Snapshot, Trial

    desk = make_tasks()
    project, ada = desk.cast.project, desk.cast.ada
    answer = desk.answers[0]
    mark = SpanCritique.objects.create(
        project=project, response=answer, start=0, end=3, quote=answer.text[:3], sentiment=-1, author=ada
    )
    job = ImportJob.objects.create(project=project, format="redpen_jsonl", filename="a.jsonl", path="x", created_by=ada)
    snapshot = Snapshot.objects.create(project=project, name="for a test", query={"kinds": ["response"]})
    base = BaseModel.objects.create(name="tiny", source="packaged", location="tiny")
    model = ModelVersion.objects.create(
        project=project, name="judge", number=1, kind="span_reward_model", base=base, path="models/none"
    )
    run = Run.objects.create(project=project, number=7, recipe="raft", base_model=base, step=3, total_steps=30)
    comparison = Comparison.objects.create(project=project, number=7, options={"recipes": ["raft"], "seeds": [0, 1]})
    about = {"project": project, "comparison": comparison, "run": run, "subject": "raft", "part": "policy"}
    for seed in (0, 1):
        Trial.objects.create(place=f"raft/{seed}/policy", seed=seed, **about)
    report = {
        "snapshots": [{"id": str(snapshot.pk), "name": "for a test", "rows": 2, "was": "0" * 64}],
        "models": [{"id": str(model.pk), "name": "judge v1"}],
    }
    about = {"project": project, "who": "0" * 64, "until": timezone.now(), "asked_by": ada, "done_at": timezone.now()}
    erasure = Erasure.objects.create(counts={"reaction": 2, "response": 1}, report=report, **about)
    hook = Webhook.objects.create(project=project, url="https://hooks.example.com/", events=["run.failed"], failures=1)
    emit(project=project, event="run.failed", key="run-1", data={"id": "run-1"})
    desk.values = {
        "slug": project.slug,
        "number": "7",
        "model_id": str(model.pk),
        "snapshot_id": str(snapshot.pk),
        "lineage": str(mark.lineage),
        "member_id": str(ada.pk),
        "invitation_id": str(ada.pk),
        "key_id": str(ada.pk),
        "key": "like",
        "recipe": "span_reward_model",
        "token": "no-such-token",
        "uidb64": "MQ",
    }
    # one name, another object: (route, part) where the part's name does not say which
    desk.values_of = {"answer": {"pk": str(answer.pk)}, "live_answer": {"pk": str(answer.pk)}}
    desk.values_of["erasure"] = {"pk": str(erasure.pk)}
    desk.values_of["import_job"] = desk.values_of["import_again"] = {"pk": str(job.pk)}
    for name in ("webhook", "webhook_switch", "webhook_rotate", "webhook_ping"):
        desk.values_of[name] = {"pk": str(hook.pk)}
    reason = {"code": "always", "words": "reacted 'love' to 212 of 214 answers shown", "strength": 0.98, "data": {}}
    shopper = ProductUser.objects.create(
        project=project, test=False, name="u-1", shown=214, reacted=212, tapped={"love": 212}, score=0.98,
        reasons=[reason], left_out=True, first_at=timezone.now(), last_at=timezone.now(), caps={"m-1": str(answer.pk)},
    )  # fmt: skip
    for name in ("live_user", "live_user_decision"):
        desk.values_of[name] = {"pk": str(shopper.pk)}
    for name in ("webhook_delivery", "webhook_redeliver"):
        desk.values_of[name] = {"pk": str(hook.deliveries.get().pk)}
    return desk


def test_axe_finds_nothing_on_any_page(browser, furnished):
    page = browser.signed_in(furnished.cast.ada)
    wrong, walked = [], []
    for route in routes():
        path = route.path({**furnished.values, **furnished.values_of.get(route.name, {})})
        assert path is not None, f"give `furnished` a value for what {route.pattern} names"
        answer = page.request.get(path)
        if answer.status == 405:
            continue  # a form's address
        if not answer.text().lstrip().lower().startswith("<!doctype html"):
            continue  # a fragment is walked through on its page; a download is none
        page.goto(path)
        walked.append(route.name)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            wrong += [f"{path} ({scheme}) {line}" for line in violations(page)]
        page.set_viewport_size(SMALL)
        wide = page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{path} is {wide} px wide on a screen of {SMALL['width']}"] if wide > SMALL["width"] else []
        page.set_viewport_size(WIDE)
        assert answer.status == 200 or route.name in NOT_THERE, f"{path} answered {answer.status}"
    expected = {"home", "project", "label", "pair", "members", "account", "record", "answer", "import_job", "snapshot"}
    expected |= {"keys", "live_settings"}
    assert expected <= set(walked), walked
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
