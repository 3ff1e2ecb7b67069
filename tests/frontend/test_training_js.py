"""What the charts and the heat map compute, asked under node; that ink is readable on every step of the scale."""

import math
import re
from pathlib import Path

import pytest

STYLES = Path(__file__).resolve().parents[2] / "frontend" / "static" / "css"
CURVE, HEAT = "training/curve.js", "training/heat.js"


def test_points_come_in_portions_and_loss_stands_first(node):
    names, series = node.ask(
        CURVE,
        "(() => { const c = new m.Curves(); for (const p of a[0]) c.add(p); return [c.names, c.of('loss')]; })()",
        [[[1, 1, {"dev": 0.4, "loss": 2}]], [[1, 2, {"loss": 1}], [2, 1, {"loss": 3, "bad": None}]]],
    )
    assert names == ["loss", "dev"]
    assert series == [{"attempt": 1, "points": [[1, 2], [2, 1]]}, {"attempt": 2, "points": [[1, 3]]}]


def test_of_two_values_of_one_step_the_later_counts(node):
    series = node.ask(
        CURVE,
        "(() => { const c = new m.Curves(); c.add(a[0]); return c.of('dev'); })()",
        [[1, 1, {"dev": 0.4}], [1, 2, {"dev": 0.6}], [1, 2, {"dev": 0.5}]],
    )
    assert series == [{"attempt": 1, "points": [[1, 0.4], [2, 0.5]]}]


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant(node):
    assert node.ask(CURVE, "m.smooth([[0, 4], [1, 4], [2, 4]], 0.9)") == [[0, 4], [1, 4], [2, 4]]
    smoothed = node.ask(CURVE, "m.smooth([[0, 1], [1, 0]], 0.5)")
    assert smoothed[1][1] == pytest.approx(0.5 / 1.5)
    assert node.ask(CURVE, "m.smooth([[0, 1], [1, 0]], 0)") == [[0, 1], [1, 0]]


def test_thinning_keeps_the_lowest_and_the_highest(node):
    points = [[step, 1000 if step == 777 else -5 if step == 778 else step % 3] for step in range(5000)]
    kept = node.ask(CURVE, "m.thin(a[0], 400)", points)
    assert len(kept) <= 402
    assert [777, 1000] in kept
    assert [778, -5] in kept
    assert kept == sorted(kept)


def test_ticks_are_round_and_span_the_values(node):
    assert node.ask(CURVE, "m.ticks(0, 9)") == [0, 5, 10]
    assert node.ask(CURVE, "m.ticks(0.31, 0.84)") == [0.2, 0.4, 0.6, 0.8, 1]
    flat = node.ask(CURVE, "m.ticks(3, 3)")
    assert flat[0] < 3 < flat[-1]
    rounding = node.ask(CURVE, "m.ticks(a[0], a[1])", 0.5, 0.5 + 1e-15)
    assert rounding[0] < 0.5 < rounding[-1]
    assert node.ask(CURVE, "[0, 1234, 0.03333, 1e-7, 250000.5].map(m.read)") == [
        "0",
        "1,234",
        "0.0333",
        "1.00e-7",
        "2.50e+5",
    ]


def test_a_text_is_cut_at_its_tokens_by_code_points_and_nothing_is_lost(node):
    text = "A 👩‍🔬 said سنتان\r\n𝔘!"
    tokens = [
        {"start": 2, "end": 5, "good": 0, "bad": 1, "score": -1, "labels": {"fact": 0.7}},
        {"start": 11, "end": 16, "good": 0.5, "bad": 0, "score": 0.5, "labels": {"fact": 0.1}},
        {"start": 12, "end": 13, "good": 0, "bad": 0, "score": 0, "labels": {}},  # overlaps: left out
        {"start": 90, "end": 91, "good": 0, "bad": 0, "score": 0, "labels": {}},
    ]
    found = node.ask(HEAT, "m.pieces(a[0], a[1])", text, tokens)
    assert "".join(piece["text"] for piece in found) == text
    assert [piece["text"] for piece in found if piece["token"]] == [text[2:5], text[11:16]]
    assert node.ask(HEAT, "m.kinds(a[0])", tokens) == ["bad", "good", "label fact"]
    assert node.ask(HEAT, "['bad', 'good', 'label fact'].map((kind) => m.value(a[0], kind))", tokens[0]) == [1, 0, 0.7]
    assert node.ask(HEAT, "[0, 0.024, 0.026, 0.5, 1, 7, -1, NaN].map(m.heat)") == [0, 0, 1, 10, 20, 20, 0, 0]


def rgb(light, chroma, hue):
    """Linear sRGB of an OKLCH colour (Ottosson 2020)."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    l_ = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m_ = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s_ = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
        -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
        -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_,
    )


def luminance(colour):
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def of_hex(text):
    parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return luminance([p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts])


def test_ink_is_readable_on_every_step_of_the_heat_scale_by_day_and_by_night():
    names = ("light", "step", "chroma", "hue", "turn")
    scale = re.findall(
        " ".join(rf"--heat-{name}: (-?[\d.]+);" for name in names), (STYLES / "training.css").read_text()
    )
    inks = re.findall(r"--ink: (#\w+);", (STYLES / "tokens.css").read_text())
    assert len(scale) == len(inks) == 2
    for values, ink in zip(scale, inks, strict=True):
        light, step, chroma, hue, turn = map(float, values)
        for heat in range(21):
            colour = rgb(light + step * heat, chroma * heat, hue + turn * heat)
            assert all(-0.003 <= part <= 1.003 for part in colour), "outside what a screen shows"
            two = sorted([luminance(colour), of_hex(ink)])
            assert (two[1] + 0.05) / (two[0] + 0.05) >= 4.5


def test_the_reward_and_what_is_watched_stand_together_and_what_is_seldom_looked_at_is_folded_away(node):
    figures = [
        "loss",
        "reward",
        "reward/checker",
        "said/checker",
        "held_out_reward",
        "hack/gap",
        "truth/quality",
        "rewards",
        "held_out_pass_1",
        "clipped/low",
    ]
    assert node.ask(CURVE, "a[0].map((name) => m.groupOf(name).key)", figures) == [
        "",
        "reward",
        "reward",
        "reward",
        "reward",
        "watch",
        "watch",
        "more",
        "",
        "more",
    ]
