"""A run's page shows a sampled answer as heat maps: what was marked on its tokens, and what became of it."""

from django.template.loader import render_to_string

from frontend.views.training_runs import as_shown

TEXT = "👍 sunny race"
DATA = {
    "question": "Which sport?",
    "text": TEXT,
    "reward": 0.0,
    "critique": "'sunny' is <no> sport.",
    "tokens": [[0, 1, 0.0], [1, 7, -1.0], [7, 12, 1.0]],
    "maps": {"advantage": [[0, 1, 0.25], [1, 7, -0.5], [7, 12, 2.0]]},
}


def test_delta_and_advantage_stand_one_below_the_other_with_the_words_beside_them():
    shown = as_shown({"data": DATA})
    assert [one["name"] for one in shown["maps"]] == ["marked", "advantage"]
    for one in shown["maps"]:
        assert "".join(piece["text"] for piece in one["pieces"]) == TEXT
    assert [[piece["heat"] for piece in one["pieces"]] for one in shown["maps"]] == [[0, 20, 0], [0, 10, 0]]
    html = render_to_string("training/_samples.html", {"samples": [{"step": 1, **shown}], "ended": True})
    assert 'class="heat heat-20" title' in html
    assert 'class="heat heat-0 earned" title="2.0' in html.replace('title="2"', 'title="2.0"')
    assert "Which sport?" in html
    assert "&lt;no&gt; sport" in html


def test_an_answer_with_one_map_alone_needs_no_name_for_it():
    shown = as_shown({"data": {"text": TEXT, "tokens": DATA["tokens"], "reward": 1.0}})
    html = render_to_string("training/_samples.html", {"samples": [{"step": 1, **shown}], "ended": True})
    assert "badge" not in html
    assert html.count("sunny") == 1
