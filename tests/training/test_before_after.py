"""Before and after on a run's page, and the way there: a form that a link fills in."""

import re
from html import unescape

import pytest

from frontend.views.training_runs import as_shown, change, marked
from tests.training.factories import make_base, make_model
from tests.training.test_pages import launch, page, posted
from training.models import Run
from training.runs import events, lease


def pair(before, after, question="How long?"):
    return {
        "question": question,
        "prompt_id": "p",
        "before": {"text": before[0], "marks": before[1], "cut_off": False},
        "after": {"text": after[0], "marks": after[1], "cut_off": True},
    }


DATA = {
    "comparison": [
        pair(("Two years, you fool.", [[11, 19, -1.0, "rude_phrase"]]), ("Two years.", [])),
        pair(
            ("Press <it>.", [[11, 11, -1.0, "missing_step"], [0, 5, 1.0, ""]]), ("Ask.", [[0, 3, -1.0, "rude_phrase"]])
        ),
    ],
    "marked_by": "the world's own program",
    "bad": [2, 1],
    "labels": [["rude_phrase", 1, 1], ["missing_step", 1, 0]],
}


def test_answers_are_cut_at_their_marks_and_the_bad_ones_counted():
    shown = as_shown({"data": DATA})
    assert [row[:3] for row in shown["rows"]] == [
        ("all marked phrases", 2, 1),
        ("an answer, on average", 1.0, 0.5),
        ("rude phrase", 1, 1),
        ("missing step", 1, 0),
    ]
    first = shown["comparison"][0]["answers"]
    assert [(one["title"], one["bad"]) for one in first] == [("Before", 1), ("After", 0)]
    assert [(one["text"], one["sign"]) for one in first[0]["pieces"]] == [
        ("Two years, ", ""),
        ("you fool", "bad"),
        (".", ""),
    ]


def test_a_change_is_told_prompt_by_prompt_with_its_interval():
    bad = [0, 1, -1.0, "rude_phrase"]
    pairs = [pair(("a", [bad] * before), ("b", [bad] * after)) for before, after in ((2, 0), (1, 0), (3, 1), (2, 1))]
    found = change(pairs)
    assert found.difference.mean == -1.5
    assert found.difference.low == pytest.approx(-2.4187, abs=1e-3)  # 3.1824 (Student's, 3) x 0.57735 / 2
    assert found.difference.high == pytest.approx(-0.5813, abs=1e-3)
    assert change(pairs, "rambling").difference.mean == 0
    assert change(pairs[:1]) is None
    data = {"comparison": pairs, "marked_by": "people", "bad": [8, 2], "labels": [["rude_phrase", 8, 2]]}
    assert [row[3] for row in as_shown({"data": data})["rows"]] == [found, None, found]


@pytest.mark.parametrize(
    "marks", [[], [[0, 3, -1, "a"], [2, 5, -1, "b"]], [[3, 3, -1, ""]], [[4, 99, -1, ""], [5, 2, 1, ""]]]
)
def test_no_letter_is_lost_between_marks(marks):
    assert "".join(piece["text"] for piece in marked("👩‍🔬 abc", marks)) == "👩‍🔬 abc"


def test_the_run_page_shows_them_above_the_samples(marked):
    launch(marked)
    told = {"type": "sample", "seq": 0, "at": 3.0, "step": 3, "data": DATA}
    events.store(lease.claim("w"), [told])
    html = page(marked, "runs/1/")
    assert html.index("Before and after") < html.index('id="samples-title"')
    assert "marked by the world&#x27;s own program" in html
    assert '<mark class="bad" title="rude phrase">' in html
    assert "&lt;it&gt;" in html
    assert "1 bad" in html
    assert "cut off" in html
    assert '<tr><th scope="row">Rude phrase</th><td class="number">1</td><td class="number">1</td>' in html
    assert "may be chance" in html
    assert "None yet." in html  # it is no sample


def test_of_many_prompts_the_first_are_shown_and_the_others_folded(marked):
    launch(marked)
    many = {**DATA, "comparison": [pair(("a", []), ("b", []), question=f"Question {n}?") for n in range(11)]}
    events.store(lease.claim("w"), [{"type": "sample", "seq": 0, "at": 3.0, "step": 3, "data": many}])
    html = page(marked, "runs/1/")
    folded = html.index("The other prompts (3)")
    assert html.index("Question 7?") < folded < html.index("Question 8?") < html.index("Question 10?")
    assert html.index("</details>", folded) > html.index("Question 10?")


def test_a_link_fills_the_form_in_and_starts_nothing(marked):
    model = make_model(marked.project, kind="span_reward_model")
    make_base("tiny")
    asked = f"base_model=tiny&name=mine&option-steps=7&option-strange=1&input-span_reward_model={model.pk}"
    html = page(marked, f"train/text2grad/?{asked}&input-policy=nobody")
    assert Run.objects.count() == 0
    data = posted(html)
    assert (data["base_model"], data["name"], data["option-steps"]) == ("tiny", "mine", "7")
    assert data["input-span_reward_model"] == str(model.pk)
    assert data["input-policy"] == ""
    assert "strange" not in html


def test_a_span_reward_models_page_leads_to_the_policy_that_it_can_improve(marked):
    model = make_model(marked.project, kind="span_reward_model")
    html = page(marked, f"models/{model.pk}/")
    assert "Improve a policy with it" in html
    assert f"input-span_reward_model={model.pk}" in html
    assert "option-truth" not in html  # nobody knows the truth of a real project
    marked.project.is_demo = True
    marked.project.save()
    assert "option-truth=support" in page(marked, f"models/{model.pk}/")
    assert "Improve a policy with it" not in page(
        marked, f"models/{make_model(marked.project, kind='policy', name='p').pk}/"
    )


def test_a_span_reward_model_is_trained_again_with_its_own_options_and_name(marked):
    run = launch(marked, config={"epochs": 7, "echo": True, "pooled": False})
    model = make_model(marked.project, kind="span_reward_model", name="mine")
    assert "Train it again" not in page(marked, f"models/{model.pk}/")  # nobody knows how it was made
    Run.objects.filter(pk=run.pk).update(produced=model)
    html = page(marked, f"models/{model.pk}/")
    link = unescape(re.search(r'href="([^"]*)">Train it again', html)[1])
    data = posted(page(marked, link.removeprefix("/p/lantern/")))
    assert data["name"] == "mine"
    assert marked.client(marked.ada).post("/p/lantern/train/span_reward_model/", data).status_code == 302
    assert Run.objects.get(number=2).config == run.config


def test_a_model_to_watch_with_is_chosen_by_what_it_is_for(marked):
    model = make_model(marked.project, kind="reward_model")
    policy = make_model(marked.project, kind="policy", name="p")
    html = page(marked, "train/grpo/?base_model=tiny")
    assert "Reward model or span reward model to watch with" in html
    data = {**posted(html), "input-watch": str(model.pk)}
    data["input-reward_model-or-span_reward_model"] = str(model.pk)
    answer = marked.client(marked.ada).post("/p/lantern/train/grpo/", {**data, "input-watch": str(policy.pk)})
    assert answer.status_code == 422
    assert "not a reward model or span reward model" in answer.content.decode()
    assert marked.client(marked.ada).post("/p/lantern/train/grpo/", data).status_code == 302
    kinds = {one.kind: one.model_version for one in Run.objects.get().inputs.all()}
    assert kinds == {"reward_model": model, "watch": model}
