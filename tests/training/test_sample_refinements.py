"""A run's page shows an answer with its critique, and what was written after it as changes."""

import re

from django.template.loader import render_to_string

from frontend.views.training_runs import as_shown

SAMPLE = {
    "question": "May I?",
    "answers": [
        {"text": "sun rain <b>", "reward": 0.0, "critique": '"rain": foreign word\n"<b>": no word'},
        {
            "text": "sun snow",
            "reward": 1.0,
            "kept": True,
            "rescued": True,
            "diff": [["same", "sun "], ["gone", "rain <b>"], ["new", "snow"]],
        },
    ],
}


def test_a_refinement_shows_what_went_and_what_came_and_the_critique_stands_with_the_answer_before():
    html = render_to_string(
        "training/_samples.html", {"samples": [{"step": 1, **as_shown({"data": SAMPLE})}], "ended": True}
    )
    assert '<p class="answer-text">sun <del>rain &lt;b&gt;</del><ins>snow</ins></p>' in html
    before, after = html.split("</li>")[:2]
    assert "foreign word<br>" in before
    assert '<p class="answer-text">sun rain &lt;b&gt;</p>' in before
    assert "rescued" in after
    assert "kept</span>" not in after
    assert len(re.findall("<blockquote", html)) == 1
