"""A run's page shows a sampled answer cut in segments, with what each of them earned."""

from django.template.loader import render_to_string

from frontend.views.training_runs import as_shown

TEXT = "It is quiet. 👍 now, stop. The rest"
SAMPLE = {
    "question": "How long?",
    "answers": [
        {"text": TEXT, "reward": 0.5, "segments": {"tone": [[0, 13, 1.0], [13, 26, -1.0], [26, 34, 0.0]]}},
        {"text": "Plain.", "reward": 1.0, "segments": {}},
    ],
}


def test_each_segment_stands_with_its_sign_and_nothing_of_the_text_is_lost():
    first, second = as_shown({"data": SAMPLE})["answers"]
    (cut,) = first["cuts"]
    assert cut["name"] == "tone"
    assert "".join(piece["text"] + piece["tail"] for piece in cut["pieces"]) == TEXT
    assert [piece["paid"] for piece in cut["pieces"]] == ["+", "\N{MINUS SIGN}", "not read"]
    assert [piece["heat"] for piece in cut["pieces"]] == [0, 20, 0]
    assert second["cuts"] == []
    html = render_to_string(
        "training/_samples.html", {"samples": [{"step": 1, **as_shown({"data": SAMPLE})}], "ended": True}
    )
    assert 'heat-20">👍 now, stop.</span><sup class="number">\N{MINUS SIGN}</sup> <' in html
    assert "Plain." in html
    assert html.count("Plain.") == 1


def test_of_categories_that_found_nothing_only_the_names_are_shown():
    answer = {"text": TEXT, "segments": {"rude_phrase": [[0, 13, 1.0], [13, 34, 1.0]], "tone": [[0, 34, -1.0]]}}
    (shown,) = as_shown({"data": {"answers": [answer]}})["answers"]
    assert ([cut["name"] for cut in shown["cuts"]], shown["clean"]) == (["tone"], ["rude_phrase"])
    html = render_to_string("training/_samples.html", {"samples": [{"answers": [shown]}], "ended": True})
    assert "nothing found: rude phrase" in html
    assert html.count("The rest") == 1
